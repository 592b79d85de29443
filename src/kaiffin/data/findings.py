"""What was found in the photos, in words. Torch-free."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from kaiffin.data.prepare import Prepared
from kaiffin.foundation.errors import PhotoError
from kaiffin.foundation.tell import console


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
