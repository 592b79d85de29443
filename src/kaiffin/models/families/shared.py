"""What the families do alike: facts from configurations, prompts counted, pictures to latents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from kaiffin.models import parts
from kaiffin.models.diffusion.schedule import NoiseSchedule
from kaiffin.models.families import text
from kaiffin.models.words import Words


class LatentDiffusion:
    """A UNet on a VAE's latents, told by text encoders; see `models.base.ModelFamily`."""

    name: str
    denoiser = "unet"

    def __init__(
        self, *, base: str, revision: str, schedule: NoiseSchedule, unet: Any, vae: Any,
        encoders: Mapping[str, Any], tokenizers: Mapping[str, Any], device: torch.device,
        dtype: torch.dtype, quantize: str = "none",
    ) -> None:  # fmt: skip
        """encoders, tokenizers: by tower, `text_encoder` first."""
        self.base, self.revision, self.schedule = base, revision, schedule
        self.unet, self.vae = unet, vae
        self.encoders, self.tokenizers = dict(encoders), dict(tokenizers)
        self.device, self.dtype, self.quantize = device, dtype, quantize
        self.words = Words(encoders, tokenizers)
        self.latent_channels = unet.config.in_channels
        self.layers_per_block = unet.config.layers_per_block
        self.downscale = 2 ** (len(vae.config.block_out_channels) - 1)
        self.native_size = unet.config.sample_size * self.downscale
        self.max_tokens = self.tokenizers["text_encoder"].model_max_length

    @property
    def towers(self) -> Mapping[str, nn.Module]:
        return {self.denoiser: self.unet, **self.encoders}

    def modules(self, tower: str) -> dict[str, nn.Module]:
        if tower == self.denoiser:
            return parts.named_targets(self.unet)
        named = parts.named_targets(self.encoders[tower], text.canonical)
        # SDXL's second encoder has a projection head, no part of the text model proper and never
        # trained.
        return {n: m for n, m in named.items() if not n.endswith("text_projection")}

    def token_pieces(self, text_: str) -> list[str]:
        return self.words.pieces(self.tokenizers["text_encoder"], text_)

    def num_chunks(self, prompts: Sequence[str]) -> int:
        return text.num_blocks(self.words, self.tokenizers["text_encoder"], prompts)

    def encode_images(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        return parts.encode_images(self.vae, pixels)

    def decode(self, latents: Tensor) -> Tensor:
        return parts.decode(self.vae, latents)

    def states(
        self, tower: str, prompts: Sequence[str], chunks: int, skip: int, *, final_norm: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Hidden states of one text tower and its pooled projection, on the UNet's device."""
        ids = text.token_blocks(self.words, self.tokenizers[tower], prompts, chunks)
        states, pooled = text.hidden_states(self.encoders[tower], ids, skip, final_norm)
        return states.to(self.device), None if pooled is None else pooled.to(self.device)

    def enable_gradient_checkpointing(self) -> None:
        """Trades about a third of the speed for most of the activations' memory."""
        self.unet.enable_gradient_checkpointing()
        self.unet.train()  # diffusers checkpoints in training mode only; the UNet has no drop-out

    def disable_gradient_checkpointing(self) -> None:
        self.unet.disable_gradient_checkpointing()
        self.unet.eval()
