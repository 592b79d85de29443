"""What is asked for: one picture, and the prompts of many. Torch-free."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kaiffin.foundation.config import SampleConfig
from kaiffin.foundation.errors import ConfigError
from kaiffin.foundation.folder import file_name
from kaiffin.foundation.samplers import SAMPLERS

if TYPE_CHECKING:
    from kaiffin.models.base import ModelFamily


def request(prompt: str, seed: int, sample: SampleConfig) -> Request:
    """One picture as `sample` says; its size may still be open."""
    width, height = sample.size or (0, 0)
    return Request(
        prompt, seed, width, height, sample.negative, sample.steps, sample.guidance,
        sample.sampler, sample.eta, sample.clip_skip,
    )  # fmt: skip


def with_size(sample: SampleConfig, family: ModelFamily) -> SampleConfig:
    side = family.native_size
    return sample if sample.size else sample.model_copy(update={"size": (side, side)})


def slug(prompt: str) -> str:
    """The prompt as a file may be called."""
    return file_name(re.sub(r"\W+", "-", prompt.lower()).strip("-")[:60], "picture")


def read_prompts(prompt: str | None, file: Path | None) -> list[str]:
    """The prompt, or the lines of a file; an empty line is an error that names it."""
    if (prompt is None) == (file is None):
        raise ConfigError(
            "give one prompt, or a file of prompts.", 'As in "a photo of kaiffin" or --prompts F.'
        )
    if file is None:
        return [prompt or ""]
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: cannot be read as prompts: {error}.") from None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            raise ConfigError(f"{file} line {number}: is empty.", "Remove it or write a prompt.")
    if not lines:
        raise ConfigError(f"{file}: holds no prompts.", "Write one a line.")
    return [line.strip() for line in lines]


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
    return {name: value for name, value in asdict(request).items() if name not in varying}
