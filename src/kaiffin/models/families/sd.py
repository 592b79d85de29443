"""Stable Diffusion 1.x, and whatever has its shape (the miniature): one CLIP text encoder.

Rombach et al. 2022 (arXiv 2112.10752); layout of the published diffusers folders.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from kaiffin.foundation.prompts import Spoken
from kaiffin.models.base import Conditioning, SizeFacts
from kaiffin.models.families.shared import LatentDiffusion


class StableDiffusion1(LatentDiffusion):
    """See `models.base.ModelFamily`."""

    name = "sd1"

    def encode_text(
        self, prompts: Sequence[str | Spoken], sizes: Sequence[SizeFacts] = (), *, chunks: int = 1,
        clip_skip: int = 0,
    ) -> Conditioning:  # fmt: skip
        states, _ = self.states("text_encoder", prompts, chunks, clip_skip, final_norm=True)
        return Conditioning({"context": states})

    def predict(self, x_t: Tensor, t: Tensor, cond: Conditioning) -> Tensor:
        x_t, context = x_t.to(self.dtype), cond["context"].to(self.dtype)
        return self.net(x_t, t, encoder_hidden_states=context).sample.float()
