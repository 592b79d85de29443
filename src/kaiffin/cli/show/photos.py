"""Photo sets: what `kaiffin prepare` looked at, and what `kaiffin caption` wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kaiffin.cli.terminal import console
from kaiffin.foundation.text import counted

if TYPE_CHECKING:
    from kaiffin.stories.caption import Captioned
    from kaiffin.stories.prepare import PhotoSet


def photo_set(found: PhotoSet) -> None:
    """How many photos, and where to look at them."""
    for one in found.every:
        count = len(one.prepared.examples)
        what = counted(count, "photo")
        console.print(f"{what} at {one.resolution} px. Look at {'it' if count == 1 else 'them'}:")
        console.print(f"  {one.sheet}")


def captions(found: Captioned) -> None:
    """Each caption that was made, and how many photos had one."""
    for name, text in found.made:
        console.print(f"{name}: {text}", markup=False)
    kept = f"; {counted(len(found.kept), 'photo')} had one (--again)" if found.kept else ""
    console.print(f"{counted(len(found.made), 'caption')} written{kept}.")
