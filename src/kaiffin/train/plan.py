"""What a training will cost, said before it starts."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from kaiffin.adapters.stack import Stack
from kaiffin.data.prepare import Prepared
from kaiffin.foundation.config import SMALL_BASE, Config
from kaiffin.foundation.phases import Phase
from kaiffin.models.base import ModelFamily, SizeFacts
from kaiffin.models.parts import num_bytes

# Forward and backward of a frozen denoiser with adapters, as a multiple of a forward's operations.
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
        macs, activations = _cost(family, side)
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


@torch.no_grad()
def _cost(family: ModelFamily, side: int) -> tuple[int, int]:
    """Multiply-adds and activation bytes of one picture through the denoiser's layers.

    side: of its latents. One forward is looked at, which for all but the smallest bases computes
    shapes only.
    """
    macs, numbers = 0, 0

    def count(layer: Any, _: object, out: Tensor) -> None:
        nonlocal macs, numbers
        macs += out.numel() * layer.weight[0].numel()
        numbers += 3 * out.numel()

    pixels = side * family.downscale
    cond = family.encode_text([""], [SizeFacts.whole(pixels, pixels)])
    hooks = [m.register_forward_hook(count) for m in family.modules(family.denoiser).values()]
    pretend = FakeTensorMode(allow_non_fake_inputs=True)
    small = family.native_size < SMALL_BASE
    try:
        with contextlib.nullcontext() if small else pretend:
            x_t = torch.zeros((1, family.latent_channels, side, side), device=family.device)
            t = torch.zeros(1, dtype=torch.long, device=family.device)
            family.predict(x_t, t, cond if small else cond.map(pretend.from_tensor))
    finally:
        for hook in hooks:
            hook.remove()
    return macs, numbers * (2 if family.dtype != torch.float32 else 4)


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
