"""SDXL (Podell et al. 2023, arXiv 2307.01952): two text encoders, size and crop conditioning."""

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

PENULTIMATE = 1  # SDXL was trained on the states before the last layer, without the final norm


@dataclass
class StableDiffusionXL:
    """See `models.base.ModelFamily`."""

    base: str
    revision: str
    schedule: NoiseSchedule
    unet: Any
    vae: Any
    text_encoder: Any
    text_encoder_2: Any
    tokenizer: Any
    tokenizer_2: Any
    device: torch.device
    dtype: torch.dtype
    quantize: str = "none"

    name = "sdxl"

    def __post_init__(self) -> None:
        self.latent_channels = self.unet.config.in_channels
        self.layers_per_block = self.unet.config.layers_per_block
        self.downscale = 2 ** (len(self.vae.config.block_out_channels) - 1)
        self.native_size = self.unet.config.sample_size * self.downscale
        self.max_tokens = self.tokenizer.model_max_length
        encoders = {"text_encoder": self.text_encoder, "text_encoder_2": self.text_encoder_2}
        self.words = Words(
            encoders, {"text_encoder": self.tokenizer, "text_encoder_2": self.tokenizer_2}
        )

    @property
    def towers(self) -> Mapping[str, nn.Module]:
        return {
            "unet": self.unet,
            "text_encoder": self.text_encoder,
            "text_encoder_2": self.text_encoder_2,
        }

    def modules(self, tower: str) -> dict[str, nn.Module]:
        if tower == "unet":
            return parts.named_targets(self.unet)
        named = parts.named_targets(self.towers[tower], text.canonical)
        # The projection head of encoder 2 is no part of the text model proper and never trained.
        return {n: m for n, m in named.items() if not n.endswith("text_projection")}

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
        if len(sizes) != len(prompts):
            raise ValueError(f"{len(prompts)} prompts but {len(sizes)} sizes: SDXL needs one each")
        states, pooled = [], None
        encoders = ((self.tokenizer, self.text_encoder), (self.tokenizer_2, self.text_encoder_2))
        for tokenizer, encoder in encoders:
            ids = text.token_blocks(self.words, tokenizer, prompts, chunks)
            state, pooled = text.hidden_states(encoder, ids, clip_skip + PENULTIMATE, False)
            states.append(state.to(self.device))
            pooled = None if pooled is None else pooled.to(self.device)
        facts = [[*s.original, *s.crop, *s.target] for s in sizes]
        size_ids = torch.tensor(facts, dtype=torch.float32, device=self.device)
        return Conditioning(torch.cat(states, dim=-1), pooled, size_ids)

    def predict(self, x_t: Tensor, t: Tensor, cond: Conditioning) -> Tensor:
        cond = cond.map(lambda part: part.to(self.dtype))
        added = {"text_embeds": cond.pooled, "time_ids": cond.size_ids}
        output = self.unet(
            x_t.to(self.dtype), t, encoder_hidden_states=cond.context, added_cond_kwargs=added
        )
        return output.sample.float()

    def enable_gradient_checkpointing(self) -> None:
        """Trades about a third of the speed for most of the activations' memory."""
        self.unet.enable_gradient_checkpointing()
        self.unet.train()  # diffusers checkpoints in training mode only; the UNet has no drop-out

    def disable_gradient_checkpointing(self) -> None:
        self.unet.disable_gradient_checkpointing()
        self.unet.eval()
