"""The commands between Kaiffin and others: import, publish. Torch-free until one of them runs."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from kaiffin.cli.settings import Command, argument, option
from kaiffin.foundation.errors import UserError


class Import(Command):
    """A config from a training of sd-scripts, kohya_ss, diffusers, OneTrainer or ai-toolkit; says
    what became of every setting."""

    takes = ("subject", "base", "data", "train")
    short = ("subject", "base", "data", "train")

    source: str = argument('their file, or "a whole command line"', "")
    out: Path | None = option(
        None, "config that is written; default: the file's name with .yaml", panel="Output"
    )
    table: bool = option(False, "print every setting that is known, as Markdown, and stop")

    def __call__(self) -> None:
        from kaiffin.cli.show import importing as show
        from kaiffin.foundation.settings import override
        from kaiffin.foundation.trainers.importing import tables
        from kaiffin.stories.import_training import import_training

        if self.table:
            self.answer(tables(), click.echo)
            return
        if not self.source:
            raise UserError("`kaiffin import` needs a file or a command line.", "See --help.")
        override({}, self.settings)  # texts that no field can have are refused first
        found = import_training(self.source, self.out, self.settings, tell=self.tell)
        self.answer(found, show.imported)


class Publish(Command):
    """A finished run as a folder that the hub and Civitai want; uploaded only with hub:NAME."""

    run: Path = argument("a finished run folder")
    to: str = option(..., "a new folder, or hub:ORG/NAME to upload it there")
    pictures: int = option(4, "how many pictures are shown", ge=0, le=40)
    best: bool = option(False, "the checkpoint that `kaiffin choose` recommends, not the last")
    person: Literal["unsaid", "none", "consented"] = option(
        "unsaid", "whether a real person is shown, and has agreed; the hub wants it said"
    )
    thumbnail: bool = option(False, "a small picture and the licence inside the adapter file")
    licence: str = option("", "as the hub calls it; default: the base's")
    private: bool = option(False, "the repository is seen by you alone")

    def __call__(self) -> None:
        from kaiffin.cli.show import publishing as show
        from kaiffin.stories.publish import Terms, publish

        terms = Terms(self.person, self.licence, self.thumbnail, self.private)
        made = publish(
            self.run, self.to, terms, pictures=self.pictures, best=self.best, tell=self.tell
        )
        self.answer(made, show.published)
