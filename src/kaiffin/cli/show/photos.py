"""A photo set that `kaiffin prepare` looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kaiffin.cli.terminal import console

if TYPE_CHECKING:
    from kaiffin.stories.prepare import PhotoSet


def photo_set(found: PhotoSet) -> None:
    """How many photos, and where to look at them."""
    console.print(f"{len(found.prepared.examples)} photos at {found.resolution} px. Look at them:")
    console.print(f"  {found.sheet}")
