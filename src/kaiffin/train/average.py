"""The weights that are kept of a training: the last ones, or an average over the way to them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from kaiffin.foundation.config import TrainConfig


def ema_share(decay: float, done: int) -> float:
    """The newest weights' share of a moving average, after `done` steps.

    1 - decay in the long run; early on the average is over fewer steps, so that the start is soon
    forgotten (the ramp of TensorFlow's ExponentialMovingAverage with `num_updates`).
    """
    return 1 - min(decay, (1 + done) / (10 + done))


class Average:
    """What is kept of `trained`: their moving average with `train.ema`, what a schedule-free
    optimizer averages itself (Defazio et al. 2024, arXiv 2405.15682), else the weights as they are.
    """

    def __init__(self, trained: Sequence[nn.Parameter], optimizer: Any, train: TrainConfig) -> None:
        self.trained, self.decay = list(trained), train.ema or 0.0
        self.means = [p.detach().clone() for p in self.trained] if train.ema else []
        self.schedule_free = optimizer if train.optimizer == "schedulefree" else None

    @torch.no_grad()
    def follow(self, done: int) -> None:
        """Takes in the weights after a step; done: how many steps there were before it."""
        if not self.means:
            return
        share = ema_share(self.decay, done)
        for mean, parameter in zip(self.means, self.trained, strict=True):
            mean.lerp_(parameter, share)

    def settle(self) -> None:
        """Puts what is kept in the place of the trained weights."""
        if self.schedule_free is not None:
            self.schedule_free.eval()
        elif self.means:
            self._put(self.means)

    @contextlib.contextmanager
    def shown(self) -> Iterator[None]:
        """Inside, the weights are those that are kept; afterwards as they were, to the bit."""
        raw = [parameter.detach().clone() for parameter in self.trained]
        self.settle()
        try:
            yield
        finally:
            if self.schedule_free is not None:
                self.schedule_free.train()
            self._put(raw)  # to the bit, which schedule-free's own way back is not

    def tensors(self) -> dict[str, Tensor]:
        """All that a restart needs, by name; copies on the CPU."""
        return {f"average.{i}": mean.cpu() for i, mean in enumerate(self.means)}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """The inverse of `tensors`; what is named otherwise is left alone."""
        for i, mean in enumerate(self.means):
            mean.copy_(tensors[f"average.{i}"])

    @torch.no_grad()
    def _put(self, values: Sequence[Tensor]) -> None:
        for parameter, value in zip(self.trained, values, strict=True):
            parameter.copy_(value)
