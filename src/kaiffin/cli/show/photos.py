"""A photo set that `kaiffin prepare` looked at, and the bases that Kaiffin knows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from kaiffin.cli.terminal import console

if TYPE_CHECKING:
    from kaiffin.stories.prepare import KnownBase, PhotoSet


def photo_set(found: PhotoSet) -> None:
    """How many photos, and where to look at them."""
    console.print(f"{len(found.prepared.examples)} photos at {found.resolution} px. Look at them:")
    console.print(f"  {found.sheet}")


def bases(known: Sequence[KnownBase]) -> None:
    """A line a base."""
    for base in known:
        here = "here" if base.here else "not on this machine"
        console.print(f"{base.name:22} {base.source:46} {here}")
