"""Numbers one can defend: means and proportions with intervals, and orders. Torch-free.

scipy is imported where it is used: it costs as long as all the rest of a short command.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % interval. n: number of values."""

    mean: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}], n = {self.n}"


def clustered(
    values: Sequence[float], groups: Sequence[Hashable], *, seed: int = 0, draws: int = 2000
) -> Interval:
    """Mean of the groups' means with its 95 % interval: groups are drawn, then values in each.

    For values that hang together, such as pictures of one prompt or of one training: the interval
    speaks of other prompts (trainings), not of more pictures of these (Davison and Hinkley 1997,
    section 3.8). Of few groups it is too narrow: of three, it covers the truth in about four of
    five studies; of one it knows only the spread within. ValueError where there is nothing to
    average, or a value is not finite.
    """
    data = np.asarray(values, dtype=np.float64)
    if data.size == 0 or data.size != len(groups):
        raise ValueError(f"{data.size} values in {len(groups)} groups cannot be averaged")
    if not np.isfinite(data).all():
        raise ValueError("a value is not finite")
    names = list(dict.fromkeys(groups))
    parts = [data[[g == name for g in groups]] for name in names]
    sizes = np.array([len(part) for part in parts])
    table = np.zeros((len(parts), sizes.max()))
    for row, part in zip(table, parts, strict=True):
        row[: len(part)] = part
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, len(parts), (draws, len(parts)))  # (draws, groups)
    places = (rng.random((*drawn.shape, sizes.max())) * sizes[drawn][..., None]).astype(int)
    inside = np.arange(sizes.max()) < sizes[drawn][..., None]
    sums = (table[drawn[..., None], places] * inside).sum(-1)
    low, high = np.quantile((sums / sizes[drawn]).mean(-1), (0.025, 0.975))
    mean = float(np.mean([part.mean() for part in parts]))
    return Interval(mean, float(low), float(high), int(data.size))


def student(values: Sequence[float], groups: Sequence[Hashable]) -> Interval:
    """Mean of the groups' means with Student's 95 % interval, for few groups, such as trainings.

    It holds what it promises however few there are, where the means are about normal (Student
    1908). ValueError for fewer than two groups.
    """
    from scipy.stats import sem, t

    names = list(dict.fromkeys(groups))
    if len(names) < 2:
        raise ValueError("one group has no spread")
    data = np.asarray(values, dtype=np.float64)
    means = np.array([data[[g == name for g in groups]].mean() for name in names])
    half = float(t.ppf(0.975, len(names) - 1) * sem(means))
    middle = float(means.mean())
    return Interval(middle, middle - half, middle + half, int(data.size))


def rank(scores: Sequence[float]) -> list[int]:
    """Places of `scores` from the highest to the lowest; equal ones keep their order."""
    if not all(math.isfinite(score) for score in scores):
        raise ValueError("a score is not finite")
    return sorted(range(len(scores)), key=lambda i: -scores[i])


def wilson(hits: int, count: int) -> tuple[float, float]:
    """95 % interval of a proportion (Wilson 1927)."""
    from scipy.stats import binomtest

    found = binomtest(hits, count).proportion_ci(method="wilson")
    return float(found.low), float(found.high)


def smooth(values: Sequence[float], keep: float = 0.95) -> list[float]:
    """Exponential mean with bias correction (Kingma and Ba 2015, section 3)."""
    total, smoothed = 0.0, []
    for i, value in enumerate(values, 1):
        total = keep * total + (1 - keep) * value
        smoothed.append(total / (1 - keep**i))
    return smoothed
