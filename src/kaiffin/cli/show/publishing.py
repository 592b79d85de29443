"""What `kaiffin publish` made: the files that strangers get, and where they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kaiffin.cli.terminal import console
from kaiffin.foundation.tell import size_text
from kaiffin.foundation.text import counted

if TYPE_CHECKING:
    from kaiffin.stories.publish import Published


def published(made: Published) -> None:
    """The files by name, the hash that galleries show, and what a person should still look at."""
    console.print(f"{counted(len(made.files), 'file')}, {size_text(made.size)}:")
    for name in made.files:
        console.print(f"  {name}", markup=False, soft_wrap=True)
    console.print(f"hash: {made.model_hash[:12]} (as A1111 and Civitai show it)")
    if made.left_out:
        console.print(f"left out of the header: {', '.join(made.left_out)}", markup=False)
    if not made.licence:
        console.print("The base's licence is not known here: say --licence, as the hub calls it.")
    console.print(made.url or f"{made.folder} is written; nothing was uploaded.", soft_wrap=True)
