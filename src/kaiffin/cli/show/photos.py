"""A photo set that `kaiffin prepare` looked at, and the bases that Kaiffin knows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from kaiffin.cli.terminal import console

if TYPE_CHECKING:
    from kaiffin.stories.prepare import KnownBase, PhotoSet


def photo_set(found: PhotoSet) -> None:
    """How many photos, and where to look at them."""
    count = len(found.prepared.examples)
    what = "1 photo" if count == 1 else f"{count:,} photos"
    console.print(f"{what} at {found.resolution} px. Look at {'it' if count == 1 else 'them'}:")
    console.print(f"  {found.sheet}")


def bases(known: Sequence[KnownBase]) -> None:
    """A line a base."""
    for base in known:
        here = "here" if base.here else "not on this machine"
        console.print(f"{base.name:22} {base.source:46} {here}")
