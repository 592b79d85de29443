"""A family of another kind, to prove that `src/` knows no family: a transformer that learns a
rectified flow (Liu et al. 2022, arXiv 2209.03003; Esser et al. 2024, arXiv 2403.03206).

One file, one schedule and one row: `ROW` goes into `models.families.spec.SPECS`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tiny
import torch
from diffusers import AutoencoderKL, ModelMixin
from diffusers.configuration_utils import ConfigMixin, register_to_config
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import CLIPTextModel

from kaiffin.foundation.errors import ConfigError
from kaiffin.foundation.samplers import BASE
from kaiffin.models.base import Conditioning, SizeFacts
from kaiffin.models.families.shared import LatentDiffusion
from kaiffin.models.families.spec import Spec, Tower

ROW = Spec(
    name="flow", title="Tiny Flow", denoiser="transformer",
    towers={"transformer": Tower("lora_unet"), "text_encoder": Tower("lora_te")},
    blocks=r"blocks\.\d+", versions=("tiny_flow",), architecture="tiny-flow/lora",
    pipeline="TinyFlowPipeline", tag="tiny-flow", code="flow_family:TinyFlow",
)  # fmt: skip


@dataclass(frozen=True)
class FlowSchedule:
    """x_t = (1 - t) x0 + t eps for t in [0, 1]; the model says v = dx_t / dt = eps - x0.

    In the samplers' coordinates x = x_t / (1 - t), so that sigma = t / (1 - t). Euler's method on
    x0 and eps is the same straight line in both.
    """

    last: float = 0.999  # where trajectories begin; at 1 there is no signal, and sigma is infinite
    config: Mapping[str, Any] = field(default_factory=dict)
    prediction_type: str = "flow"
    spacing: str = "trailing"

    def draw_time(self, generator: torch.Generator) -> Tensor:
        """Logit-normal: most in the middle, where the direction is hardest to tell."""
        return torch.sigmoid(torch.randn((), generator=generator))

    def time_at(self, share: float) -> Tensor:
        return torch.tensor(share)

    def share_of(self, t: Tensor) -> Tensor:
        return t

    def middle(self) -> Tensor:
        return torch.tensor(0.5)

    def add_noise(self, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        t = t.view(-1, 1, 1, 1)
        return (1 - t) * x0 + t * eps

    def target(self, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        return eps - x0

    def weight(self, t: Tensor, gamma: float) -> Tensor:
        """An error d of v is an error t d of x0, whose loss counts min(SNR, gamma)."""
        snr = ((1 - t) / t) ** 2
        return snr.clamp(max=gamma) * t**2

    def sigmas(self, num_steps: int, spacing: str = BASE) -> list[float]:
        if spacing not in (BASE, self.spacing):
            raise ConfigError(f"sample.schedule: {spacing} is not for flows.", "Leave it out.")
        times = [self.last * (1 - i / num_steps) for i in range(num_steps)]
        return [t / (1 - t) for t in times] + [0.0]

    def first_noise(self, eps: Tensor, sigma: float) -> Tensor:
        return eps * (1 + sigma)

    def model_input(self, x: Tensor, sigma: float) -> tuple[Tensor, float]:
        return x / (1 + sigma), sigma / (1 + sigma)

    def to_x0(self, output: Tensor, x: Tensor, sigma: float) -> Tensor:
        return (x - sigma * output) / (1 + sigma)


class Attention(nn.Module):
    def __init__(self, width: int, heard: int) -> None:
        super().__init__()
        self.to_q, self.to_k = nn.Linear(width, width), nn.Linear(heard, width)
        self.to_v, self.to_out = nn.Linear(heard, width), nn.ModuleList([nn.Linear(width, width)])

    def forward(self, x: Tensor, heard: Tensor) -> Tensor:
        q, k, v = (
            layer(part).unflatten(-1, (2, -1)).transpose(1, 2)
            for layer, part in ((self.to_q, x), (self.to_k, heard), (self.to_v, heard))
        )
        return self.to_out[0](F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Block(nn.Module):
    """Self-attention, cross-attention, feed-forward; the time shifts what each hears."""

    def __init__(self, width: int, context: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.LayerNorm(width) for _ in range(3)])
        self.attn1, self.attn2 = Attention(width, width), Attention(width, context)
        self.ff = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.shift = nn.Linear(width, width)

    def forward(self, x: Tensor, time: Tensor, context: Tensor) -> Tensor:
        first = self.norms[0](x) + self.shift(time)[:, None]
        x = x + self.attn1(first, first)
        x = x + self.attn2(self.norms[1](x), context)
        return x + self.ff(self.norms[2](x))


class TinyTransformer(ModelMixin, ConfigMixin):
    """A transformer over the places of the latents (Peebles & Xie 2022, arXiv 2212.09748)."""

    _supports_gradient_checkpointing = True

    @register_to_config
    def __init__(
        self, sample_size: int = 8, in_channels: int = 4, width: int = 32, context: int = 32,
        depth: int = 2,
    ) -> None:  # fmt: skip
        super().__init__()
        self.gradient_checkpointing = False
        self.embed, self.time = nn.Linear(in_channels, width), nn.Linear(width, width)
        self.summary = nn.Linear(context, width)
        self.blocks = nn.ModuleList([Block(width, context) for _ in range(depth)])
        self.out = nn.Linear(width, in_channels)

    def forward(self, x: Tensor, t: Tensor, context: Tensor, summary: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        hidden = self.embed(x.flatten(2).transpose(1, 2))
        hidden = hidden + _places(height, width, hidden.shape[-1]).to(hidden)
        time = F.silu(self.time(_waves(t * 1000, hidden.shape[-1]).to(hidden)))
        time = time + self.summary(summary)
        for block in self.blocks:
            if torch.is_grad_enabled() and self.gradient_checkpointing:
                hidden = self._gradient_checkpointing_func(block, hidden, time, context)
            else:
                hidden = block(hidden, time, context)
        return self.out(hidden).transpose(1, 2).unflatten(2, (height, width))


def _waves(values: Tensor, width: int) -> Tensor:
    """(N,) -> (N, width) sines and cosines."""
    rates = torch.exp(-math.log(1000) * torch.arange(width // 2, device=values.device) * 2 / width)
    angles = values[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


def _places(height: int, width: int, channels: int) -> Tensor:
    rows = _waves(torch.arange(height) * 1.0, channels // 2)
    columns = _waves(torch.arange(width) * 1.0, channels // 2)
    both = [rows[:, None].expand(-1, width, -1), columns[None].expand(height, -1, -1)]
    return torch.cat(both, dim=-1).flatten(0, 1)


class TinyFlow(LatentDiffusion):
    """Its conditioning: `context` (B, T, D) and `summary` (B, D), the mean of the states."""

    name = "flow"
    denoiser = "transformer"

    @classmethod
    def models(cls) -> dict[str, Any]:
        return {"transformer": TinyTransformer, "vae": AutoencoderKL, "text_encoder": CLIPTextModel}

    @classmethod
    def read_schedule(cls, config: Mapping[str, Any]) -> FlowSchedule:
        return FlowSchedule(config.get("last", 0.999), dict(config))

    def encode_text(
        self, prompts: Sequence[str], sizes: Sequence[SizeFacts] = (), *, chunks: int = 1,
        clip_skip: int = 0,
    ) -> Conditioning:  # fmt: skip
        states, _ = self.states("text_encoder", prompts, chunks, clip_skip, final_norm=True)
        return Conditioning({"context": states, "summary": states.mean(1)})

    def predict(self, x_t: Tensor, t: Tensor, cond: Conditioning) -> Tensor:
        told = cond.map(lambda part: part.to(self.dtype))
        return self.net(x_t.to(self.dtype), t, told["context"], told["summary"]).float()


def tiny_flow(path: Path, *, seed: int = 0) -> Path:
    """A folder of such a base: 64 px, f = 8, random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        tiny.vae(4).save_pretrained(path / "vae")
        TinyTransformer().save_pretrained(path / "transformer")
        CLIPTextModel(tiny.text_config(32, 32)).save_pretrained(path / "text_encoder")
    tiny.write_tokenizer(path / "tokenizer")
    (path / "scheduler").mkdir()
    schedule = {"_class_name": "FlowMatchEulerDiscreteScheduler", "last": 0.995}
    (path / "scheduler" / "scheduler_config.json").write_text(json.dumps(schedule))
    (path / "model_index.json").write_text(json.dumps({"_class_name": ROW.pipeline}))
    return path
