"""What a training will cost, said before it starts."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from kaiffin.adapters.stack import Stack
from kaiffin.data.prepare import Prepared
from kaiffin.foundation.config import Config
from kaiffin.foundation.phases import Phase
from kaiffin.foundation.whereabouts import photo_folders
from kaiffin.models.base import ModelFamily, SizeFacts
from kaiffin.models.parts import num_bytes
from kaiffin.train.memory import at_once, lived

# Forward and backward of a frozen UNet with adapters, as a multiple of one forward's operations.
STEP_FACTOR = 2.5
_COSTS: dict[Hashable, tuple[int, int]] = {}


@dataclass(frozen=True)
class Plan:
    """trainable: weights; epochs: passes over the photos; memory: bytes at the peak (estimate);
    macs: multiply-adds of one forward of one picture, in layers with weights; pictures: of a step
    on average, a forward without gradients counted by what it costs; of_base: those of them that
    `train.objective.keep` and `dco_beta` bring."""

    trainable: int
    modules: int
    steps: int
    epochs: float
    memory: int
    macs: int
    pictures: float
    of_base: float
    device: torch.device

    @staticmethod
    def of(
        config: Config, family: ModelFamily, stack: Stack, phases: Sequence[Phase],
        photos: Mapping[Path | None, Prepared],
    ) -> Plan:  # fmt: skip
        """From the config (with nothing left open) and the loaded base.

        Its memory is a rough estimate of one picture times the batch; `memory.Meter` counts it.
        """
        train = config.train
        trainable = [p.numel() for p in stack.parameters()]
        batch = at_once(config)
        side = (config.data.resolution or family.native_size) // family.downscale
        macs, activations = unet_cost(family, side)
        weights = num_bytes(family.towers.values())
        kept = 0.25 if train.gradient_checkpointing else 1.0
        # Weight, gradient and AdamW's two moments of each trainable number, in fp32.
        memory = weights + 16 * sum(trainable) + int(kept * activations * batch)
        drawn = (train.batch_size or 1) * train.accumulate
        held = _of_base(config) * drawn * train.noises
        pictures = drawn * (train.noises + bool(config.data.prior.weight)) + held
        epochs = sum(
            (phase.last - phase.first) * drawn / _photos(phase.config, photos) for phase in phases
        )
        return Plan(
            sum(trainable), len(list(stack.layers())), phases[-1].last, epochs, memory,
            macs, pictures, held, family.device,
        )  # fmt: skip

    def seconds(self, macs_per_second: float) -> float:
        """Expected training time at a measured speed."""
        return self.steps * self.pictures * self.macs * STEP_FACTOR / macs_per_second


def _photos(config: Config, photos: Mapping[Path | None, Prepared]) -> int:
    """How many a phase trains on."""
    return sum(len(photos[folder].examples) for folder in photo_folders(config))


def _of_base(config: Config) -> float:
    """Pictures a photo that methods which ask the base bring: under captions of the class, and the
    base's own forward of each."""
    goal = config.train.objective
    keeps = goal.keep_share if goal.keep else 0.0
    return keeps + (keeps + (goal.dco_beta is not None)) / STEP_FACTOR


def unet_cost(family: ModelFamily, side: int) -> tuple[int, int]:
    """Multiply-adds of one picture of `side` latent cells through the UNet, and the bytes that a
    backward pass finds kept of it; counted on tensors that have shapes and no contents.

    Of the layers with weights: attention's own products are counted on some devices only. It
    takes a second, so it is done once for each base and size.
    """
    key = (family.revision, family.dtype, family.quantize, side)
    if key not in _COSTS:
        _COSTS[key] = _counted(family, side)
    return _COSTS[key]


def _counted(family: ModelFamily, side: int) -> tuple[int, int]:
    counter = FlopCounterMode(display=False)
    pixels = side * family.downscale

    def forward(_: FakeTensorMode) -> object:
        with torch.no_grad():
            cond = family.encode_text([""], [SizeFacts.whole(pixels, pixels)])
        x_t = torch.zeros((1, family.latent_channels, side, side), device=family.device)
        t = torch.zeros(1, dtype=torch.long, device=family.device)
        with counter:
            return family.predict(x_t.requires_grad_(), t, cond)

    kept = lived(forward)
    counts = counter.get_flop_counts()["Global"]
    return sum(n for operation, n in counts.items() if "attention" not in str(operation)) // 2, kept


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
