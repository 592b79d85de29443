"""`kaiffin grid`: pictures over up to three axes of generation, as labelled sheet and scored table.

    pictures/<prompt>-seed<n>-<recipe>.png    each picture, by the hash of all that decides it
    grid.png  grid.json  grid.csv             columns x, rows y, blocks z; the same with scores

A picture that is there already is not made again, so that a grid that was stopped goes on, and one
with a further column makes only that. Another grid in the same folder is grid-2, and so on.
"""

from __future__ import annotations

import json
import math
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kaiffin.experiments.grid import axes, effects, files
from kaiffin.experiments.grid.axes import Grid, Setting
from kaiffin.experiments.grid.effects import GridScores
from kaiffin.experiments.grid.files import GridFiles
from kaiffin.foundation.cache import content_key
from kaiffin.foundation.config import Config, SubjectConfig
from kaiffin.foundation.errors import ConfigError, Interrupted, UserError
from kaiffin.foundation.folder import Folder
from kaiffin.foundation.notebook import Shown
from kaiffin.foundation.run import Run
from kaiffin.foundation.runtime import Runtime, contained
from kaiffin.foundation.schema import Together
from kaiffin.foundation.subject import fill, plain_prompt
from kaiffin.foundation.tell import SILENT, Tell, duration
from kaiffin.foundation.text import counted
from kaiffin.models.base import ModelFamily
from kaiffin.models.files.load import load_base
from kaiffin.pictures import sample
from kaiffin.pictures.batches import open_batches
from kaiffin.pictures.few import NONE, Few, few_steps
from kaiffin.pictures.make import Task, make
from kaiffin.pictures.recipe import read_recipe, save_png
from kaiffin.pictures.request import refuse_large, remarks, slug
from kaiffin.pictures.source import of_run, open_source, subjects_known
from kaiffin.score.judge import judge_of
from kaiffin.score.panel import Panel, open_panel
from kaiffin.score.photos import subject_photos

MANY = 500  # pictures to be made above which a grid asks
MOST = 100_000  # pictures of a grid


@dataclass(frozen=True)
class GridOrder:
    """Which grid is wanted, and where it goes.

    source: a run folder or a base; prompt: None where it is an axis; axes: by x, y and z, as
    `experiments.grid.axes` reads them; seed: None where it is an axis or 0; count: pictures of each
    cell; out: default grids in the run or here; yes: however many pictures these are; adapter: a
    file, where the source is a base.
    """

    source: str
    prompt: str | None
    axes: Mapping[str, str]
    seed: int | None = None
    count: int = 1
    batch_size: Together = 4
    out: Path | None = None
    yes: bool = False
    adapter: Path | None = None


@dataclass(frozen=True)
class MadeGrid(Shown):
    """grid: the axes and cells; pictures: that of each cell, in their order; scores: with the
    effect of each value; files: the sheet and the tables."""

    grid: Grid
    pictures: tuple[Path, ...]
    scores: GridScores
    files: GridFiles

    @property
    def sheet(self) -> Path:
        """The first page."""
        return self.files.sheets[0]


@contained()
def grid(
    order: GridOrder, *, changes: Mapping[str, Any] | None = None, tell: Tell = SILENT
) -> MadeGrid:
    """Makes, scores and shows the grid.

    changes: of `sample`, `base` and `score`, such as {"sample.steps": 30}. Raises UserError for
    what cannot be made, before anything is made.
    """
    run, config = open_source(order.source, changes, tell=tell)
    config, few = few_steps(config, changes, tell=tell)
    asked = ask(order, run, config, few)
    if run is None and (subject := _subject(order, asked, tell)):
        config = config.model_copy(update={"subject": subject})
        asked = ask(order, run, config, few)
    for remark in remarks(cell.setting.request for cell in asked.cells):
        tell.note(remark)
    panel = _open_panel(run, config, asked.prompts, tell)
    family = load_base(config.base, Runtime.from_config(config.base), tell)
    place = Folder(order.out or (run.grids if run else Path("grids")))
    folder = place.folder("pictures")
    tasks = [cell.setting.task(family) for cell in asked.cells]
    paths = [folder / _name(task, family) for task in tasks]
    with place.lock():
        _make_missing(family, dict(zip(paths, tasks, strict=True)), len(paths), order, tell)
        scored = effects.score(panel, config.subject, asked, paths, tell=tell)
        written = files.write(place.path, order.source, asked, paths, scored)
    return MadeGrid(asked, tuple(paths), scored, written)


def ask(order: GridOrder, run: Run | None, config: Config, few: Few = NONE) -> Grid:
    """The grid that is wanted, with every value validated; few: as `few_steps` has it."""
    file = of_run(run)[0].path if run else order.adapter
    prompt = fill(order.prompt or "", config.subject)
    start = Setting(prompt, order.seed or 0, config.sample, file, few=few)
    by_letter = axes.read(order.axes, start, run, config)
    names = [axis.name for axis in by_letter.values()]
    if (order.prompt is None) == ("prompt" not in names):
        raise ConfigError(
            "a grid needs one prompt, or an axis of them.",
            'As in "a photo of {token}", or --y "prompt=a dog|a cat".',
        )
    if "seed" in names and (order.count > 1 or order.seed is not None):
        raise ConfigError("seed is an axis already.", "Leave out --seed and -n.")
    refuse_large(start.seed, order.count)
    asked = Grid(by_letter, start, order.count)
    total = math.prod(asked.shape)
    if total > MOST:
        raise ConfigError(
            f"{total:,} pictures are more than a grid can have ({MOST:,}).",
            "Leave out some values.",
        )
    return asked


def _subject(order: GridOrder, asked: Grid, tell: Tell) -> SubjectConfig | None:
    """Of whom a grid of a base is: of the first adapter in it."""
    files = [cell.setting.file for cell in asked.cells if cell.setting.file]
    prompts = " ".join([order.prompt or "", *order.axes.values()])
    return next(iter(subjects_known(prompts, files[:1], tell)), None)


def _open_panel(
    run: Run | None, config: Config, prompts: Sequence[str], tell: Tell
) -> Panel | None:
    """The judges that the config names; None where it names none, which is said."""
    if judge_of(config) is None:
        tell.note(f"note: no scores, since no --judge is named for {config.base.name}")
        return None
    photos = subject_photos([run] if run else [], config.score.like, tell=tell)
    plain = [plain_prompt(text, config.subject) for text in prompts]
    return open_panel(config, photos, tell=tell).read(plain, tell=tell)


def _name(task: Task, family: ModelFamily) -> str:
    """By the recipe, so that a name belongs to one picture only, whatever grid it is in."""
    key = content_key(json.dumps(task.recipe(family), sort_keys=True))
    return f"{slug(task.request.prompt)}-seed{task.request.seed}-{key[:12]}.png"


def _make_missing(
    family: ModelFamily, wanted: Mapping[Path, Task], count: int, order: GridOrder, tell: Tell
) -> None:
    """Makes what is not there, each once; asks where that is much.

    wanted: by where each is to be; count: the grid's pictures, of which some may be the same.
    """
    for partial in next(iter(wanted)).parent.glob(".*.part"):
        partial.unlink(missing_ok=True)  # of a call that was killed
    paths = [path for path, task in wanted.items() if not _is_made(path, task, family)]
    todo = [wanted[path] for path in paths]
    tell.note(f"{counted(count, 'picture')}, {len(todo):,} of them to make")
    if len(todo) > MANY and not order.yes:
        raise ConfigError(
            f"{len(todo):,} pictures are many: about {duration(_seconds(family, todo))} on this"
            " machine.",
            "Say --yes to make them, or leave out some values.",
        )
    steps, made = sum(task.request.steps for task in todo), 0
    try:
        with tell.progress(f"{counted(len(todo), 'picture')}, in steps", steps) as wait:
            together = open_batches(order.batch_size, tell)
            pictures = make(family, todo, together, on_step=wait.advance, tell=tell)
            for place, image in pictures:
                save_png(image, paths[place], todo[place].recipe(family, image))
                tell.picture(paths[place], todo[place].request.prompt)
                made += 1
    except KeyboardInterrupt:
        raise Interrupted(
            f"stopped: {made:,} of {counted(len(todo), 'picture')} made.",
            "The same command makes the others.",
            signal.SIGINT,
        ) from None


def _is_made(path: Path, task: Task, family: ModelFamily) -> bool:
    try:
        return read_recipe(path) | {"batch": 1} == task.recipe(family) | {"batch": 1}
    except UserError:
        return False  # absent, or damaged


def _seconds(family: ModelFamily, tasks: Sequence[Task]) -> float:
    """What `tasks` will take, by two steps of the first; a round before warms up."""
    first = replace(tasks[0].request, steps=2)
    started = 0.0
    for _ in range(2):
        started = time.perf_counter()
        list(sample.generate(family, [first]))
    each = (time.perf_counter() - started) / (first.steps * first.width * first.height)
    requests = [task.request for task in tasks]
    return each * sum(one.steps * one.width * one.height for one in requests)
