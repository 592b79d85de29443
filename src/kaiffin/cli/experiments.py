"""The commands that measure: choose, grid, compare, sweep, report. Torch-free until one runs."""

from __future__ import annotations

import re
from pathlib import Path

import click

from kaiffin.cli.pictures import drawn
from kaiffin.cli.settings import Command, argument, option
from kaiffin.cli.training import Train
from kaiffin.foundation.errors import ConfigError
from kaiffin.foundation.schema import SEEDS, Together

# What weighs pictures: all of `score` but what training alone uses.
JUDGED = ("score.judge", "score.identity_judge", "score.like", "score.prompts", "score.seeds")


class Choose(Command):
    """Which of a run's checkpoints: equal pictures of each, scored; with intervals, or a draw."""

    takes = ("base", "sample", *JUDGED)
    short = ("sample.fast", "score")

    run: Path = argument("the run folder")
    budget: str | None = option(None, "time that it may take, such as 5min or 90s", metavar="TIME")
    batch_size: int = option(8, "pictures computed together", ge=1)

    def __call__(self) -> None:
        seconds = duration(self.budget)
        from kaiffin.cli.show import choice as show
        from kaiffin.stories.choose import choose

        found = choose(
            self.run, changes=self.settings, budget=seconds, batch_size=self.batch_size,
            tell=self.tell,
        )  # fmt: skip
        self.answer(found, show.advice)


class Grid(Command):
    """Pictures over up to three axes of generation, as a labelled sheet and a scored table."""

    takes = ("base", "sample", "score.judge", "score.like")
    short = ("sample", "score")

    source: str = argument("a run folder, or a base such as miniature")
    prompt: str | None = argument("what to show, unless it is an axis", None)
    x: str | None = option(
        None, "columns, such as guidance=3,5,7.5, steps=10..30/5, weight=0.5,1, checkpoint=all or"
        ' "prompt=a dog|a cat"; see docs/experiments.md', metavar="AXIS", panel="Axes",
    )  # fmt: skip
    y: str | None = option(None, "rows, such as seed=1..4", metavar="AXIS", panel="Axes")
    z: str | None = option(None, "blocks, one below the other", metavar="AXIS", panel="Axes")
    count: int = option(1, "pictures of each cell, for the scores", "-n", ge=1, panel="Pictures")
    seed: int | None = option(
        None,
        "seed of all; 0 by default, with -n the next too; -1 draws one",
        ge=-1,
        le=SEEDS - 1,
        panel="Pictures",
    )
    batch_size: Together = option(
        4, "pictures computed together; auto: as many as prove quickest for the base and the size",
        metavar="N|auto", panel="Pictures",
    )  # fmt: skip
    yes: bool = option(False, "however many pictures these are", panel="Output")
    out: Path | None = option(None, "folder; default: grids in the run", panel="Output")

    def __call__(self) -> None:
        axes = {"x": self.x, "y": self.y, "z": self.z}
        from kaiffin.cli.show import grid as show
        from kaiffin.stories.grid import GridOrder, grid

        order = GridOrder(
            self.source,
            self.prompt,
            {letter: text for letter, text in axes.items() if text is not None},
            seed=None if self.seed is None else drawn(self.seed, self.tell),
            count=self.count,
            batch_size=self.batch_size,
            out=self.out,
            yes=self.yes,
        )
        self.answer(grid(order, changes=self.settings, tell=self.tell), show.grid)


class Compare(Command):
    """What differs between runs, and whether it shows: scores in pairs, with a verdict on each."""

    takes = ("base", "sample", *JUDGED)
    short = ("sample.fast", "score")

    runs: list[Path] = argument("run folders, or a sweep's folder")
    last: bool = option(False, "the last adapter of each, not the one chosen")
    subject: str | None = option(
        None,
        "the word of the subject that is compared, where a run has several; default: the first",
    )
    batch_size: int = option(8, "pictures computed together", ge=1)
    out: Path = option(Path("comparison"), "folder that is written", panel="Output")

    def __call__(self) -> None:
        from kaiffin.cli.show import comparison as show
        from kaiffin.stories.compare import compare

        found = compare(
            self.runs, self.out, changes=self.settings, last=self.last, subject=self.subject,
            batch_size=self.batch_size, tell=self.tell,
        )  # fmt: skip
        self.answer(found, show.comparison)


class Sweep(Command):
    """Train with some settings changed at a time, on equal seeds; skips what is finished."""

    takes = Train.takes

    file: Path = argument("a sweep file; see examples/cheburashka-sweep.yaml")
    judge: str | None = option(None, "a folder or hub id with a CLIP or SigLIP, or miniature")
    on: str = option(
        "local", "local, processes:2, gpus, gpus:0,1, ray, ray:2 or ray://HOST:10001",
        metavar="WHERE",
    )  # fmt: skip
    yes: bool = option(False, "however many trainings these are")
    out: Path | None = option(None, "folder; default: sweeps/ and the file's name", panel="Output")

    def __call__(self) -> int:
        from kaiffin.cli.show import sweep as show
        from kaiffin.foundation.folder import file_name
        from kaiffin.stories.sweep import sweep

        name = file_name(self.file.stem, "sweep", keep=" .,=+")
        made = sweep(
            self.file, self.out or Path("sweeps") / name, self.settings, judge=self.judge,
            yes=self.yes, on=self.on, tell=self.tell,
        )  # fmt: skip
        self.answer(made, show.sweep)
        return 1 if made.failed else 0


class Report(Command):
    """One page of a run, or of many side by side: pictures, scores, loss, recipe; no network."""

    runs: list[Path] = argument("run folders, or the folder of a sweep")
    show: bool = option(False, "open it in the browser", "--open", panel="Output")
    out: Path | None = option(
        None, "HTML file; default: report.html in the run, or here for many", panel="Output"
    )

    def __call__(self) -> None:
        from kaiffin.cli.show import report as show
        from kaiffin.stories.report import report

        written = self.answer(report(self.runs, self.out, tell=self.tell), show.report)
        if self.show:
            click.launch(str(written.path))


def duration(text: str | None) -> float | None:
    """`90s`, `5min`, `2h` or plain seconds, in seconds."""
    if text is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?) *(s|min|h)?", text.strip().lower())
    if not found or not float(found[1]):
        raise ConfigError(f"--budget {text!r} is not a time.", "Write 90s, 5min or 2h.")
    return float(found[1]) * {"min": 60, "h": 3600}.get(found[2], 1)
