"""A photo set that `kaiffin prepare` looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kaiffin.cli.terminal import console
from kaiffin.foundation.text import counted

if TYPE_CHECKING:
    from kaiffin.stories.prepare import PhotoSet


def photo_set(found: PhotoSet) -> None:
    """How many photos, and where to look at them."""
    count = len(found.prepared.examples)
    what = counted(count, "photo")
    console.print(f"{what} at {found.resolution} px. Look at {'it' if count == 1 else 'them'}:")
    console.print(f"  {found.sheet}")
