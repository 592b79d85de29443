"""What the families do alike: facts from configurations, prompts counted, pictures to latents."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from kaiffin.foundation.prompts import Spoken
from kaiffin.models import parts
from kaiffin.models.base import Conditioning, SizeFacts
from kaiffin.models.diffusion.schedule import NoiseSchedule, Schedule
from kaiffin.models.families import attention, text
from kaiffin.models.words import Words


@dataclass(frozen=True)
class Loaded:
    """A base opened: what a family is made from.

    base: what the user asked for; revision: hash of the weights; models: frozen, by component (the
    denoiser, `vae`, and the text towers); tokenizers: by text tower; remarks: what a person should
    hear of it.
    """

    base: str
    revision: str
    schedule: Schedule
    models: Mapping[str, Any]
    tokenizers: Mapping[str, Any]
    device: torch.device
    dtype: torch.dtype
    quantize: str = "none"
    remarks: tuple[str, ...] = ()


class LatentDiffusion(ABC):
    """A denoiser on a VAE's latents, told by CLIP text encoders; see `models.base.ModelFamily`.

    A family says in a subclass what its components are, how its texts are encoded and how its
    denoiser is called.
    """

    name: str
    denoiser = "unet"

    @classmethod
    def read_schedule(cls, config: Mapping[str, Any]) -> Schedule:
        """From the base's scheduler_config.json; ValueError names what is not supported."""
        return NoiseSchedule.from_config(config)

    @classmethod
    def models(cls) -> dict[str, Any]:
        """The classes that open the models in a base's folder, by component."""
        from diffusers import AutoencoderKL, UNet2DConditionModel
        from transformers import CLIPTextModel

        return {"unet": UNet2DConditionModel, "vae": AutoencoderKL, "text_encoder": CLIPTextModel}

    @classmethod
    def readers(cls) -> dict[str, Any]:
        """The same for its tokenizers, which are there sooner than all models."""
        from transformers import CLIPTokenizer

        return {"tokenizer": CLIPTokenizer}

    def __init__(self, loaded: Loaded) -> None:
        self.base, self.revision, self.schedule = loaded.base, loaded.revision, loaded.schedule
        self.device, self.dtype, self.quantize = loaded.device, loaded.dtype, loaded.quantize
        self.remarks = loaded.remarks
        self.net, self.vae = loaded.models[self.denoiser], loaded.models["vae"]
        self.tokenizers = dict(loaded.tokenizers)
        self.encoders = {tower: loaded.models[tower] for tower in self.tokenizers}
        self.words = Words(self.encoders, self.tokenizers)
        self.latent_channels = self.net.config.in_channels
        self.layers_per_block = getattr(self.net.config, "layers_per_block", 0)
        self.downscale = 2 ** (len(self.vae.config.block_out_channels) - 1)
        self.native_size = self.net.config.sample_size * self.downscale
        self.max_tokens = self.tokenizers["text_encoder"].model_max_length

    @property
    def towers(self) -> Mapping[str, nn.Module]:
        return {self.denoiser: self.net, **self.encoders}

    def modules(self, tower: str) -> dict[str, nn.Module]:
        if tower == self.denoiser:
            return parts.named_targets(self.net)
        named = parts.named_targets(self.encoders[tower], text.canonical)
        # SDXL's second encoder has a projection head, no part of the text model proper and never
        # trained.
        return {n: m for n, m in named.items() if not n.endswith("text_projection")}

    def token_pieces(self, text: str) -> list[str]:
        return self.words.pieces(self.tokenizers["text_encoder"], text)

    def num_chunks(self, prompts: Sequence[str | Spoken]) -> int:
        return text.num_blocks(self.words, self.tokenizers["text_encoder"], prompts)

    def encode_images(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        return parts.encode_images(self.vae, pixels)

    def decode(self, latents: Tensor) -> Tensor:
        return parts.decode(self.vae, latents)

    @abstractmethod
    def encode_text(
        self, prompts: Sequence[str | Spoken], sizes: Sequence[SizeFacts] = (), *, chunks: int = 1,
        clip_skip: int = 0,
    ) -> Conditioning:  # fmt: skip
        """See `models.base.ModelFamily`."""

    @abstractmethod
    def predict(self, x_t: Tensor, t: Tensor, cond: Conditioning) -> Tensor:
        """See `models.base.ModelFamily`."""

    def states(
        self, tower: str, prompts: Sequence[str | Spoken], chunks: int, skip: int, *,
        final_norm: bool,
    ) -> tuple[Tensor, Tensor | None]:  # fmt: skip
        """Hidden states of one text tower, by the weights of the words, and its pooled projection,
        by the words alone; on the denoiser's device."""
        tokenizer, encoder = self.tokenizers[tower], self.encoders[tower]
        ids, weights = text.token_blocks(self.words, tokenizer, prompts, chunks)
        states, pooled = text.hidden_states(encoder, ids, skip, final_norm)
        if weights is not None:
            nothing, _ = text.token_blocks(self.words, tokenizer, [""], 1)
            empty, _ = text.hidden_states(encoder, nothing, skip, final_norm)
            leaning = [isinstance(one, Spoken) and one.leaning for one in prompts]
            states = text.weighted(states, weights, empty, leaning)
        return states.to(self.device), None if pooled is None else pooled.to(self.device)

    def places(self, prompt: str | Spoken, words: str) -> list[int]:
        return text.places(self.words, self.tokenizers["text_encoder"], prompt, words)

    def heard(self, x_t: Tensor, t: Tensor, cond: Conditioning, places: Sequence[int]) -> Tensor:
        size = (x_t.shape[-2], x_t.shape[-1])
        return attention.heard(self.net, lambda: self.predict(x_t, t, cond), places, size)

    def enable_gradient_checkpointing(self) -> None:
        """Trades about a third of the speed for most of the activations' memory."""
        self.net.enable_gradient_checkpointing()
        self.net.train()  # diffusers checkpoints in training mode only; there is no drop-out

    def disable_gradient_checkpointing(self) -> None:
        self.net.disable_gradient_checkpointing()
        self.net.eval()
