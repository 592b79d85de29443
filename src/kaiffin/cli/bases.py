"""`kaiffin bases ...`: base models listed, taken, named. Torch-free until one is taken."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from kaiffin.cli.settings import Command, argument, option


class List(Command):
    """The bases known by name, and others in the hub's cache: what of each is on this machine."""

    def __call__(self) -> None:
        from kaiffin.cli.show import bases as show
        from kaiffin.stories.bases import bases, cached

        self.answer({"known": bases(), "cached": cached()}, lambda found: show.listed(**found))


class Get(Command):
    """Take a base from the hub before it is needed: what will be loaded of it, and no more.

    What is here already is proven by its hashes, and mended. Then it loads without a network.
    """

    name: str = argument("a short name, or ORG/NAME, ORG/NAME@REVISION, ORG/NAME:FILE")
    dtype: Literal["auto", "fp32", "fp16", "bf16"] = option(
        "auto", "as it will be loaded: fp16 and bf16 take the smaller files; auto: as here"
    )

    def __call__(self) -> None:
        from kaiffin.cli.show import bases as show
        from kaiffin.stories.bases import get

        self.answer(get(self.name, self.dtype, tell=self.tell), show.taken)


class Add(Command):
    """Give a checkpoint file or a diffusers folder a short name for --base."""

    path: Path = argument("a .safetensors checkpoint or a diffusers folder")
    name: str = option(..., "one word, such as mine")

    def __call__(self) -> None:
        from kaiffin.cli.show import bases as show
        from kaiffin.stories.bases import add

        self.answer(add(self.path, self.name), show.taken)
