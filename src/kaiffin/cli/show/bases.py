"""The bases that Kaiffin knows, and one that was taken or named."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from kaiffin.cli.terminal import console
from kaiffin.foundation.tell import size_text
from kaiffin.foundation.text import first_few

SHOWN = 10  # of the bases in the cache that have no short name

if TYPE_CHECKING:
    from kaiffin.stories.bases import KnownBase, Taken


def listed(known: Sequence[KnownBase], cached: Sequence[KnownBase]) -> None:
    """A line a base, and below it where it lies and what is missing of it; cached: those that are
    in the hub's cache without a short name."""
    from kaiffin.models.files.published import LISTED

    for base in known:
        console.print(f"{base.name:22} {base.source:46} {_state(base)}")
        if base.published:
            _where(base)
    if cached:
        console.print("Others in the hub's cache, by their names for --base:")
    for base in cached[:SHOWN]:
        console.print(f"{base.name:69} {base.source}: {_state(base)}")
        _where(base)
    if cached[SHOWN:]:
        console.print(f"{'':22} and {len(cached) - SHOWN} smaller ones")
    console.print(
        f"Sizes and licences of what is not here: as of {LISTED}. `kaiffin bases get NAME` takes"
        " one; --base ORG/NAME means any other."
    )


def _where(base: KnownBase) -> None:
    if base.status.folder:
        console.print(f"{'':22} in {base.status.folder}{_missing(base.status.lacking)}")


def _missing(lacking: Sequence[str]) -> str:
    if not lacking:
        return ""
    return f"; missing or damaged: {first_few(lacking, 3)}"


def taken(base: Taken) -> None:
    """Where it is."""
    at = f" at {base.commit[:10]}" if base.commit else ""
    console.print(f"{base.name}: {base.family}{at}, {size_text(base.size)}: {base.path}")


def _state(base: KnownBase) -> str:
    """`here, 2.1 GB`, or what there would be to take."""
    status, published = base.status, base.published
    said = {
        "here": f"here, {size_text(status.size)}",
        "half": f"here in half precision, {size_text(status.size)}",
        "part": f"here in part, {size_text(status.size)}",
        "absent": "not on this machine",
    }[status.state]
    if status.state != "absent" or published is None:
        return said
    sizes = [
        f"{size_text(size)}{kind}"
        for size, kind in ((published.full, ""), (published.half, " in half precision"))
        if size
    ]
    facts = [", ".join(sizes), published.licence, published.note]
    return f"{said} ({'; '.join(fact for fact in facts if fact)})"
