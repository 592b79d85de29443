"""What a caller may ask for: the config's own fields without paths and hub ids, and with ceilings.

Datasets, runs, adapters and pictures are named by ids, bases by names from the operator's list.
Torch-free.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import ConfigDict, Field, model_validator

from kaiffin.foundation.config import (
    Config,
    PhaseConfig,
    SampleConfig,
    ScoreConfig,
    TaughtSubject,
)
from kaiffin.foundation.errors import ConfigError, nearest
from kaiffin.foundation.schema import SEEDS, Strict, leaves
from kaiffin.foundation.settings import build, override
from kaiffin.pictures.start import Ways
from kaiffin.serve.narrow import LONGEST, MANY, narrow

PICTURES = 64  # of one job
TRIALS = 64  # of one sweep
SIDE = 2048  # pixels
ID = r"^[a-z0-9]{16}$"
BASE = r"^[A-Za-z0-9][\w.-]{0,63}$"

Id = Annotated[str, Field(pattern=ID, description="an id that the service gave")]
BaseName = Annotated[str, Field(pattern=BASE, description="a base of `bases`")]
Prompt = Annotated[str, Field(min_length=1, max_length=LONGEST)]
Prompts = Annotated[tuple[Prompt, ...], Field(min_length=1, max_length=MANY)]
Where = Annotated[str, Field(min_length=1, max_length=200)]
Name = Annotated[str, Field(max_length=80, description="what people call it")]

# Not a caller's: paths and hub ids, the machine's own affairs, and what only a computer's owner
# does. Where an id can stand instead, the request has it beside the config.
WITHOUT = {
    "version", "base.vae", "base.device", "base.text_device", "base.compile", "data.photos",
    "data.format", "data.links", "adapter.init_from", "phases.photos", "subjects.photos",
    "train.tensorboard", "score.judge", "score.identity_judge", "score.like", "score.prompts",
}  # fmt: skip
CEILINGS = {
    "data.resolution": SIDE, "data.hold_out": 1000, "data.prior.num_images": 500,
    "data.prior.steps": 150, "adapter.rank": 256, "adapter.text_rank": 256,
    "adapter.rules.rank": 256, "embedding.steps": 20_000, "phases.steps": 20_000,
    "train.steps": 20_000, "train.batch_size": 64, "train.accumulate": 64, "train.warmup": 20_000,
    "train.checkpoint_every": 20_000, "train.keep": 20, "train.validate_every": 20_000,
    "sample.steps": 150, "sample.size": SIDE, "sample.preview_every": 20_000,
    "score.candidates": 50, "score.seeds": 16, "score.early_stop": 50,
}  # fmt: skip
_FAST = (
    bool,
    Field(False, description="few steps: the base's own few-step adapter, as its kind wants it"),
)
_INSTEAD: dict[str, tuple[Any, Any]] = {
    "base.name": (BaseName, Field("miniature")), "sample.fast": _FAST, "data.prior.fast": _FAST,
}  # fmt: skip

if TYPE_CHECKING:

    class Settings(Strict):
        phases: tuple[PhaseConfig, ...]
        subjects: tuple[TaughtSubject, ...]

    class Sampling(Strict): ...

    class Scoring(Strict): ...

else:
    Settings = narrow(Config, "Settings", ceilings=CEILINGS, without=WITHOUT, instead=_INSTEAD)
    Sampling = narrow(
        SampleConfig, "Sampling", ceilings=CEILINGS, instead=_INSTEAD, at="sample.",
        without={"sample.preview_every", "sample.preview_prompts", "sample.preview_seed"},
    )  # fmt: skip
    Scoring = narrow(
        ScoreConfig, "Scoring", ceilings=CEILINGS, at="score.",
        without=WITHOUT | {"score.candidates", "score.early_stop"},
    )  # fmt: skip

KNOWN = [name for name, _ in leaves(Settings)]


class Body(Strict):
    """What a route takes. Built at once: FastAPI would be warned by pydantic later."""

    model_config = ConfigDict(defer_build=False)


class Asked(Body):
    """What is asked for. `frozen` is what the job keeps: complete, whatever changes later."""

    def frozen(self) -> dict[str, Any]:
        """As plain data; raises ConfigError for settings that do not go together.

        Of how pictures are made and scored, only what was given: a run has the rest.
        """
        given = {
            name: getattr(self, name).model_dump(mode="json", exclude_unset=True)
            for name in ("sample", "score")
            if hasattr(self, name)
        }
        build(given, "request")
        return {**self.model_dump(mode="json"), **given}


class Scan(Asked):
    """Look at the photos: refusals, findings, crops, captions, a contact sheet."""

    dataset: Id
    config: Settings = Field(default_factory=Settings)

    @model_validator(mode="after")
    def _subjects_have_photos(self) -> Scan:
        given, wanted = getattr(self, "subject_datasets", ()), len(self.config.subjects[1:])
        if len(given) != wanted:
            raise ValueError(
                f"subject_datasets: {len(given)} for {wanted} of config.subjects after the first"
            )
        return self

    def frozen(self) -> dict[str, Any]:
        return {**super().frozen(), "config": whole(self.config)}


class Train(Scan):
    """Teach a base the subject in the photos."""

    name: Name = ""
    phase_datasets: dict[Annotated[str, Field(max_length=40)], Id] = Field(
        {}, max_length=8, description="by the names of phases that have photos of their own"
    )
    subject_datasets: tuple[Id, ...] = Field(
        (), max_length=7, description="of config.subjects after the first, whose is `dataset`"
    )
    init_from: Id | None = Field(None, description="an adapter to go on from")
    like: Id | None = Field(None, description="a dataset that is only judged by")
    prompts: Prompts | None = Field(None, description="prompts that it is judged by")

    @model_validator(mode="after")
    def _phases_exist(self) -> Train:
        names = {phase.name for phase in self.config.phases}
        for name in self.phase_datasets:
            if name not in names:
                raise ValueError(f"phase_datasets: there is no phase {name!r}")
        return self


class Worn(Strict):
    """An adapter, and how strong it is."""

    adapter: Id
    weights: str = Field(
        "1", max_length=100, pattern=r"^[\w.,=-]+$",
        description="0.8, unet=0.8,text=0.4 or 1..0.3",
    )  # fmt: skip


class Pictured(Asked):
    """What makes pictures: a run or a base, and adapters."""

    run: Id | None = None
    base: BaseName | None = None
    adapters: tuple[Worn, ...] = Field((), max_length=4)
    sample: Sampling = Field(default_factory=Sampling)
    seed: int = Field(
        0, ge=-1, lt=SEEDS - PICTURES, description="of the first; the next are +1; -1 draws one"
    )
    count: int = Field(1, ge=1, le=PICTURES, description="pictures of each prompt")

    @model_validator(mode="after")
    def _one_source(self) -> Pictured:
        if (self.run is None) == (self.base is None):
            raise ValueError("give a run or a base, and not both")
        return self


class WayIn(Ways):
    """Another way into pictures than noise: over a picture of the gallery or an upload, within its
    mask, between two seeds; and second passes."""

    image: Id | None = Field(None, description="an upload or a picture, which is painted over")
    mask: Id | None = Field(None, description="another: white where that is painted over")
    upscale: float = Field(1.0, ge=1, le=2, description="times the size, in a second pass")


class Generate(Pictured):
    """Make pictures."""

    prompts: Prompts
    checkpoint: Literal["best"] | Annotated[int, Field(ge=1, le=10**9)] | None = Field(
        None, description="of a run: best, or a candidate's step"
    )
    strength: float = Field(1.0, ge=0, le=2, description="of the run's own adapter")
    embeddings: tuple[Id, ...] = Field((), max_length=4, description="textual inversions")
    names: dict[Annotated[str, Field(max_length=100)], Id] = Field(
        {}, max_length=PICTURES, description="what prompts call adapters, runs and embeddings, as"
        " in <lora:NAME:0.8>; those left out are found by the names that they have"
    )  # fmt: skip
    regions: tuple[Where, ...] = Field(
        (), max_length=8,
        description="where each adapter acts: columns or rows in the order of the prompt, or as in"
        " kaiffin=0,0,0.5,1 (left, top, right, bottom, of 1) for each",
    )  # fmt: skip
    best: int | None = Field(None, ge=1, le=PICTURES, description="choose so many, by score")
    start: WayIn | None = Field(None, description="another way in than noise")
    preview_every: int = Field(0, ge=0, le=150, description="steps between partial pictures")

    @model_validator(mode="after")
    def _not_too_many(self) -> Generate:
        if len(self.prompts) * self.count > PICTURES:
            raise ValueError(f"more than {PICTURES} pictures are more than one job may make")
        if self.best is not None and self.best > self.count:
            raise ValueError("best must not be above count")
        if self.checkpoint is not None and self.run is None:
            raise ValueError("checkpoint has no effect without run")
        if self.regions and self.start and self.start.is_closer:
            raise ValueError("regions and a closer look at a part do not go together")
        return self


class Choose(Asked):
    """Which of a run's checkpoints, with reasons."""

    run: Id
    like: Id | None = None
    prompts: Prompts | None = None
    score: Scoring = Field(default_factory=Scoring)
    sample: Sampling = Field(default_factory=Sampling)
    budget: float | None = Field(None, gt=0, le=86_400, description="seconds for the pictures")


class Rank(Asked):
    """Pictures in order."""

    images: tuple[Id, ...] = Field(min_length=1, max_length=PICTURES)
    prompt: Prompt
    like: Id | None = None
    best: int | None = Field(None, ge=1, le=PICTURES)


class Compare(Asked):
    """Runs side by side."""

    runs: tuple[Id, ...] = Field(min_length=2, max_length=8)
    last: bool = Field(False, description="the last adapter of each, even where one was chosen")
    like: Id | None = None
    prompts: Prompts | None = None
    score: Scoring = Field(default_factory=Scoring)


AxisName = Literal[
    "guidance", "steps", "sampler", "eta", "negative", "clip_skip", "size", "seed", "prompt",
    "weight", "checkpoint",
]  # fmt: skip


class Axis(Strict):
    """A setting and its values."""

    name: AxisName
    values: tuple[Annotated[str, Field(max_length=LONGEST, pattern=r"^[^|@][^|]*$")], ...] = Field(
        min_length=1, max_length=MANY, description="as they are written on the command line"
    )

    def __str__(self) -> str:
        """As `experiments.grid.axes` reads it."""
        marked = self.name in ("prompt", "negative", "weight")
        return f"{self.name}=" + ("|" if marked else ",").join(self.values)


class Grid(Pictured):
    """What settings do, on a labelled sheet."""

    prompt: Prompt | None = None
    x: Axis
    y: Axis | None = None
    z: Axis | None = None

    @model_validator(mode="after")
    def _not_too_many(self) -> Grid:
        axes = [axis for axis in (self.x, self.y, self.z) if axis]
        if math.prod(len(axis.values) for axis in axes) * self.count > PICTURES:
            raise ValueError(f"more than {PICTURES} pictures are more than one grid may have")
        if any(".." in value for axis in axes if axis.name != "weight" for value in axis.values):
            raise ValueError("ranges are not read here: list the values")
        return self

    def frozen(self) -> dict[str, Any]:
        axes = {letter: str(axis) for letter in "xyz" if (axis := getattr(self, letter))}
        kept = {name: value for name, value in super().frozen().items() if name not in "xyz"}
        return {**kept, "axes": axes}


Value = bool | int | float | Annotated[str, Field(max_length=LONGEST)] | None


class Sweep(Scan):
    """Trainings of one configuration with some settings changed at a time."""

    name: Name = ""
    grid: dict[Annotated[str, Field(max_length=60)], tuple[Value, ...]] = Field(
        min_length=1, max_length=8, description="settings by dotted names, each with its values"
    )
    seeds: tuple[Annotated[int, Field(ge=0, lt=SEEDS)], ...] = Field(
        (0,), min_length=1, max_length=8
    )
    prompts: Prompts
    count: int = Field(2, ge=1, le=16, description="pictures of each prompt")

    def frozen(self) -> dict[str, Any]:
        """Every value within the ceilings, too."""
        if math.prod(map(len, self.grid.values())) * len(self.seeds) > TRIALS:
            raise ConfigError(f"grid: more than {TRIALS} trials.", "Name fewer values.")
        plain = self.config.model_dump(mode="json", exclude_unset=True)
        for name, values in self.grid.items():
            if name not in KNOWN:
                raise ConfigError(f"grid: unknown setting {name!r}.", nearest(name, KNOWN))
            for value in values:
                whole(Settings.model_validate(override(plain, {name: value})))
        return super().frozen()


class Report(Asked):
    """The page of a run, or of several side by side."""

    runs: tuple[Id, ...] = Field(min_length=1, max_length=8)


class Export(Asked):
    """The export proof of an adapter or a run, or the adapter in another layout."""

    run: Id | None = None
    adapter: Id | None = None
    base: BaseName | None = Field(None, description="of an adapter; a run has its own")
    to: Literal["kohya", "peft", "diffusers"] | None = Field(
        None, description="the layout; left out, it is proven"
    )

    @model_validator(mode="after")
    def _one_source(self) -> Export:
        if (self.run is None) == (self.adapter is None):
            raise ValueError("give a run or an adapter, and not both")
        return self


KINDS: Mapping[str, type[Asked]] = {
    "scan": Scan, "train": Train, "generate": Generate, "choose": Choose, "rank": Rank,
    "compare": Compare, "grid": Grid, "sweep": Sweep, "report": Report, "export": Export,
}  # fmt: skip
Kind = Literal[
    "scan", "train", "generate", "choose", "rank", "compare", "grid", "sweep", "report", "export"
]


def whole(config: Strict) -> dict[str, Any]:
    """Every setting as plain data, those that were not given too: what a default is later does not
    count. ConfigError for what does not go together."""
    given = config.model_dump(mode="json", exclude_unset=True)
    return build(given, "config").model_dump(mode="json")
