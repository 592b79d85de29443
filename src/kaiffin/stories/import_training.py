"""`kaiffin import`: a training of another program as a config of ours. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kaiffin.data.files import photos_in
from kaiffin.foundation.errors import UserError
from kaiffin.foundation.folder import write_bytes
from kaiffin.foundation.tell import SILENT, Tell
from kaiffin.foundation.trainers.importing import Imported, imported, written


@dataclass(frozen=True)
class ImportedTraining:
    """A config that was written to `out`, and what became of each setting of the original."""

    out: Path
    made: Imported


def import_training(
    source: str, out: Path | None = None, given: Mapping[str, Any] | None = None, *,
    tell: Tell = SILENT,
) -> ImportedTraining:  # fmt: skip
    """Makes a config of sd-scripts', kohya_ss', diffusers', OneTrainer's or ai-toolkit's training.

    source: a file of theirs, or a whole command line; out: default is the file's name with .yaml,
    here; given: settings of ours by dotted name, which win over what is found. The photos are
    counted where they are on this machine, since epochs are steps here. Raises UserError for what
    is no such training, what Kaiffin does not train, and for a file that is there already.
    """
    made = imported(source, given or {}, _photos)
    stem = made.files[0].stem if made.files else "imported"
    target = out or Path(f"{stem}.yaml")
    if target.exists():
        raise UserError(f"{target}: is there already.", "Choose another --out.")
    told = str(made.files[0].name) if made.files else "a command line"
    write_bytes(target, written(made, told).encode())
    return ImportedTraining(target, made)


def _photos(folder: Path) -> int | None:
    """How many photos lie in a folder; None where it is not here."""
    return len(list(photos_in(folder))) if folder.is_dir() else None
