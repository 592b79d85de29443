"""An adapter file opened, with the layers of the base that it is for. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kaiffin.adapters.files import reading, safe, tables
from kaiffin.adapters.files.reading import AdapterFile, Reader
from kaiffin.adapters.files.tables import Shape, Table
from kaiffin.foundation.tell import Tell
from kaiffin.models.families.spec import SPECS, Spec, of_version
from kaiffin.models.files import resolve
from kaiffin.models.files.embedded import EMBEDDED


@dataclass(frozen=True)
class Opened:
    """An adapter file with the table that it was read against."""

    file: AdapterFile
    table: Table


def open_file(
    path: Path, base: str | None = None, *, skip_unknown: bool = False, tell: Tell,
    reader: Reader = safe.read,
) -> Opened:  # fmt: skip
    """Reads `path` against base `base` (its configurations only), or what the file says it is for.

    Raises AdapterError where the file is missing, broken or a pickle.
    """
    shapes, metadata = peek(path)
    with safe.about(path):
        reading.refuse_embedding(shapes)
    if base is None and metadata.get("ss_sd_model_name") in EMBEDDED:
        base = metadata["ss_sd_model_name"]
    if base is None:
        table = tables.published(_guess_family(shapes, metadata).name)
    else:
        located = resolve.locate(base, tell=tell)
        table = tables.of_folder(located.configs, located.family)
    with safe.about(path):
        found = reading.read(path, table, skip_unknown=skip_unknown, reader=reader)
        return Opened(found, table)


def peek(path: Path) -> tuple[Mapping[str, Shape], dict[str, str]]:
    """Shapes and header of a file, or of the first in a PEFT folder; nothing else is read."""
    if not path.is_dir():
        return safe.header(path)
    towers = dict.fromkeys(tower for spec in SPECS.values() for tower in spec.towers)
    for place in (path, *(path / tower for tower in towers)):
        if (place / reading.PEFT_FILE).is_file():
            return safe.header(place / reading.PEFT_FILE)
    raise reading.no_peft(path)


def file_of(path: Path) -> Path:
    """The one file of a PEFT folder of one model, which can be hashed; else `path` itself."""
    inside = path / reading.PEFT_FILE
    return inside if inside.is_file() else path


def _guess_family(shapes: Mapping[str, Shape], metadata: Mapping[str, str]) -> Spec:
    """By the header, else by layers that one family alone has, else by how wide its context is."""
    named = of_version(reading.base_of(metadata))
    marked = (s for s in SPECS.values() if any(mark in key for key in shapes for mark in s.marks))
    heard = {
        width
        for key, shape in shapes.items()
        if "attn2" in key and "to_k" in key and len(shape) == 2
        for width in shape
    }
    fitting = (spec for spec in SPECS.values() if spec.context in heard)
    return named or next(marked, None) or next(fitting, SPECS["sd1"])
