"""A family as a diffusers pipeline, and saved as a diffusers folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kaiffin.models import parts
from kaiffin.models.base import ModelFamily


def as_pipeline(family: Any) -> Any:
    """The base as a diffusers pipeline that shares its modules."""
    from diffusers import DDIMScheduler, StableDiffusionPipeline, StableDiffusionXLPipeline

    made: dict[str, Any] = {"vae": family.vae, **family.towers}
    for tower, tokenizer in family.tokenizers.items():
        made[tower.replace("text_encoder", "tokenizer")] = tokenizer
    made["scheduler"] = DDIMScheduler.from_config(family.schedule.config)
    if family.name != "sdxl":
        made |= {"safety_checker": None, "feature_extractor": None}
    cls: Any = StableDiffusionXLPipeline if family.name == "sdxl" else StableDiffusionPipeline
    with parts.quiet():
        return cls(**made)


def save(family: ModelFamily, folder: Path) -> None:
    """Writes the base, as its weights are now, as a diffusers folder of safetensors."""
    with parts.quiet():
        as_pipeline(family).save_pretrained(str(folder), safe_serialization=True)
