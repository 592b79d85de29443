"""What `kaiffin import` made of another program's training: every setting, by what became of it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from kaiffin.cli.terminal import console
from kaiffin.foundation.text import counted

if TYPE_CHECKING:
    from kaiffin.foundation.trainers.rows import Finding
    from kaiffin.stories.import_training import ImportedTraining

LONGEST = 44  # characters of a value
SECRETS = ("token", "api_key")
HEADINGS = {
    "taken": "taken",
    "differs": "taken, with a difference",
    "default": "left out there: their default is written, since ours is another",
    "none": "no counterpart",
    "unknown": "unknown",
}


def imported(made: ImportedTraining) -> None:
    """A table for each verdict, then the command that goes on with it."""
    found = made.made.findings
    for verdict, heading in HEADINGS.items():
        rows = [one for one in found if one.verdict == verdict]
        if rows:
            console.print(f"{heading} ({len(rows)}):", style="bold")
            console.print(_table(rows))
    needless = [one.theirs for one in found if one.verdict == "needless"]
    if needless:
        console.print(f"nothing to set here: {escape(', '.join(needless))}")
    off = sum(one.verdict == "off" for one in found)
    if off:
        console.print(f"{counted(off, 'setting')} more switched off or empty there")
    config = made.made.config
    console.print(f"{made.out} is written. Look at the cost, then teach:")
    command = f"kaiffin train {shlex.quote(str(made.out))}"
    for more in ("--dry-run", _out(found)):
        console.print(f"  {command} {more}".rstrip(), soft_wrap=True)
    if config.data.photos is None:
        console.print("It names no photos: add --data.photos FOLDER.")


def _table(rows: list[Finding]) -> Table:
    table = Table(box=None, show_header=False, pad_edge=True)
    for one in rows:
        ours = ", ".join(f"{name} {_short(value)}" for name, value in one.ours.items())
        hidden = any(part in one.theirs for part in SECRETS)
        theirs = one.theirs if one.value in (None, True) else f"{one.theirs} {_short(one.value)}"
        note = one.note
        if one.verdict == "unknown":
            note = "known to no version of it that was read; see `kaiffin options`"
        table.add_row(escape(one.theirs if hidden else theirs), escape(ours), escape(note))
    return table


def _short(value: object) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def _out(found: Sequence[Finding]) -> str:
    """The name of the output there, as ours."""
    named = (re.search("--out runs/[^`]*", one.note) for one in found)
    return next((match[0] for match in named if match), "")
