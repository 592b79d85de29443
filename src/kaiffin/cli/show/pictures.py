"""Pictures that `kaiffin generate` made, and pictures in order of their scores."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kaiffin.cli.terminal import console
from kaiffin.foundation.text import counted

if TYPE_CHECKING:
    from kaiffin.stories.generate import Picture, Pictures
    from kaiffin.stories.rank import Ranking


def made(found: Pictures) -> None:
    """Where they are, and which are the best where that was asked."""
    console.print(
        f"{counted(len(found.pictures), 'picture')} in {found.folder}, together on {found.sheet}"
    )
    for one in found.rankings:
        ranking(one)


def again(found: Picture) -> None:
    """Where the picture is that was made from another's recipe."""
    console.print(f"1 picture, made again: {found.path}")


def ranking(found: Ranking) -> None:
    """A line a picture, and what choosing brought."""
    console.print(f'judged by {found.judge}: "{found.prompt}"')
    for place, one in enumerate(found.pictures, 1):
        console.print(f"{place:3}. {one}  {one.path}{'' if one.chosen else '  (not chosen)'}")
    chosen = len(found.chosen)
    for gain in found.gains:
        console.print(
            f"gain over the first {chosen}: {gain.name} {gain.chosen - gain.first:+.3f}"
            f" ({gain.first:.3f} -> {gain.chosen:.3f})"
        )
    if found.gains:
        console.print(f"  for {len(found.pictures) / chosen:.1f} times the pictures")
    if found.sheet:
        console.print(f"all of them in this order on {found.sheet}")
