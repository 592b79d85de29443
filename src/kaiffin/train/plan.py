"""What a training will cost, said before it starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch

from kaiffin.adapters.stack import Stack
from kaiffin.data.prepare import Prepared
from kaiffin.foundation.config import Config
from kaiffin.foundation.phases import Phase
from kaiffin.models.base import ModelFamily
from kaiffin.models.parts import num_bytes

# Forward and backward of a frozen UNet with adapters, as a multiple of one forward's operations.
STEP_FACTOR = 2.5


@dataclass(frozen=True)
class Plan:
    """trainable: weights; epochs: passes over the photos; memory: bytes at the peak (estimate);
    macs: multiply-adds of one forward of one picture (estimate, Linear and Conv2d only)."""

    trainable: int
    modules: int
    steps: int
    epochs: float
    memory: int
    macs: int
    batch: int
    device: torch.device

    @staticmethod
    def of(
        config: Config, family: ModelFamily, stack: Stack, phases: Sequence[Phase],
        photos: Mapping[Path | None, Prepared],
    ) -> Plan:  # fmt: skip
        """From the config (with nothing left open) and the loaded base.

        Its memory is a rough estimate, made in no time; `memory.Meter` counts it.
        """
        train = config.train
        trainable = [p.numel() for p in stack.parameters()]
        batch = (train.batch_size or 1) * (2 if config.data.prior.weight else 1)
        side = (config.data.resolution or family.native_size) // family.downscale
        macs, activations = _unet_cost(family, side)
        weights = num_bytes(family.towers.values())
        kept = 0.25 if train.gradient_checkpointing else 1.0
        # Weight, gradient and AdamW's two moments of each trainable number, in fp32.
        memory = weights + 16 * sum(trainable) + int(kept * activations * batch)
        drawn = (train.batch_size or 1) * train.accumulate
        epochs = sum(
            (phase.last - phase.first) * drawn / len(photos[phase.config.data.photos].examples)
            for phase in phases
        )
        return Plan(
            sum(trainable), len(list(stack.layers())), phases[-1].last, epochs, memory,
            macs, batch * train.accumulate, family.device,
        )  # fmt: skip

    def seconds(self, macs_per_second: float) -> float:
        """Expected training time at a measured speed."""
        return self.steps * self.batch * self.macs * STEP_FACTOR / macs_per_second


def _unet_cost(family: ModelFamily, side: int) -> tuple[int, int]:
    """Multiply-adds and activation bytes of one picture through the UNet's layers.

    Places per layer follow from its block: each down block halves the side.
    """
    unet: Any = family.towers[family.denoiser]
    levels = len(unet.config.block_out_channels)
    width = 2 if family.dtype != torch.float32 else 4
    macs, activations = 0, 0
    for path, module in cast("dict[str, Any]", family.modules(family.denoiser)).items():
        places = (side >> _level(path, levels)) ** 2 if "embedding" not in path else 1
        if "time_emb_proj" in path:
            places = 1
        if ".attn2.to_k" in path or ".attn2.to_v" in path:
            places = family.max_tokens
        macs += module.weight.numel() * places
        activations += 3 * module.weight.shape[0] * places * width
    return macs, activations


def _level(path: str, levels: int) -> int:
    """How often the side has been halved where a module stands."""
    if path.startswith("mid_block"):
        return levels - 1
    if path.startswith("down_blocks."):
        return min(int(path.split(".")[1]), levels - 1)
    if path.startswith("up_blocks."):
        return max(levels - 1 - int(path.split(".")[1]), 0)
    return 0


def measured_speed(device: torch.device) -> float:
    """Multiply-adds per second of a plain matrix product here, at a typical efficiency."""
    import time

    size = 512 if device.type == "cpu" else 4096
    a = torch.randn(size, size, device=device)
    (a @ a).sum().item()
    started = time.perf_counter()
    for _ in range(4):
        a = a @ a / size
    a.sum().item()
    efficiency = 0.35  # of a UNet's mixed layers, measured against this product on CPUs
    return 4 * size**3 / (time.perf_counter() - started) * efficiency
