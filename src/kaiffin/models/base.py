"""What a model family promises: the only door between the base models and everything else.

A family is SD 1.x or SDXL (or the miniature, which is SD-1.x-shaped). Nothing outside `models`
may ask which one it is: sizes, channels, towers, the schedule and what the denoiser is told are
data of the family.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from kaiffin.foundation.prompts import Spoken
from kaiffin.models.diffusion.schedule import Schedule
from kaiffin.models.words import Words


@dataclass(frozen=True)
class SizeFacts:
    """How one picture is cut, in pixels; SDXL is told of it (Podell et al. 2023, section 2.2).

    original: (height, width) of the photo; crop: (top, left) corner of the crop in the resized
    photo; target: (height, width) of the picture that is trained or wanted.
    """

    original: tuple[int, int]
    crop: tuple[int, int]
    target: tuple[int, int]

    @classmethod
    def whole(cls, height: int, width: int) -> SizeFacts:
        """A picture that is no part of a larger one."""
        return cls((height, width), (0, 0), (height, width))


class Conditioning(Mapping[str, Tensor]):
    """What the denoiser is told about a batch of pictures: tensors (B, ...) by name.

    The names are the family's own: `context` (B, T, D) token states, of which T may be a multiple
    of 77 for long prompts, and whatever else it reads. Immutable.
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self._tensors = MappingProxyType(dict(tensors))

    def __getitem__(self, name: str) -> Tensor:
        return self._tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        """How many tensors there are, as of any mapping; the batch is their first dimension."""
        return len(self._tensors)

    def map(self, function: Callable[[Tensor], Tensor]) -> Conditioning:
        """The same conditioning with `function` applied to each tensor."""
        return Conditioning({name: function(tensor) for name, tensor in self.items()})

    @staticmethod
    def cat(parts: Sequence[Conditioning]) -> Conditioning:
        """Stacks along the batch; all must have the same names, contexts equal token counts."""
        return Conditioning({n: torch.cat([part[n] for part in parts]) for n in parts[0]})


@runtime_checkable
class ModelFamily(Protocol):
    """A loaded, frozen base model (all parameters require no gradient; modules in eval mode)."""

    name: str  # "sd1" or "sdxl": its row in the table of families
    base: str  # what the user asked for: "miniature", "sd15@<commit>", a folder, a file
    revision: str  # content hash of the weights (sha256 hex): equal hash, equal base
    schedule: Schedule  # from the base's own config
    denoiser: str  # the tower that is told: "unet"
    native_size: int  # pixels: 128 for the miniature, 512 SD 1.x, 1024 SDXL
    downscale: int  # pixels per latent cell: 8, for the miniature 16
    latent_channels: int  # 4 for SD; never assumed
    layers_per_block: int  # resnets per UNet block: SDXL's original block numbers depend on it
    max_tokens: int  # 77, from the tokenizer, with the begin and end tokens
    device: torch.device
    dtype: torch.dtype  # dtype of the frozen weights
    quantize: str  # none, int8 or nf4: of the denoiser's linear layers
    remarks: tuple[str, ...]  # what a person should hear of this base, such as that it is distilled
    words: Words  # new tokens, none at first
    vae: nn.Module

    @property
    def towers(self) -> Mapping[str, nn.Module]:
        """The denoiser first, then the text encoders: "text_encoder"[, "text_encoder_2"]."""
        ...

    def modules(self, tower: str) -> dict[str, nn.Module]:
        """Every Linear and Conv2d of a tower by its *canonical* path.

        Canonical paths are those of the published checkpoints in diffusers layout, whatever the
        installed transformers calls them: `down_blocks.0.attentions.0...to_q` and
        `text_model.encoder.layers.0.self_attn.q_proj`.
        """
        ...

    def token_pieces(self, text: str) -> list[str]:
        """How the (first) tokenizer splits `text`, without begin and end tokens."""
        ...

    def encode_images(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, H, W) in [-1, 1] -> mean and std of the scaled latents, fp32 (B, C, H/8, W/8)."""
        ...

    def decode(self, latents: Tensor) -> Tensor:
        """Scaled latents (B, C, h, w) -> pixels (B, 3, H, W) fp32 in [-1, 1], clamped."""
        ...

    def encode_text(
        self,
        prompts: Sequence[str | Spoken],
        sizes: Sequence[SizeFacts],
        *,
        chunks: int = 1,
        clip_skip: int = 0,
    ) -> Conditioning:
        """Prompts -> conditioning, differentiable through the text towers.

        chunks: how many blocks of 77 tokens the context gets; longer prompts are cut there.
        sizes: one per prompt; families without size conditioning ignore them.
        """
        ...

    def num_chunks(self, prompts: Sequence[str | Spoken]) -> int:
        """How many 77-token blocks the longest of `prompts` needs (at least 1)."""
        ...

    def enable_gradient_checkpointing(self) -> None:
        """Less memory for activations, about a third slower; the numbers stay the same."""
        ...

    def disable_gradient_checkpointing(self) -> None:
        """Undoes `enable_gradient_checkpointing`."""
        ...

    def predict(self, x_t: Tensor, t: Tensor, cond: Conditioning) -> Tensor:
        """The denoiser's raw output (see `schedule.prediction_type`), fp32 like `x_t`.

        x_t: (B, C, h, w) noisy latents and t: (B,) times, as the schedule counts them. Runs under
        the family's dtype; gradients flow to `x_t`, `cond` and adapters.
        """
        ...

    def places(self, prompt: str | Spoken, words: str) -> list[int]:
        """Where in the prompt's context the tokens of `words` stand, wherever they are said."""
        ...

    def heard(self, x_t: Tensor, t: Tensor, cond: Conditioning, places: Sequence[int]) -> Tensor:
        """How much each cell of x_t hears of those places of the context while it is predicted: (B,
        h, w), all 0 where the denoiser cannot be asked."""
        ...
