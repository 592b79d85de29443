"""Which times a training draws: evenly, more in the middle, or where the loss still falls."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import accumulate
from statistics import NormalDist
from typing import Any

import torch
from torch import Tensor

from kaiffin.foundation.runtime import generator, uniform
from kaiffin.foundation.sections import ObjectiveConfig
from kaiffin.models.diffusion.schedule import Schedule

BINS = 10
FAST, SLOW = 0.1, 0.02  # how much a new loss counts in the two means that are compared
EVEN = 0.5  # of all draws, that "falling" makes evenly: a bin that is never drawn is never known


class Times:
    """Draws for places of a stream. As shares of all times, from 0 (no noise) to 1:

    - logit-normal: sigmoid(n), n standard normal (Esser et al. 2024, 2403.03206, section 3.1);
    - falling: half of the draws evenly, half in proportion to how far a bin's recent loss lies
      below its long mean. The means are part of a restart point.

    antithetic: of two neighbours the second takes the distribution's other end: u and 1 - u.
    """

    def __init__(self, goal: ObjectiveConfig, schedule: Schedule, seed: int) -> None:
        self.kind, self.antithetic = goal.timesteps, goal.antithetic
        self.schedule, self.seed = schedule, seed
        self.means: list[list[float]] = [[] for _ in range(BINS)]  # [fast, slow], once seen
        self._seen: list[tuple[int, float, float]] = []  # (place, share, loss) of this step

    def draw(self, role: str, places: Sequence[int]) -> Tensor:
        """(B,) on the CPU."""
        if self.kind == "uniform" and not self.antithetic:
            drawn = [generator(self.seed, role, "t", place) for place in places]
            return torch.stack([self.schedule.draw_time(one) for one in drawn])
        return torch.stack([self.schedule.time_at(self.share(role, place)) for place in places])

    def share(self, role: str, place: int) -> float:
        """How far from no noise to all of it the time of this place lies."""
        if self.antithetic:
            u = uniform(self.seed, role, "t", place // 2)
            u = 1 - u if place % 2 else u
        else:
            u = uniform(self.seed, role, "t", place)
        # What is known of the photos' losses says nothing of other pictures.
        return u if self.kind == "falling" and role != "instance" else self._quantile(u)

    def _quantile(self, u: float) -> float:
        if self.kind == "logit-normal":
            return 1 / (1 + math.exp(-NormalDist().inv_cdf(min(max(u, 1e-9), 1 - 1e-9))))
        if self.kind == "falling":
            return self._inverse(u)
        return u

    def _inverse(self, u: float) -> float:
        """The inverse of the distribution that is even within each bin."""
        ends = [0.0, *accumulate(self.chances())]
        at = next((b for b in range(BINS) if u < ends[b + 1]), BINS - 1)
        return (at + (u - ends[at]) / (ends[at + 1] - ends[at])) / BINS

    def chances(self) -> list[float]:
        """How likely each bin is drawn, of "falling"."""
        falls = [max(0.0, 1 - of[0] / of[1]) if of else 0.0 for of in self.means]
        whole = sum(falls)
        if not whole:
            return [1 / BINS] * BINS
        return [EVEN / BINS + (1 - EVEN) * fall / whole for fall in falls]

    def see(self, first: int, losses: Tensor) -> None:
        """Losses (B,) of the photos at the places from `first` on."""
        if self.kind == "falling":
            places = range(first, first + len(losses))
            shares = (self.share("instance", place) for place in places)
            self._seen += zip(places, shares, losses.tolist(), strict=True)

    def end_step(self, everyone: Callable[[list[Any]], list[Any]] = list) -> None:
        """From now on draws go by what was seen. everyone: what all processes have seen, of what
        this one has."""
        for _, share, loss in sorted(everyone(self._seen)) if self.kind == "falling" else ():
            at = min(int(share * BINS), BINS - 1)
            fast, slow = self.means[at] or (loss, loss)
            self.means[at] = [fast + FAST * (loss - fast), slow + SLOW * (loss - slow)]
        self._seen.clear()
