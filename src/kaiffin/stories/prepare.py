"""`kaiffin prepare` and `kaiffin bases`."""

from __future__ import annotations

from pathlib import Path

from kaiffin.data.findings import refuse_problems
from kaiffin.data.prepare import Prepared
from kaiffin.foundation.config import Config
from kaiffin.foundation.tell import console
from kaiffin.models.files import resolve
from kaiffin.models.files.embedded import EMBEDDED
from kaiffin.models.files.load import read_text_facts
from kaiffin.train.session import look_at


def prepare(config: Config, out: Path) -> Prepared:
    """Looks at every photo and writes a manifest and a contact sheet into `out`."""
    facts = read_text_facts(config.base.name)
    resolution = config.data.resolution or facts.native_size
    prepared = look_at(config.data, config.subject, facts, resolution, out)
    console.print(f"{len(prepared.examples)} photos at {resolution} px. Look at them:")
    console.print(f"  {out / 'contact_sheet.png'}")
    refuse_problems(prepared)
    return prepared


def list_bases() -> None:
    """Prints the bases known by name and whether they are on this machine."""
    for name in (*EMBEDDED, *resolve.ALIASES):
        where = "inside Kaiffin" if name in EMBEDDED else resolve.ALIASES[name]
        here = "here" if resolve.is_here(name) else "not on this machine"
        console.print(f"{name:22} {where:46} {here}")
