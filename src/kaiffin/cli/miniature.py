"""`kaiffin miniature ...`: the embedded base model. Torch-free until it is built."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator

import click

from kaiffin.cli.settings import Command, Flag, SchemaCommand, option
from kaiffin.miniature.build.recipe import BuildConfig, Stage


class Build(Command, BuildConfig):
    """Train the embedded base from scratch: render, CLIP, VAE, UNet; resumes by itself."""

    only: Stage | None = option(None, "run this stage alone")

    def __call__(self) -> None:
        from kaiffin.cli.show import miniature as show
        from kaiffin.cli.terminal import Clock
        from kaiffin.stories import miniature

        config = BuildConfig(**self.model_dump(include=set(BuildConfig.model_fields)))
        tell = self.tell if self.quiet else Clock(aside=self.as_json)
        self.answer(miniature.build(config, self.only, tell=tell), show.built)


class BuildCommand(SchemaCommand):
    """Its lists may be given in one go: `--unet-channels 96 160`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        lists = {flag.flag for flag in self.fields if isinstance(flag, Flag) and flag.multiple}
        return super().parse_args(ctx, list(one_by_one(args, lists)))


def one_by_one(words: Iterable[str], lists: Container[str]) -> Iterator[str]:
    """`--a 1 2` as `--a 1 --a 2`, for each flag in `lists`."""
    flag, given = "", 0
    for word in words:
        if word.startswith("--"):
            flag, given = word if word in lists else "", 0
        elif flag:
            given += 1
            if given > 1:
                yield flag
        yield word
