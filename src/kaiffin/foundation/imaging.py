"""The sections of the configuration that make and judge pictures, field by field. Torch-free."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from kaiffin.foundation.errors import ConfigError
from kaiffin.foundation.samplers import BASE, SAMPLERS, SCHEDULES, SamplerName, ScheduleName
from kaiffin.foundation.schema import FAST_VALUE, LONGEST_SIDE, MOST, SEEDS, FastName, Strict


class SampleConfig(Strict):
    """How pictures are made: previews while training, and the defaults of `generate`."""

    sampler: SamplerName = Field(
        "dpm++2m",
        description=f"from noise to a picture: {', '.join(SAMPLERS)}",
        json_schema_extra={"flag": "--sampler", "metavar": "SAMPLER"},
    )
    schedule: ScheduleName = Field(
        BASE,
        description=f"which noise levels the steps visit: {', '.join(SCHEDULES)}",
        json_schema_extra={"flag": "--schedule", "metavar": "SCHEDULE"},
    )
    steps: int = Field(
        25, ge=1, le=1000, description="sampling steps", json_schema_extra={"flag": "--steps"}
    )
    guidance: float = Field(
        5.0,
        ge=0,
        le=100,
        description="classifier-free guidance scale; 1 is the prompt alone, in half the time; 0"
        " leaves it out",
        json_schema_extra={"flag": "--guidance"},
    )
    prompt_syntax: Literal["a1111", "comfyui", "plain"] = Field(
        "a1111",
        description="how prompts are read: (word:1.3), [a:b:0.4], adapters by name and so on as in"
        " A1111; comfyui: the same, with weights that act as there; plain: every character is text",
    )
    guidance_rescale: float = Field(
        0.0,
        ge=0,
        le=1,
        description="how far guidance keeps the contrast of its prompt's half; 0.7 for bases with"
        " v-prediction and zero terminal SNR",
    )
    guidance_interval: tuple[float, float] | None = Field(
        None,
        description="(low, high) noise levels, as sigma, above and up to which guidance acts; the"
        " steps outside cost half; default: everywhere",
        json_schema_extra={"metavar": "LOW,HIGH"},
    )
    negative_strength: float = Field(
        1.0,
        ge=0,
        le=2,
        description="strength of the adapters in guidance's negative half, times their own; below"
        " 1 guidance also leads away from what the base alone would paint",
    )
    fast: FastName = Field(
        None,
        description="few steps, off when left out: own, or the flag alone, is the base's own"
        " adapter for it; else an LCM, Hyper-SD, Lightning, DMD2 or Turbo file; its steps,"
        " guidance, sampler and schedule where none are given",
        json_schema_extra={"flag": "--fast", "metavar": FAST_VALUE},
    )
    eta: float = Field(0.0, ge=0, le=1, description="DDIM's eta: 0 deterministic, 1 like DDPM")
    negative: str = Field(
        "", description="negative prompt", json_schema_extra={"flag": "--negative"}
    )
    clip_skip: int = Field(0, ge=0, le=4, description="text encoder layers left out at the end")
    size: tuple[int, int] | None = Field(
        None,
        description="(width, height) in pixels; default: the base's native square",
        json_schema_extra={"flag": "--size", "metavar": "WIDTHxHEIGHT"},
    )
    preview_every: int | None = Field(
        None, ge=1, le=MOST, description="steps between previews; off if empty"
    )
    preview_prompts: tuple[str, ...] = Field(
        ("a photo of {token} {noun}",),
        description="prompts of the previews, {token} and {noun} set",
    )
    preview_seed: int = Field(1, ge=0, lt=SEEDS, description="seed of the previews")

    @field_validator("guidance_interval", mode="before")
    @classmethod
    def _low_and_high(cls, value: Any) -> Any:
        return value.split(",") if isinstance(value, str) else value

    @field_validator("guidance_interval")
    @classmethod
    def _in_order(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        if value is not None and not 0 <= value[0] < value[1] < math.inf:
            raise ValueError("is no interval of sigma. Write the lower first, as 0.3,5")
        return value

    @field_validator("size", mode="before")
    @classmethod
    def _width_by_height(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        width, _, height = value.lower().partition("x")
        if not (width.isdecimal() and height.isdecimal()):
            raise ValueError("is not a size. Write it as 512x768")
        return int(width), int(height)

    @field_validator("size")
    @classmethod
    def _divisible(cls, value: tuple[int, int] | None) -> tuple[int, int] | None:
        if value is not None and max(value) > LONGEST_SIDE:
            raise ValueError(f"must be at most {LONGEST_SIDE}x{LONGEST_SIDE}")
        if value is not None and (min(value) < 8 or value[0] % 8 or value[1] % 8):
            near = tuple(max(8, round(side / 8) * 8) for side in value)
            raise ValueError(
                f"{value[0]}x{value[1]}: both sides must be divisible by 8;"
                f" the nearest is {near[0]}x{near[1]}"
            )
        return value


class ScoreConfig(Strict):
    """What `kaiffin choose` measures, and what training keeps for it."""

    candidates: int = Field(
        8, ge=1, le=200, description="adapters kept along the way, evenly spaced, to choose from"
    )
    judge: str | None = Field(
        None,
        min_length=1,
        description="model that judges pictures: a folder or hub id with CLIP or SigLIP, or"
        " miniature; default: the miniature's own for that base",
        json_schema_extra={"flag": "--judge"},
    )
    identity_judge: str | None = Field(
        None,
        min_length=1,
        description="another for pictures against photos, such as DINOv2; default: judge",
    )
    like: Path | None = Field(
        None,
        description="folder with photos that nobody trained on, to judge by",
        json_schema_extra={"flag": "--like"},
    )
    prompts: Path | None = Field(
        None,
        description="YAML file with the prompts; default: those for subject.kind",
        json_schema_extra={"flag": "--prompts"},
    )
    seeds: int = Field(
        2,
        ge=1,
        le=1000,
        description="pictures of each prompt",
        json_schema_extra={"flag": "--seeds"},
    )
    early_stop: int = Field(
        0,
        ge=0,
        le=MOST,
        description="stop once so many candidates in a row did not beat the best one; 0 is off",
    )


def refuse_parts_of_cells(asked: str, sides: Sequence[int], cell: int) -> None:
    """ConfigError that names `asked`, for sides in pixels that are not made of whole cells of a
    base's latents, 8 pixels or 16: an edge would be lost without a word."""
    whole = [max(cell, round(side / cell) * cell) for side in sides]
    if whole != list(sides):
        nearest = "x".join(map(str, whole))
        raise ConfigError(
            f"{asked}: this base draws multiples of {cell}.", f"The nearest is {nearest}."
        )
