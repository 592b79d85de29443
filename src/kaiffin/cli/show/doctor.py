"""What `kaiffin doctor` found: a line a thing, and the way out of what is broken."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kaiffin.cli.terminal import console

if TYPE_CHECKING:
    from kaiffin.stories.doctor import Checkup


def checkup(found: Checkup) -> None:
    """All facts, then the verdict."""
    width = max(len(fact.name) for fact in found.facts)
    for fact in found.facts:
        console.print(f"{'  ' if fact.well else '! '}{fact.name:{width}}  {fact.found}")
        if not fact.well:
            console.print(f"  {'':{width}}  {fact.way_out}")
    broken = [fact.name for fact in found.facts if not fact.well]
    console.print(f"not well: {', '.join(broken)}" if broken else "all is well")
