"""The axes of a grid: how their values are written, what each does to a picture, and all pictures.

guidance=3,5,7.5           a field of sample: guidance, steps, sampler, eta, negative, clip_skip
size=512x512,512x768       or size
steps=10..30/5  seed=1..4  numbers, also as ranges with both ends
prompt=a dog | a cat       texts are parted by |, since they hold commas; @FILE has one a line
weight=0.5,1               strength of the adapter; weight=unet=1,text=0 | 1..0.3 is parted by |
checkpoint=base,100,all    candidates that the training kept, by step; base is without adapter
adapter=FILE,FILE,base     others in place of the run's own
"""

from __future__ import annotations

import functools
import itertools
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from kaiffin.adapters import strength
from kaiffin.adapters.files import safe
from kaiffin.adapters.strength import PLAIN, Weights
from kaiffin.foundation.config import Config, SampleConfig
from kaiffin.foundation.errors import ConfigError, RunError, nearest
from kaiffin.foundation.run import Run
from kaiffin.foundation.samplers import taking
from kaiffin.foundation.settings import build, override
from kaiffin.foundation.subject import fill
from kaiffin.foundation.text import counted
from kaiffin.models.base import ModelFamily
from kaiffin.pictures.few import NONE, Few
from kaiffin.pictures.make import Task, WeightedAdapter
from kaiffin.pictures.request import Request, read_prompts, request, with_size

SAMPLE = ("guidance", "steps", "sampler", "eta", "negative", "clip_skip", "size")
KNOWN = (*SAMPLE, "seed", "prompt", "weight", "checkpoint", "adapter")
NUMBERS = ("guidance", "steps", "eta", "clip_skip", "seed")
TEXTS = ("prompt", "negative")
FIELDS = {"checkpoint": "file", "adapter": "file", "weight": "weights"}  # of a Setting
MOST = 10_000  # values of a range
NUMBER = r"\d{1,18}(?:\.\d{1,9})?"
RANGE = re.compile(rf"(-?{NUMBER})\.\.(-?{NUMBER})(?:/({NUMBER}))?")
BASE = "base"


@dataclass(frozen=True)
class Setting:
    """A picture that is wanted, its size still open. file: the adapter, None for the base alone;
    few: what few steps add to it."""

    prompt: str
    seed: int
    sample: SampleConfig
    file: Path | None = None
    weights: Weights = PLAIN
    few: Few = NONE

    @property
    def request(self) -> Request:
        """Its size still open."""
        return request(self.prompt, self.seed, self.sample)

    def task(self, family: ModelFamily) -> Task:
        asked = request(self.prompt, self.seed, with_size(self.sample, family))
        own = [WeightedAdapter(self.file, self.weights)] if self.file else []
        return Task(asked, self.few.beside(own))


@dataclass(frozen=True)
class Value:
    """effect: what a picture gets; shown: the same in tables; title: the same on the sheet."""

    effect: Any
    shown: str | int | float
    title: str


@dataclass(frozen=True)
class Axis:
    """name: one of KNOWN, or "" with a single value where nothing changes."""

    name: str = ""
    values: tuple[Value, ...] = (Value(None, "", ""),)

    def applied(self, place: int, setting: Setting) -> Setting:
        """`setting` with this axis' value number `place`."""
        effect = self.values[place].effect
        if self.name in SAMPLE:
            sample = setting.sample.model_copy(update={self.name: effect})
            return replace(setting, sample=sample)
        if not self.name:
            return setting
        return replace(setting, **{FIELDS.get(self.name, self.name): effect})


@dataclass(frozen=True)
class GridCell:
    """One picture of the grid. places: of its value on z, y and x, and its number there."""

    places: tuple[int, ...]
    setting: Setting


@dataclass(frozen=True)
class Grid:
    """axes: by x, y and z, with a single value where none was given; count: pictures a cell."""

    axes: Mapping[str, Axis]
    start: Setting
    count: int

    @property
    def used(self) -> dict[str, Axis]:
        """Those that were given."""
        return {letter: axis for letter, axis in self.axes.items() if axis.name}

    @property
    def shape(self) -> tuple[int, int, int, int]:
        z, y, x = (len(self.axes[letter].values) for letter in "zyx")
        return z, y, x, self.count

    @property
    def prompts(self) -> list[str]:
        for axis in self.used.values():
            if axis.name == "prompt":
                return [value.effect for value in axis.values]
        return [self.start.prompt]

    @functools.cached_property
    def cells(self) -> list[GridCell]:
        """All pictures, z outside, then y and x, and inside the pictures of one cell."""
        found = []
        for places in itertools.product(*map(range, self.shape)):
            setting = self.start
            for letter, place in zip("zyx", places[:3], strict=True):
                setting = self.axes[letter].applied(place, setting)
            found.append(GridCell(places, replace(setting, seed=setting.seed + places[3])))
        return found


def read(
    given: Mapping[str, str], start: Setting, run: Run | None, config: Config
) -> dict[str, Axis]:
    """The axes by x, y and z; `given` has their texts by the same.

    Raises ConfigError naming the axis, the value and the way out.
    """
    if not given:
        raise ConfigError("a grid needs an axis.", "As in --x guidance=3,5,7.5.")
    axes = {letter: _axis(f"--{letter}", text, run, config) for letter, text in given.items()}
    _refuse_without_effect(list(axes.values()), start)
    return {letter: axes.get(letter, Axis()) for letter in "xyz"}


def _axis(flag: str, text: str, run: Run | None, config: Config) -> Axis:
    name, _, given = (part.strip() for part in text.partition("="))
    name = name.removeprefix("sample.")
    where = f"{flag} {name}"
    if name not in KNOWN:
        raise ConfigError(f"{flag} {text}: unknown axis {name!r}.", nearest(name, KNOWN))
    if not given:
        raise ConfigError(f"{where}: has no values.", f"Write {where}=ONE,ANOTHER.")
    values: list[Value] = []
    for part in _parts(name, given, where):
        values += _values(name, part, where, run, config)
    shown, times = Counter(value.shown for value in values).most_common(1)[0]
    if times > 1:
        raise ConfigError(f"{where}: {shown} is there {times} times.", "Name each value once.")
    return Axis(name, _titled(name, values))


def _parts(name: str, given: str, where: str) -> list[str]:
    """The values as they were written, ranges written out."""
    if name == "prompt" and given.startswith("@"):
        return read_prompts(None, Path(given[1:]))
    separator = "|" if name in TEXTS or "|" in given else ","
    parts = [part.strip() for part in given.split(separator)]
    if name != "negative" and not all(parts):
        raise ConfigError(f"{where}: a value of {given!r} is empty.", "Write it, or leave it out.")
    return [one for part in parts for one in _expanded(name, part, where)]


def _expanded(name: str, part: str, where: str) -> list[str]:
    """`10..30/5` as 10, 15, 20, 25, 30; anything else as it is."""
    match = RANGE.fullmatch(part) if name in NUMBERS else None
    if match is None:
        return [part]
    first, last, step = (Decimal(text or 1) for text in match.groups())
    count = int((last - first) // step) + 1 if step and last >= first else 0
    if not 0 < count <= MOST:
        raise ConfigError(
            f"{where}: the range {part} holds {counted(count, 'value')}.",
            f"Write FIRST..LAST/STEP, counting up, of at most {MOST:,}.",
        )
    return [format(first + number * step, "f") for number in range(count)]


def _values(name: str, part: str, where: str, run: Run | None, config: Config) -> list[Value]:
    """What one written value means; several for `checkpoint=all`."""
    if name in SAMPLE:
        return [_of_sample(name, part, where, config)]
    if name == "checkpoint":
        return _checkpoints(part, where, run)
    if name == "adapter":
        return [_adapter(part)]
    if name == "weight":
        read = strength.parse(part)
        text = part if read.number is None else f"{read.number:g}"
        return [Value(read, text if read.number is None else read.number, f"weight {text}")]
    if name == "prompt":
        text = fill(part, config.subject)
        return [Value(text, text, text)]
    if not re.fullmatch(r"\d{1,18}", part):
        raise ConfigError(f"{where}: {part!r} is no whole number from 0 on.", "As in seed=1..4.")
    return [Value(int(part), int(part), f"seed {int(part)}")]


def _of_sample(name: str, part: str, where: str, config: Config) -> Value:
    """Validated by the configuration, whose message names the field and the way out."""
    data = override(config.model_dump(mode="python"), {f"sample.{name}": part})
    value = getattr(build(data, where).sample, name)
    shown = "x".join(map(str, value)) if isinstance(value, tuple) else value
    title = f"{name} {shown:g}" if isinstance(value, float) else f"{name} {shown}"
    return Value(value, shown, title if shown != "" else f"no {name}")


def _checkpoints(part: str, where: str, run: Run | None) -> list[Value]:
    if run is None:
        raise ConfigError(f"{where}: a base has no checkpoints.", "Name the folder of a run.")
    if part in (BASE, "0"):
        return [Value(None, 0, BASE)]
    found = {str(step): path for step, path in run.candidates()}
    if part != "all" and part not in found:
        raise RunError(
            f"{where}: {run.path} has no candidate of step {part!r}.",
            f"There are: {', '.join(found)}; all; base." if found else "There is base only.",
        )
    steps = found if part == "all" else [part]
    return [Value(found[step], int(step), f"step {step}") for step in steps]


def _adapter(part: str) -> Value:
    if part == BASE:
        return Value(None, BASE, BASE)
    safe.header(Path(part))  # AdapterError for what is no adapter, before anything is made
    return Value(Path(part), part, Path(part).stem)


def _titled(name: str, values: Sequence[Value]) -> tuple[Value, ...]:
    """Texts with numbers, since a sheet may have to cut them; whole paths where names are equal."""
    if name in TEXTS:
        return tuple(replace(v, title=f"{n}. {v.title}") for n, v in enumerate(values, 1))
    if len({value.title for value in values}) < len(values):
        return tuple(replace(value, title=str(value.shown)) for value in values)
    return tuple(values)


def _refuse_without_effect(axes: Sequence[Axis], start: Setting) -> None:
    """Axes that would change nothing, or undo each other."""
    by_name = {axis.name: axis for axis in axes}
    if len(by_name) < len(axes):
        name = next(axis.name for axis in axes if by_name[axis.name] is not axis)
        raise ConfigError(f"{name} is on two axes.", "Put all its values on one.")
    if {"checkpoint", "adapter"} <= by_name.keys():
        raise ConfigError("checkpoint and adapter both name the adapter.", "Take one of them.")
    if "weight" in by_name and not (start.file or {"checkpoint", "adapter"} & by_name.keys()):
        raise ConfigError(
            "weight has no effect on a base alone.", "Name a run, or add --z adapter=FILE."
        )
    samplers = {start.sample.sampler}
    if "sampler" in by_name:
        samplers = {value.effect for value in by_name["sampler"].values}
    takers = taking("eta")
    if "eta" in by_name and not samplers & set(takers):
        raise ConfigError(
            f"eta has an effect on {' and '.join(takers)} only.", f"Add --sampler {takers[0]}."
        )
