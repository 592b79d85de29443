"""A family as a diffusers pipeline, and saved as a diffusers folder."""

from __future__ import annotations

import inspect
from collections.abc import Collection
from pathlib import Path
from typing import Any

from kaiffin.foundation.errors import UserError
from kaiffin.models import parts
from kaiffin.models.base import ModelFamily
from kaiffin.models.families.spec import SPECS, tokenizer_of


class NoPipeline(UserError):
    """diffusers has no pipeline for this family."""


def pipeline_of(family: str, components: Collection[str]) -> tuple[Any, dict[str, None]]:
    """diffusers' pipeline class of a family, and the parts that it wants beside `components` and
    that Kaiffin leaves out (safety checkers and such). Raises NoPipeline."""
    import diffusers

    spec = SPECS[family]
    with parts.quiet():
        pipeline: Any = getattr(diffusers, spec.pipeline, None)
    if pipeline is None:
        raise NoPipeline(f"diffusers has no pipeline for {spec.title}.")
    wanted = list(inspect.signature(pipeline).parameters.values())
    needed = [p.name for p in wanted if p.default is p.empty]
    return pipeline, {n: None for n in needed if n not in {*components, "scheduler"}}


def as_pipeline(family: Any) -> Any:
    """The base as a diffusers pipeline that shares its modules. Raises NoPipeline."""
    from diffusers import DDIMScheduler

    made: dict[str, Any] = {"vae": family.vae, **family.towers}
    for tower, tokenizer in family.tokenizers.items():
        made[tokenizer_of(tower)] = tokenizer
    pipeline, absent = pipeline_of(family.name, made)
    made["scheduler"] = DDIMScheduler.from_config(family.schedule.config)
    with parts.quiet():
        return pipeline(**made, **absent)


def save(family: ModelFamily, folder: Path) -> None:
    """Writes the base, as its weights are now, as a diffusers folder of safetensors."""
    with parts.quiet():
        as_pipeline(family).save_pretrained(str(folder), safe_serialization=True)
