"""What commands say: findings about photos, and bars with the time left. Torch-free."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

console = Console(highlight=False, soft_wrap=True)


@contextlib.contextmanager
def progress(text: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar with time left on a terminal; silent elsewhere."""
    with _bar(text) as bar:
        task = bar.add_task("", total=total)
        yield lambda amount: bar.advance(task, amount)


@contextlib.contextmanager
def photo_progress() -> Iterator[Callable[[int, int], None]]:
    """A bar for `prepare`, which says (done, total)."""
    with _bar("photos") as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _bar(text: str) -> Progress:
    columns = (TextColumn(text), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, disable=not console.is_terminal)


def duration(seconds: float) -> str:
    """`90 s`, `12 min`, `3 h`: as exact as an estimate is."""
    for unit, name in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds:.0f} s"


def size_text(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
