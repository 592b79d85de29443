"""The commands between Kaiffin and others: import. Torch-free until one of them runs."""

from __future__ import annotations

from pathlib import Path

from kaiffin.cli.settings import Command, argument, option
from kaiffin.foundation.errors import UserError


class Import(Command):
    """A training of sd-scripts, kohya_ss, diffusers, OneTrainer or ai-toolkit as a config.

    Says of every setting what it became here, where it differs, or that it has no counterpart.
    """

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
            print(tables())
            return
        if not self.source:
            raise UserError("`kaiffin import` needs a file or a command line.", "See --help.")
        override({}, self.settings)  # texts that no field can have are refused first
        show.imported(import_training(self.source, self.out, self.settings, tell=self.tell))
