"""`kaiffin prepare` and `kaiffin bases`: what there is, before anything is trained."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from kaiffin.data.findings import look_at
from kaiffin.data.prepare import Prepared
from kaiffin.foundation.config import Config
from kaiffin.foundation.folder import file_name
from kaiffin.foundation.paths import expanded
from kaiffin.foundation.run import CONTACT_SHEET
from kaiffin.foundation.tell import SILENT, Tell
from kaiffin.models.files import resolve
from kaiffin.models.files.embedded import EMBEDDED
from kaiffin.models.files.load import read_text_facts


@dataclass(frozen=True)
class PhotoSet:
    """The photos as a training would take them. sheet: the contact sheet (PNG)."""

    prepared: Prepared
    resolution: int
    sheet: Path


def prepare(config: Config, out: Path | None = None, *, tell: Tell = SILENT) -> PhotoSet:
    """Looks at every photo and writes a manifest and a contact sheet into `out`, by default
    prepared/<name of the photos' folder>.

    What must be mended before a training stands in `prepared.problems`; it is no error here.
    """
    facts = read_text_facts(config.base.name)
    resolution = config.data.resolution or facts.native_size
    photos = expanded(config.data.photos or Path()).resolve()
    out = out or Path("prepared") / file_name(photos.name, "photos", keep=" .,=+()")
    prepared = look_at(
        config.data, config.subject, resolution,
        pieces=facts.token_pieces, max_tokens=facts.max_tokens, out=out, tell=tell,
    )  # fmt: skip
    return PhotoSet(prepared, resolution, out / CONTACT_SHEET)


@dataclass(frozen=True)
class KnownBase:
    """A base by a name of Kaiffin's. source: its hub id; here: whether it is on this machine."""

    name: str
    source: str
    here: bool


def bases() -> list[KnownBase]:
    """The bases known by name."""
    inside = [KnownBase(name, "inside Kaiffin", True) for name in EMBEDDED]
    return inside + [KnownBase(n, hub, resolve.is_here(n)) for n, hub in resolve.ALIASES.items()]
