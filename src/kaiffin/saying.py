"""What commands say: findings about photos, and bars with the time left. Torch-free."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from kaiffin.data.prepare import Prepared
from kaiffin.errors import PhotoError

console = Console(highlight=False, soft_wrap=True)


def findings(prepared: Prepared) -> None:
    """Notes, refusals and warnings, a few of each kind."""
    for note in prepared.notes:
        console.print(f"note: {note}")
    _some([f"refused: {name}: {reason}" for name, reason in prepared.refused], 20)
    groups: dict[str, list[str]] = defaultdict(list)  # one kind of finding has one way out
    for finding in prepared.findings:
        if finding.level != "info":
            groups[finding.fix].append(f"{finding.level}: {finding}")
    for lines in groups.values():
        _some(lines, 4)


def _some(lines: Sequence[str], limit: int) -> None:
    for line in lines[:limit]:
        console.print(line)
    if len(lines) > limit:
        console.print(f"  and {len(lines) - limit:,} more like it, all in manifest.json")


def refuse_problems(prepared: Prepared) -> None:
    """PhotoError naming the first of the photos' problems, if there are any."""
    if not prepared.problems:
        return
    first, more = prepared.problems[0], len(prepared.problems) - 1
    raise PhotoError(
        first + (f" And {more} more." if more else ""),
        "Mend the photos, or leave them out with --skip-bad.",
    )


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
