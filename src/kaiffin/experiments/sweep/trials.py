"""A sweep's file and the trials in it: one configuration with some settings changed at a time.

config: base.yaml                  # beside this file
set: {train.steps: 1000}           # in all trials
trials: {baseline: {}, slow: {train.lr: 1.0e-5}}
grid: {adapter.rank: [4, 16]}      # or each combination of these
seeds: [0, 1]                      # of the training
prompts: ["a photo of {token} in the snow"]
count: 4                           # pictures of each prompt, on equal seeds in all trials
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from kaiffin.foundation.config import Config, Strict
from kaiffin.foundation.errors import ConfigError, nearest
from kaiffin.foundation.folder import LONGEST, file_name
from kaiffin.foundation.settings import ALL, build, fields, override, read_config
from kaiffin.foundation.written import meant
from kaiffin.foundation.written import read as read_written

MANY = 50  # trainings above which a sweep asks; ten times as many trials
KEPT = ".,=+"  # marks within the name of a trial, besides - and _
HELP = "docs/experiments.md shows one."


class SweepFile(Strict):
    """The file, strict as every configuration."""

    config: Path
    set: dict[str, Any] = Field({})
    trials: dict[str, dict[str, Any]] = Field({})
    grid: dict[str, list[Any]] = Field({})
    seeds: list[int] = Field([0], min_length=1)
    prompts: list[str] = Field(min_length=1)
    count: int = Field(2, ge=1)


@dataclass(frozen=True)
class Trial:
    """One setting and training seed. run: name of the training's folder, which trials share that
    differ only in `sample`."""

    name: str
    seed: int
    config: Config
    run: str

    @property
    def label(self) -> str:
        return f"{self.name}-seed{self.seed}"


def read(
    path: Path, changes: Mapping[str, Any] | None = None, *, yes: bool = False
) -> tuple[SweepFile, list[Trial]]:
    """The sweep in `path` with every trial's configuration built; `changes` go into all of them.

    Raises ConfigError naming the trial and field that is wrong; without `yes` also for more
    trainings than are usually meant.
    """
    file = _read_file(path)
    if not yes:
        _ask(file, path)
    base = read_config(path.parent / file.config)
    shared: dict[str, str] = {}
    trials, more = [], changes or {}
    for name, own in _settings(file):
        for seed in file.seeds:
            merged = override(base, {**file.set, **own, "train.seed": seed, **more})
            config = build(merged, f"{path}: trial {name}")
            key = config.model_dump_json(exclude={"sample"})
            run = shared.setdefault(key, f"{name}-seed{seed}")
            trials.append(Trial(name, seed, config, run))
    return file, trials


def _read_file(path: Path) -> SweepFile:
    try:
        file = SweepFile.model_validate(_meant(read_written(path)))
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        unknown = first["type"] == "extra_forbidden"
        way = nearest(name, SweepFile.model_fields) if unknown else HELP
        raise ConfigError(f"{path}: {name}: {first['msg']}.", way) from None
    if bool(file.trials) == bool(file.grid):
        raise ConfigError(f"{path}: give either trials or a grid.", HELP)
    places = {"set": file.set, "grid": file.grid}
    places |= {f"trial {name}": own for name, own in file.trials.items()}
    for place, settings in places.items():
        _refuse_unknown(settings, f"{path}: {place}")
    for name, values in file.grid.items():
        if not values:
            raise ConfigError(f"{path}: grid.{name} has no values.", "List some, as [4, 16].")
        _refuse_twice(values, f"{path}: grid.{name}")
    _refuse_twice(file.seeds, f"{path}: seeds")
    for name in file.trials:
        folder = f"{name}-seed0"
        if file_name(folder, keep=KEPT) != folder:
            raise ConfigError(
                f"{path}: trial {name!r} cannot be the name of a folder.",
                "Use letters, digits and, within, the marks - _ = + , and the dot.",
            )
    return file


def _meant(data: Mapping[str, Any]) -> dict[str, Any]:
    """The file with each setting's values as its field means them."""
    known = {name: info.annotation for name, info in fields()}

    def settings(given: Any, several: bool = False) -> Any:
        if not isinstance(given, Mapping):
            return {} if given == "" else given
        return {
            name: [meant(one, known.get(name)) for one in value]
            if several and isinstance(value, list)
            else meant(value, known.get(name))
            for name, value in given.items()
        }

    found = {name: value for name, value in data.items() if value != ""}
    for name, value in found.items():
        if name in ("set", "grid"):
            found[name] = settings(value, several=name == "grid")
        elif name == "trials" and isinstance(value, Mapping):
            found[name] = {trial: settings(own) for trial, own in value.items()}
    return found


def _refuse_unknown(settings: Mapping[str, Any], where: str) -> None:
    known = dict(fields())
    for name in settings:
        if name not in known:
            raise ConfigError(f"{where}: unknown setting {name!r}.", nearest(name, known, ALL))
        if name == "train.seed":
            raise ConfigError(f"{where}: train.seed has no effect.", "Write seeds: [0, 1].")


def _refuse_twice(values: Sequence[Any], where: str) -> None:
    twice = [value for value in values if values.count(value) > 1]
    if twice:
        raise ConfigError(f"{where} holds {twice[0]!r} twice.", "Leave one out.")


def _ask(file: SweepFile, path: Path) -> None:
    """ConfigError for more than is usually meant. Counts, and builds nothing."""
    trained = [one for name, one in file.grid.items() if not name.startswith("sample.")]
    settings = [
        {name: value for name, value in own.items() if not name.startswith("sample.")}
        for own in file.trials.values()
    ]
    listed = [one for place, one in enumerate(settings) if one not in settings[:place]]
    trials = len(settings) or math.prod(map(len, file.grid.values()))
    trainings = len(listed) or math.prod(map(len, trained))
    for count, limit, what in ((trainings, MANY, "trainings"), (trials, 10 * MANY, "trials")):
        number = count * len(file.seeds)
        if number > limit:
            raise ConfigError(f"{path}: {number:,} {what} are many.", "Say --yes to run them.")


def _settings(file: SweepFile) -> Iterator[tuple[str, dict[str, Any]]]:
    """(name, settings) of each trial, listed or by the grid."""
    yield from file.trials.items()
    last = [name.rpartition(".")[2] for name in file.grid]
    short = [
        leaf if last.count(leaf) == 1 else name for leaf, name in zip(last, file.grid, strict=True)
    ]
    taken: set[str] = set()
    for values in itertools.product(*file.grid.values()) if file.grid else ():
        name = ",".join(f"{k}={_word(value)}" for k, value in zip(short, values, strict=True))
        name = name[:100].encode()[:LONGEST].decode(errors="ignore")
        while name.lower() in taken:  # long values, or such as differ in odd marks only
            name += "+"
        taken.add(name.lower())
        yield name, dict(zip(file.grid, values, strict=True))


def _word(value: Any) -> str:
    """A value as part of a folder's name."""
    if isinstance(value, list):
        return "-".join(map(_word, value))
    return re.sub(r"[^\w.+-]+", "_", "none" if value is None else str(value))
