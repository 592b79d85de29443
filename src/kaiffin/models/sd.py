"""Stable Diffusion 1.x, and whatever has its shape (the miniature): one CLIP text encoder.

Rombach et al. 2022 (arXiv 2112.10752); layout of the published diffusers folders.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from kaiffin.diffusion.schedule import NoiseSchedule
from kaiffin.models import parts, text
from kaiffin.models.base import Conditioning, SizeFacts
from kaiffin.models.words import Words


@dataclass
class StableDiffusion1:
    """See `models.base.ModelFamily`."""

    base: str
    revision: str
    schedule: NoiseSchedule
    unet: Any
    vae: Any
    text_encoder: Any
    tokenizer: Any
    device: torch.device
    dtype: torch.dtype
    quantize: str = "none"

    name = "sd1"

    def __post_init__(self) -> None:
        self.latent_channels = self.unet.config.in_channels
        self.layers_per_block = self.unet.config.layers_per_block
        self.downscale = 2 ** (len(self.vae.config.block_out_channels) - 1)
        self.native_size = self.unet.config.sample_size * self.downscale
        self.max_tokens = self.tokenizer.model_max_length
        encoders = {"text_encoder": self.text_encoder}
        self.words = Words(encoders, {"text_encoder": self.tokenizer})

    @property
    def towers(self) -> Mapping[str, nn.Module]:
        return {"unet": self.unet, "text_encoder": self.text_encoder}

    def modules(self, tower: str) -> dict[str, nn.Module]:
        rename = text.canonical if tower == "text_encoder" else str
        return parts.named_targets(self.towers[tower], rename)

    def token_pieces(self, text_: str) -> list[str]:
        return self.words.pieces(self.tokenizer, text_)

    def num_chunks(self, prompts: Sequence[str]) -> int:
        return text.num_blocks(self.words, self.tokenizer, prompts)

    def encode_images(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        return parts.encode_images(self.vae, pixels)

    def decode(self, latents: Tensor) -> Tensor:
        return parts.decode(self.vae, latents)

    def encode_text(
        self, prompts: Sequence[str], sizes: Sequence[SizeFacts] = (), *, chunks: int = 1,
        clip_skip: int = 0,
    ) -> Conditioning:  # fmt: skip
        ids = text.token_blocks(self.words, self.tokenizer, prompts, chunks)
        states, _ = text.hidden_states(self.text_encoder, ids, clip_skip, final_norm=True)
        return Conditioning(states.to(self.device))

    def predict(self, x_t: Tensor, t: Tensor, cond: Conditioning) -> Tensor:
        x_t, context = x_t.to(self.dtype), cond.context.to(self.dtype)
        return self.unet(x_t, t, encoder_hidden_states=context).sample.float()

    def enable_gradient_checkpointing(self) -> None:
        """Trades about a third of the speed for most of the activations' memory."""
        self.unet.enable_gradient_checkpointing()
        self.unet.train()  # diffusers checkpoints in training mode only; SD's UNet has no drop-out

    def disable_gradient_checkpointing(self) -> None:
        self.unet.disable_gradient_checkpointing()
        self.unet.eval()
