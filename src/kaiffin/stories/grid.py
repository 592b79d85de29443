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
from dataclasses import replace
from pathlib import Path
from typing import Any

from kaiffin.experiments.grid import axes as reading
from kaiffin.experiments.grid.axes import Grid, Setting
from kaiffin.experiments.grid.effects import judge, open_jury, say
from kaiffin.experiments.grid.files import write
from kaiffin.foundation import tell
from kaiffin.foundation.cache import content_key
from kaiffin.foundation.config import Config
from kaiffin.foundation.errors import ConfigError, Interrupted, UserError
from kaiffin.foundation.run import Run
from kaiffin.foundation.runtime import Runtime
from kaiffin.foundation.subject import fill
from kaiffin.foundation.tell import console, duration
from kaiffin.models.base import ModelFamily
from kaiffin.models.files.load import load_base
from kaiffin.pictures import sample as pictures
from kaiffin.pictures.make import Task, make
from kaiffin.pictures.recipe import read_recipe, save_png
from kaiffin.pictures.request import slug
from kaiffin.pictures.source import of_run, open_source

MANY = 500  # pictures to be made above which a grid asks
MOST = 100_000  # pictures of a grid


def run(
    source: str, prompt: str | None, given: Mapping[str, str], *, seed: int | None = None,
    count: int = 1, changes: Mapping[str, Any] | None = None, batch_size: int = 4,
    out: Path | None = None, yes: bool = False,
) -> list[Path]:  # fmt: skip
    """Makes, scores and shows the grid; the pages of its sheet.

    source: a run folder or a base; given: the axes' texts by x, y and z; changes: of `sample`,
    `base` and `score`. Raises UserError for what cannot be made, before anything is made.
    """
    of, config = open_source(source, changes)
    grid = ask(of, config, prompt, given, seed, count)
    jury = open_jury(of, config, grid.prompts)
    family = load_base(config.base, Runtime.from_config(config.base))
    place = Run(out or (of.path if of else Path()) / "grids", config)
    folder = place.folder("pictures")
    tasks = [cell.setting.task(family) for cell in grid.cells]
    paths = [folder / _name(task, family) for task in tasks]
    with place.lock():
        _make_missing(family, tasks, paths, batch_size, yes)
        judged = judge(jury, config.subject, grid, paths)
        sheets = write(place.path, source, grid, paths, judged)
    say(judged)
    more = f" and {len(sheets) - 1} further pages" if len(sheets) > 1 else ""
    console.print(f"all of them on {sheets[0]}{more}; the table beside it is {sheets[0].stem}.csv")
    return sheets


def ask(
    of: Run | None, config: Config, prompt: str | None, given: Mapping[str, str],
    seed: int | None = None, count: int = 1,
) -> Grid:  # fmt: skip
    """The grid that is wanted, with every value validated."""
    file = of_run(of)[0].path if of else None
    start = Setting(fill(prompt or "", config.subject), seed or 0, config.sample, file)
    axes = reading.read(given, start, of, config)
    names = [axis.name for axis in axes.values()]
    if (prompt is None) == ("prompt" not in names):
        raise ConfigError(
            "a grid needs one prompt, or an axis of them.",
            'As in "a photo of {token}", or --y "prompt=a dog|a cat".',
        )
    if "seed" in names and (count > 1 or seed is not None):
        raise ConfigError("seed is an axis already.", "Leave out --seed and -n.")
    grid = Grid(axes, start, count)
    total = math.prod(grid.shape)
    if total > MOST:
        raise ConfigError(
            f"{total:,} pictures are more than a grid can have ({MOST:,}).",
            "Leave out some values.",
        )
    return grid


def _name(task: Task, family: ModelFamily) -> str:
    """By the recipe, so that a name belongs to one picture only, whatever grid it is in."""
    key = content_key(json.dumps(task.recipe(family), sort_keys=True))
    return f"{slug(task.request.prompt)}-seed{task.request.seed}-{key[:12]}.png"


def _make_missing(
    family: ModelFamily, tasks: Sequence[Task], paths: Sequence[Path], batch_size: int, yes: bool
) -> None:
    """Makes what is not there, each once; asks where that is much."""
    for partial in paths[0].parent.glob(".*.part"):
        partial.unlink(missing_ok=True)  # of a call that was killed
    wanted = dict(zip(paths, tasks, strict=True))
    files = [path for path, task in wanted.items() if not _is_made(path, task, family)]
    todo = [wanted[path] for path in files]
    console.print(f"{len(paths):,} pictures, {len(todo):,} of them to make")
    if len(todo) > MANY and not yes:
        raise ConfigError(
            f"{len(todo):,} pictures are many: about {duration(_seconds(family, todo))} on this"
            " machine.",
            "Say --yes to make them, or leave out some values.",
        )
    steps, made = sum(task.request.steps for task in todo), 0
    try:
        with tell.progress(f"{len(todo):,} pictures, in steps", steps) as advance:
            for place, image in make(family, todo, batch_size, on_step=advance):
                save_png(image, files[place], todo[place].recipe(family))
                made += 1
    except KeyboardInterrupt:
        raise Interrupted(
            f"stopped: {made:,} of {len(todo):,} pictures are made.",
            "The same command makes the others.",
            signal.SIGINT,
        ) from None


def _is_made(path: Path, task: Task, family: ModelFamily) -> bool:
    try:
        return read_recipe(path) == task.recipe(family)
    except UserError:
        return False  # absent, or damaged


def _seconds(family: ModelFamily, tasks: Sequence[Task]) -> float:
    """What `tasks` will take, by two steps of the first; a round before warms up."""
    first = replace(tasks[0].request, steps=2)
    started = 0.0
    for _ in range(2):
        started = time.perf_counter()
        list(pictures.generate(family, [first]))
    each = (time.perf_counter() - started) / (first.steps * first.width * first.height)
    asked = [task.request for task in tasks]
    return each * sum(one.steps * one.width * one.height for one in asked)
