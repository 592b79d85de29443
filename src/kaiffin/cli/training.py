"""The commands that teach: prepare, caption, train, resume. Torch-free until one of them runs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from kaiffin.cli.settings import Command, argument, option

if TYPE_CHECKING:
    from kaiffin.foundation.config import Config


def helps() -> bool:
    """Whether torchrun has started this process, and it is not the first, which does all but its
    own part of the steps."""
    return int(os.environ.get("RANK", 0)) > 0 and "TORCHELASTIC_RUN_ID" in os.environ


def _help_along() -> int:
    from kaiffin.train.helper import help_along

    return help_along()


class Prepare(Command):
    """Look at the photos first: refusals, findings, crops, captions, a contact sheet."""

    takes = ("subject", "base", "data")
    short = ("subject", "base", "data")

    photos: Path = argument("folder with photos, or a config.yaml that names some")
    out: Path | None = option(
        None, "folder that is written; default: prepared/ and the photos' name", panel="Output"
    )

    def __call__(self) -> None:
        config = _config_of(self, self.photos)
        from kaiffin.cli.show import photos as show
        from kaiffin.data.findings import refuse_problems
        from kaiffin.stories.prepare import prepare

        found = prepare(config, self.out, tell=self.tell)
        self.answer(found, show.photo_set)
        for one in found.every:
            refuse_problems(one.prepared)


def _config_of(command: Command, source: Path) -> Config:
    """Of a config file, or of a folder with photos."""
    is_config = source.suffix.lower() in {".yaml", ".yml", ".toml"} or source.is_file()
    return command.config({}, source) if is_config else command.config({"data.photos": source})


class Caption(Command):
    """Let a model of yours write the captions that photos lack, in files beside them."""

    takes = (
        "subject.token", "subject.noun", "data.format", "data.template", "data.background",
        "data.links",
    )  # fmt: skip
    short = ("subject.token", "subject.noun")

    photos: Path = argument("folder with photos")
    captioner: str = option(
        ..., "folder or hub id of an image-to-text model, such as a BLIP or a chat model that sees"
    )
    prompt: str | None = option(
        None, "what it is asked; default: a chat model for all but the subject, others nothing"
    )
    again: bool = option(False, "write anew what photos have, too")

    def __call__(self) -> None:
        config = self.config({"data.photos": self.photos})
        from kaiffin.cli.show import photos as show
        from kaiffin.stories.caption import caption

        found = caption(
            config, self.captioner, prompt=self.prompt, again=self.again, tell=self.tell
        )
        self.answer(found, show.captions)
        found.refuse_failed()


class Train(Command):
    """Teach a base the subject in the photos; the result is a run folder with the adapter."""

    takes = (
        "subject", "base", "data", "adapter", "embedding", "train", "phases", "sample", "score",
    )  # fmt: skip
    short = ("subject", "base", "data", "train")

    source: Path = argument("a config.yaml, or a folder with photos")
    out: Path | None = option(
        None, "run folder that is made; default: runs/ and the subject's word", panel="Output"
    )
    devices: int = option(
        1, "GPUs of this machine (or processes on its CPU) that share every batch", panel="Output",
        ge=1, le=1024,
    )  # fmt: skip
    dry_run: bool = option(
        False, "say what it would cost in time and memory, and stop", panel="Output"
    )

    def __call__(self) -> int:
        config = _config_of(self, self.source)
        from kaiffin.cli.show import training as show
        from kaiffin.stories.plan import plan
        from kaiffin.stories.train import train

        if helps():
            return 0 if self.dry_run else _help_along()
        if self.dry_run:
            self.answer(plan(config, devices=self.devices, tell=self.tell), show.planned)
            return 0
        made = train(config, self.out, devices=self.devices, tell=self.tell)
        self.answer(made, show.trained)
        return 1 if made.is_idle else 0


class Resume(Command):
    """Go on with an interrupted training; ends in the same file as if it had never stopped."""

    run: Path = argument("the run folder")
    devices: int = option(
        1, "devices that share every batch; any number, whatever it was before", ge=1, le=1024
    )

    def __call__(self) -> int:
        from kaiffin.cli.show import training as show
        from kaiffin.stories.train import resume

        if helps():
            return _help_along()
        made = self.answer(resume(self.run, devices=self.devices, tell=self.tell), show.trained)
        return 1 if made.is_idle else 0


class Options(Command):
    """Every field of the configuration, its default and meaning, as a Markdown table."""

    def __call__(self) -> None:
        from kaiffin.foundation.settings import described, option_table

        self.answer(described(), lambda _: print(option_table()))
