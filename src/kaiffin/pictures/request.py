"""What is asked for: one picture, and the prompts of many. Torch-free."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kaiffin.foundation.config import SampleConfig
from kaiffin.foundation.errors import ConfigError
from kaiffin.foundation.folder import file_name
from kaiffin.foundation.imaging import refuse_parts_of_cells
from kaiffin.foundation.prompts import Prompt, read_as
from kaiffin.foundation.samplers import BASE, SAMPLERS, taking
from kaiffin.foundation.schema import SEEDS
from kaiffin.foundation.text import counted, decoded, is_text
from kaiffin.pictures.start import Start

if TYPE_CHECKING:
    from kaiffin.models.base import ModelFamily


def refuse_large(seed: int, count: int) -> None:
    """ConfigError where a generator does not take the last of `count` seeds from `seed` on."""
    if seed + count > SEEDS:
        raise ConfigError(f"seed {seed}: is too large.", f"Stay below {SEEDS}.")


def request(prompt: str, seed: int, sample: SampleConfig, start: Start | None = None) -> Request:
    """One picture as `sample` says; its size may still be open."""
    width, height = sample.size or (0, 0)
    return Request(
        prompt, seed, width, height, sample.negative, sample.steps, sample.guidance,
        sample.sampler, sample.eta, sample.clip_skip, sample.schedule, sample.guidance_rescale,
        sample.prompt_syntax, sample.guidance_interval, sample.negative_strength, start=start,
    )  # fmt: skip


def with_size(sample: SampleConfig, family: ModelFamily) -> SampleConfig:
    """With the base's own size where none is asked for. ConfigError for one that is not made of
    whole cells of the latents."""
    side, cell = family.native_size, family.downscale
    if sample.size is None:
        return sample.model_copy(update={"size": (side, side)})
    refuse_parts_of_cells(f"--size {sample.size[0]}x{sample.size[1]}", sample.size, cell)
    return sample


def slug(prompt: str) -> str:
    """The prompt as a file may be called."""
    return file_name(re.sub(r"\W+", "-", prompt.lower()).strip("-")[:60], "picture")


def read_prompts(prompt: str | None, file: Path | None) -> list[str]:
    """The prompt, or the lines of a file (UTF-8, UTF-16 or UTF-32).

    Raises ConfigError naming a line that is empty or a comment.
    """
    if (prompt is None) == (file is None):
        raise ConfigError(
            "give one prompt, or a file of prompts.", 'As in "a photo of kaiffin" or --prompts F.'
        )
    if file is None:
        return [prompt or ""]
    lines = _lines(file)
    for number, line in enumerate(lines, 1):
        if not line:
            raise ConfigError(f"{file} line {number}: is empty.", "Remove it or write a prompt.")
        if re.match(r"#(\s|$)", line):
            raise ConfigError(
                f"{file} line {number}: {line[:40]!r} would be read as a prompt.",
                "Remove it: these files have no comments.",
            )
    if not lines:
        raise ConfigError(f"{file}: holds no prompts.", "Write one a line.")
    return lines


def _lines(file: Path) -> list[str]:
    """Its lines without blanks around them; whatever is blank after the last prompt is left out."""
    try:
        text = decoded(file.read_bytes())
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read as prompts: {error.strerror}.") from None
    if not is_text(text):
        raise ConfigError(
            f"{file}: is not UTF-8 text, so its prompts cannot be read.", "Save it as UTF-8."
        )
    lines = [line.strip() for line in re.split(r"\r\n|\n|\r", text)]
    while lines and not lines[-1]:
        lines.pop()
    return lines


def remarks(requests: Iterable[Request]) -> list[str]:
    """What of these pictures' settings will have no effect, or another than elsewhere: a line
    each."""
    asked = list(requests)
    found = _read(asked)
    if any(one.guidance == 0 for one in asked):
        found.append(
            "note: guidance 0 leaves the prompt out: what is painted is the negative prompt, or"
            " nothing in particular; 1 is the prompt alone"
        )
    if alone := [one for one in asked if one.guidance == 1]:
        why = "note: guidance 1 is the prompt alone, in half the time"
        why += ": the negative prompt has no effect" * any(one.negative for one in alone)
        why += "; nothing is rescaled" * any(one.guidance_rescale for one in alone)
        why += "; its interval has no effect" * any(one.guidance_interval for one in alone)
        weaker = any(one.negative_strength != 1 for one in alone)
        found.append(why + "; there is no half to weaken adapters in" * weaker)
    without = {one.sampler for one in asked if one.eta and "eta" not in one.options}
    if without:
        found.append(
            f"note: eta has no effect with {' and '.join(sorted(without))}: it is of"
            f" {' and '.join(taking('eta'))} only"
        )
    return found


def _read(asked: Sequence[Request]) -> list[str]:
    """What was understood of the prompts besides their words."""
    prompts = {one for request in asked for one in request.read}
    said = [
        counted(sum(one.weights for one in prompts), "weight"),
        counted(sum(one.changes for one in prompts), "prompt") + " changing on the way",
    ]
    said = [one for one in said if not one.startswith("0 ")]
    found = [f"note: read in prompts: {', '.join(said)}"] if said else []
    if any(re.search(r"\bAND\b", request.prompt) for request in asked):
        found.append("note: AND in a prompt is a word here, and no second prompt")
    if any(one.open for one in prompts):
        found.append("note: a bracket in a prompt is not closed: it reaches to the end")
    if any(one.stray for one in prompts):
        found.append("note: a bracket in a prompt closes none: it is text, as \\) and \\] are")
    return found


@dataclass(frozen=True)
class Request:
    """One picture: everything that decides its pixels besides base and adapters."""

    prompt: str
    seed: int
    width: int
    height: int
    negative: str = ""
    steps: int = 25
    guidance: float = 5.0
    sampler: str = "dpm++2m"
    eta: float = 0.0
    clip_skip: int = 0
    schedule: str = BASE
    guidance_rescale: float = 0.0
    prompt_syntax: str = "plain"  # as older recipes have it
    guidance_interval: tuple[float, float] | None = None
    negative_strength: float = 1.0
    start: Start | None = None

    def __post_init__(self) -> None:
        if isinstance(self.guidance_interval, list):  # a recipe's
            object.__setattr__(self, "guidance_interval", tuple(self.guidance_interval))

    def guided(self, sigma: float) -> bool:
        """Whether guidance acts on the step that begins at `sigma` (Kynkäänniemi et al. 2024, arXiv
        2404.07724): outside its interval the prompt alone is asked."""
        low, high = self.guidance_interval or (0.0, math.inf)
        return self.guidance != 1 and low < sigma <= high

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Request:
        """From what `as_json` wrote. Raises TypeError or ConfigError for what is none."""
        asked, start = dict(data), data.get("start")
        asked["start"] = None if start is None else Start.of("start.", **start)
        return cls(**asked)

    def as_json(self) -> dict[str, Any]:
        data = {one.name: getattr(self, one.name) for one in fields(self)}
        start = data.pop("start")
        return data if start is None else {**data, "start": start.as_json()}

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the picture that it becomes."""
        asked = (self.width, self.height)
        return self.start.size(*asked) if self.start else asked

    @property
    def read(self) -> tuple[Prompt, Prompt]:
        """The prompt and the negative one. Raises ConfigError for what cannot be meant, and for
        adapters, which are not a picture's own business (see `pictures.named`)."""
        both = read_as(self.prompt, self.prompt_syntax), read_as(self.negative, self.prompt_syntax)
        for tag in (*both[0].tags, *both[1].tags):
            raise ConfigError(
                f"<lora:{tag.name}>: an adapter cannot be named in this prompt.",
                "Give it beside the prompt; with `kaiffin generate` it may stand in the prompt,"
                " not in the negative one.",
            )
        return both

    @property
    def options(self) -> dict[str, Any]:
        """What its sampler takes besides the steps."""
        return {name: getattr(self, name) for name in SAMPLERS[self.sampler].options}


@dataclass(frozen=True)
class AdapterRef:
    """An adapter as a recipe names it. sha256: of the file; weight: a number, or as
    `adapters.strength` reads it; model_hash: what other programs know it by (see
    `make.model_hash`), empty in older recipes."""

    path: str
    name: str
    sha256: str
    weight: float | str
    model_hash: str = ""


def settings(request: Request) -> dict[str, Any]:
    """What must be equal in pictures that are computed together."""
    varying = ("prompt", "negative", "seed")
    found = {f.name: getattr(request, f.name) for f in fields(request) if f.name not in varying}
    if request.start:
        found["start"] = request.start.model_copy(update={"vary_seed": 0})
    return found
