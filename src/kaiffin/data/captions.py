"""Captions from files: beside a photo, or in a table; what cannot be read is named. Torch-free.

A file beside the photo has its name (`p.txt`, `p.caption`, `p.jpg.txt`), whatever the case of the
suffixes and however its letters are composed.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from kaiffin.data.files import is_leftover
from kaiffin.data.formats import CAPTION_SUFFIXES
from kaiffin.foundation.errors import PhotoError
from kaiffin.foundation.text import composed, counted, decoded, is_text

FIELDS = ("text", "caption", "prompt")  # columns of a table that hold the caption, the first wins
NO_TEXT = "is neither UTF-8 nor marked UTF-16 text; save it as UTF-8"
MAX_BYTES = 100_000
END = "\ud800"  # put behind the last row: within a cell, its quote was never closed. No text has it
SEPARATORS = ",;\t|"


class BadCaption(ValueError):
    """A caption file that cannot be read: its message is the reason, to follow the file's name."""


class Beside:
    """The caption files of one folder, by the photo that they are for."""

    def __init__(self, folder: Path) -> None:
        self._files: dict[str, list[Path]] = {}
        paths = [folder / name for name in sorted(os.listdir(folder)) if not is_leftover(name)]
        for suffix in CAPTION_SUFFIXES:  # of two files for one photo the .txt wins
            for path in paths:
                if path.suffix.lower() == suffix and path.is_file():
                    self._files.setdefault(_key(path.stem), []).append(path)

    def of(self, photo: Path) -> Path | None:
        """The photo's own caption file, that with its whole name before that with its stem."""
        for name in (photo.name, photo.stem):
            if found := self._files.get(_key(name)):
                return found[0]
        return None


def _key(name: str) -> str:
    """The same for a suffix of any case and letters composed or not."""
    stem, suffix = os.path.splitext(composed(name))
    return stem + suffix.lower()


def lines(path: Path) -> tuple[str, ...]:
    """The captions in a file, one a line; none in an empty one. Raises BadCaption."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise BadCaption(f"has more than {MAX_BYTES:,} bytes, and is no caption")
        text = decoded(path.read_bytes())
    except OSError as error:
        raise BadCaption(f"cannot be read ({error.strerror or error})") from None
    if not is_text(text):
        raise BadCaption(NO_TEXT)
    found = (" ".join(line.split()) for line in re.split(r"\r\n|\r|\n", text))
    return tuple(line for line in found if line)


# --- tables -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """One photo's caption in a table. line: the first of the row; reason: why it cannot be used."""

    line: int
    file_name: str | None = None
    caption: str | None = None
    reason: str | None = None


def rows(path: Path) -> Iterator[Row]:
    """The rows of a `.jsonl` or `.csv` table. PhotoError where it has not the columns."""
    text = decoded(path.read_bytes())
    yield from _of_csv(path.name, text) if path.suffix.lower() == ".csv" else _of_jsonl(text)


def _of_csv(name: str, text: str) -> Iterator[Row]:
    """Comma, semicolon, tab or bar between the columns; quoted cells may hold line breaks."""
    head = re.split(r"\r\n|\r|\n", text, maxsplit=1)[0]
    separator = max(SEPARATORS, key=head.count)
    csv.field_size_limit(MAX_BYTES * 10)
    file = io.StringIO(f"{text}\n{END}", newline="")
    reader = csv.reader(file, delimiter=separator, skipinitialspace=True)
    columns: list[str] | None = None
    before = 0
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as error:
            yield Row(before + 1, reason=f"is no row of a table ({error})")
            before = reader.line_num
            continue
        if cells in (None, [END]):
            return
        first, before = before + 1, reader.line_num
        if columns is None:
            columns = _columns(name, cells)
        elif cells and END in cells[-1]:
            yield Row(first, reason="opens a quote that is never closed")
        elif any(cell.strip() for cell in cells):
            row = _row(first, dict(zip(columns, cells, strict=False)))
            if any(cell.strip() for cell in cells[len(columns) :]):
                named = counted(len(columns), "column is", "columns are")
                found = f"has {counted(len(cells), 'cell')} where {named} named"
                way = f"put quotes round a cell that holds {separator!r}"
                row = replace(row, reason=f"{found}; {way}")
            yield row


def _columns(name: str, cells: list[str]) -> list[str]:
    found = [cell.strip().lower() for cell in cells]
    wanted = ("file_name", " / ".join(FIELDS))
    for choice in wanted:
        if not set(choice.split(" / ")) & set(found):
            raise PhotoError(
                f"{name}: has no column {choice}; its first line has {', '.join(found)[:200]}.",
                "Name the columns there, separated by comma, semicolon, tab or bar.",
            )
    return found


def _of_jsonl(text: str) -> Iterator[Row]:
    for number, line in enumerate(re.split(r"\r\n|\r|\n", text), 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            value = None
        if isinstance(value, dict):
            yield _row(number, value)
        else:
            reason = "is not a JSON object" if is_text(line) else NO_TEXT
            yield Row(number, reason=reason)


def _row(line: int, cells: dict) -> Row:
    name = cells.get("file_name")
    name = composed(name) if isinstance(name, str) else None
    values = (cells.get(field) for field in FIELDS)
    caption = next((v for v in values if isinstance(v, str) and v.strip()), None)
    reason = None
    if name is None:
        reason = "file_name names no file"
    elif caption is None:
        reason = f"no caption in {' / '.join(FIELDS)}"
    elif not is_text(name + caption):
        reason = NO_TEXT
    return Row(line, name, None if caption is None else composed(" ".join(caption.split())), reason)
