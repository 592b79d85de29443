"""SDXL (Podell et al. 2023, arXiv 2307.01952): two text encoders, size and crop conditioning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from kaiffin.foundation.prompts import Spoken
from kaiffin.models.base import Conditioning, SizeFacts
from kaiffin.models.diffusion.schedule import NoiseSchedule, Schedule
from kaiffin.models.diffusion.spacing import ALIGNED_XL
from kaiffin.models.families.shared import LatentDiffusion

PENULTIMATE = 1  # SDXL was trained on the states before the last layer, without the final norm


class StableDiffusionXL(LatentDiffusion):
    """See `models.base.ModelFamily`.

    Its conditioning: `context` (B, T, D), `pooled` (B, P) text and `size_ids` (B, 6), the original,
    crop and target sizes.
    """

    name = "sdxl"

    @classmethod
    def read_schedule(cls, config: Mapping[str, Any]) -> Schedule:
        return replace(NoiseSchedule.from_config(config), aligned=ALIGNED_XL)

    @classmethod
    def models(cls) -> dict[str, Any]:
        from transformers import CLIPTextModelWithProjection

        return super().models() | {"text_encoder_2": CLIPTextModelWithProjection}

    @classmethod
    def readers(cls) -> dict[str, Any]:
        from transformers import CLIPTokenizer

        return super().readers() | {"tokenizer_2": CLIPTokenizer}

    def encode_text(
        self, prompts: Sequence[str | Spoken], sizes: Sequence[SizeFacts] = (), *, chunks: int = 1,
        clip_skip: int = 0,
    ) -> Conditioning:  # fmt: skip
        if len(sizes) != len(prompts):
            raise ValueError(f"{len(prompts)} prompts but {len(sizes)} sizes: SDXL needs one each")
        skip = clip_skip + PENULTIMATE
        both = [self.states(t, prompts, chunks, skip, final_norm=False) for t in self.encoders]
        facts = [[*s.original, *s.crop, *s.target] for s in sizes]
        size_ids = torch.tensor(facts, dtype=torch.float32, device=self.device)
        context = torch.cat([states for states, _ in both], dim=-1)
        pooled: Any = both[-1][1]  # of the second encoder
        return Conditioning({"context": context, "pooled": pooled, "size_ids": size_ids})

    def predict(self, x_t: Tensor, t: Tensor, cond: Conditioning) -> Tensor:
        cond = cond.map(lambda part: part.to(self.dtype))
        added = {"text_embeds": cond["pooled"], "time_ids": cond["size_ids"]}
        output = self.net(
            x_t.to(self.dtype), t, encoder_hidden_states=cond["context"], added_cond_kwargs=added
        )
        return output.sample.float()
