"""A story's voice in a notebook, and how values show themselves there. Torch-free.

IPython is imported where it is used: it is there wherever a notebook runs.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

from kaiffin.foundation.tell import Progress, Table, Tell, duration

EVERY = 0.3  # seconds between two looks at a wait
WIDTH, HEIGHT = 420, 72  # pixels of a curve
KEPT = 0.1  # of a new value in the curve's mean: single steps jump


class Shown:
    """A value that a notebook shows by its picture `sheet` (PNG), where it has one."""

    def _repr_png_(self) -> bytes | None:
        sheet: Path | None = getattr(self, "sheet", None)
        return sheet.read_bytes() if sheet else None


class Notebook(Tell):
    """What a story says, below the cell that tells it: lines, tables, pictures, and waits with the
    time left and, where there is one, the loss as a curve. `train(config, tell=Notebook())`."""

    def __init__(self) -> None:
        self.waits = 0  # that are going on

    def note(self, text: str) -> None:
        print(text)

    def warning(self, text: str) -> None:
        print(f"warning: {text}")

    def table(self, table: Table) -> None:
        _show(as_html(table))

    def picture(self, path: Path, text: str = "") -> None:
        if self.waits:  # what is waited for is counted there
            return
        from IPython.display import Image, display

        self.note(text or path.name)
        display(Image(filename=str(path)))

    @contextlib.contextmanager
    def progress(self, text: str, total: int | None = None) -> Iterator[Progress]:
        wait = _Wait(text, total)
        self.waits += 1
        try:
            yield wait
        finally:
            self.waits -= 1
            wait.end()


class _Wait(Progress):
    """One wait, drawn again and again in one place."""

    def __init__(self, name: str, total: int | None) -> None:
        super().__init__(total)
        self.name, self.text = name, ""
        self.values: list[float] = []
        self.started = self.last = time.monotonic()
        self.first: int | None = None  # a training that goes on does not begin at 0
        self.place = _show(self.html())

    def update(self, done: int, total: int | None = None, text: str = "") -> None:
        super().update(done, total)
        self.first = done if self.first is None else self.first
        self.text = text or self.text
        if time.monotonic() - self.last >= EVERY:
            self.draw()

    def plot(self, value: float) -> None:
        before = self.values[-1] if self.values else value
        self.values.append(before + KEPT * (value - before))

    def end(self) -> None:
        self.draw(f"done in {duration(time.monotonic() - self.started)}")

    def draw(self, last: str = "") -> None:
        from IPython.display import HTML

        self.last = time.monotonic()
        if self.place:
            self.place.update(HTML(self.html(last)))

    def html(self, last: str = "") -> str:
        of = f" of {self.total}" if self.total else ""
        words = f"{self.name.rstrip(':')}: {self.done}{of}, {last or self.left()}"
        bar = f'<progress value="{self.done}" max="{self.total}"></progress> ' if self.total else ""
        return f"<div>{bar}{escape(words)} <code>{escape(self.text)}</code></div>{self.curve()}"

    def left(self) -> str:
        """The time left, as the pace has been so far."""
        made = self.done - (self.first or 0)
        if not self.total or made < 1:
            return "..."
        pace = (time.monotonic() - self.started) / made
        return f"about {duration(pace * (self.total - self.done))} left"

    def curve(self) -> str:
        """The plotted values from left to right, the highest on top."""
        if len(self.values) < 2:
            return ""
        low, high = min(self.values), max(self.values)
        points = " ".join(
            f"{WIDTH * i / (len(self.values) - 1):.1f},"
            f"{HEIGHT * (high - value) / (high - low or 1):.1f}"
            for i, value in enumerate(self.values)
        )
        return (
            f'<svg width="{WIDTH}" height="{HEIGHT}" viewBox="-2 -2 {WIDTH + 4} {HEIGHT + 4}">'
            f'<polyline points="{points}" fill="none" stroke="#2563a8" stroke-width="1.5"/></svg>'
        )


def as_html(table: Table) -> str:
    """A table as notebooks draw it."""

    def row(cells: Sequence[str], mark: str) -> str:
        inside = "".join(f"<{mark}>{escape(cell)}</{mark}>" for cell in cells)
        return f"<tr>{inside}</tr>"

    title = f"<caption>{escape(table.title)}</caption>" if table.title else ""
    rows = "".join(row(cells, "td") for cells in table.rows)
    head = row(table.columns, "th")
    return f"<table>{title}<thead>{head}</thead><tbody>{rows}</tbody></table>"


def _show(html: str):
    """Displays `html`, and answers with its place, where it can be drawn anew."""
    from IPython.display import HTML, display

    return display(HTML(html), display_id=True)
