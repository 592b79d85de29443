"""What a story says while it runs: a small listener, silent unless a door gives it a voice.

A story takes a `tell`, answers with a value and never prints. The command line shows both on a
terminal (`cli.terminal`), a service streams them, a worker process writes them to its log.
Torch-free.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO


@dataclass(frozen=True)
class Table:
    """Cells as they are to be read; the first column names its row."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    title: str = ""


class Progress:
    """One wait. done, total: in units of whatever is waited for; total None while unknown."""

    def __init__(self, total: int | None = None) -> None:
        self.done, self.total = 0, total

    def advance(self, amount: int = 1) -> None:
        """So many more are done."""
        self.update(self.done + amount)

    def update(self, done: int, total: int | None = None, text: str = "") -> None:
        """done: altogether; text: what else there is to know, such as the loss."""
        self.done, self.total = done, self.total if total is None else total

    def plot(self, value: float) -> None:
        """The next value of what is worth a curve, such as the loss, before `update` says so."""


class Tell:
    """Says nothing: what every story uses unless it is given another."""

    def note(self, text: str) -> None:
        """What happens now, or what was derived: one line."""

    def warning(self, text: str) -> None:
        """What a person should look at, with the way out: one line."""

    def table(self, table: Table) -> None:
        """Facts side by side, known before the story ends."""

    def picture(self, path: Path, text: str = "") -> None:
        """A picture that is on the disk now, and what it shows."""

    @contextlib.contextmanager
    def progress(self, text: str, total: int | None = None) -> Iterator[Progress]:
        """A wait for `total` of something (None while that is unknown)."""
        yield Progress(total)


SILENT = Tell()


class Once(Tell):
    """The notes of another listener, none of them twice."""

    def __init__(self, tell: Tell) -> None:
        self.tell, self.said = tell, set[str]()

    def note(self, text: str) -> None:
        if text not in self.said:
            self.said.add(text)
            self.tell.note(text)


class Noted(Tell):
    """Keeps the notes, for whoever is told of them later."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


class Lines(Tell):
    """Plain lines into an open text file: the log of a worker process. Waits are left out."""

    def __init__(self, file: TextIO) -> None:
        self.file = file

    def note(self, text: str) -> None:
        self.file.write(f"{text}\n")

    def warning(self, text: str) -> None:
        self.note(f"warning: {text}")

    def table(self, table: Table) -> None:
        for line in as_text(table):
            self.note(line)

    def picture(self, path: Path, text: str = "") -> None:
        self.note(f"{text}: {path}" if text else str(path))


def as_text(table: Table) -> list[str]:
    """The lines of a table in plain text, columns aligned."""
    cells = [list(table.columns), *map(list, table.rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(table.columns))]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in cells]
    return [table.title, *lines] if table.title else lines


def duration(seconds: float) -> str:
    """`90 s`, `12 min`, `3 h`: as exact as an estimate is."""
    for unit, name in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds:.0f} s"


def size_text(size: int) -> str:
    """Bytes as people read them: `4.3 GB`, `12 MB`, `7 kB`."""
    if size < 1e6:
        return f"{size / 1e3:.0f} kB"
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
