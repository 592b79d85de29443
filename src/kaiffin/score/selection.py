"""Which checkpoint: what no other beats, what is best, and whether that is more than chance.

Torch-free; pure functions over the measures of `score.table`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kaiffin.score.statistics import Interval, clustered

Point = tuple[float, ...]
MARGIN = 0.05  # of `overall`: what is given up for an earlier candidate


def pareto(points: Sequence[Point]) -> list[int]:
    """Places of the points that no other beats: as good everywhere and better somewhere.

    Higher is better in every coordinate. Of equal points all stay.
    """
    table = np.asarray(points, dtype=np.float64)
    kept = []
    for i, point in enumerate(table):
        beaten = (table >= point).all(1) & (table > point).any(1)
        if not beaten.any():
            kept.append(i)
    return kept


@dataclass(frozen=True)
class Recommendation:
    """chosen, highest: places; against: what the chosen one is compared with, and by how much."""

    chosen: int
    highest: int
    against: int | None
    difference: Interval | None


def recommend(values: Sequence[Sequence[float]], groups: Sequence[int]) -> Recommendation:
    """The earliest candidate that is as good as the best one, within MARGIN.

    values: of each candidate, one for each picture, the same pictures in all; groups: the prompt
    of each. Higher is better. As good means shown to be: the interval of the difference lies above
    -MARGIN (a test of non-inferiority). Not to be told apart is not enough: with few pictures the
    first candidate would win by default (docs/choosing.md). ValueError for no candidate.
    """
    if not values:
        raise ValueError("there are no candidates")
    averages = [clustered(v, groups, draws=1).mean for v in values]
    highest = int(np.argmax(averages))
    chosen = highest
    for place in range(highest):
        if _difference(values[highest], values[place], groups).low > -MARGIN:
            chosen = place
            break
    others = [i for i in range(len(values)) if i != chosen]
    if not others:
        return Recommendation(chosen, highest, None, None)
    rival = highest if highest != chosen else max(others, key=lambda i: averages[i])
    return Recommendation(
        chosen, highest, rival, _difference(values[rival], values[chosen], groups)
    )


def _difference(before: Sequence[float], after: Sequence[float], groups: Sequence[int]) -> Interval:
    return clustered([b - a for a, b in zip(before, after, strict=True)], groups)


def verdict(found: Recommendation, steps: Sequence[int]) -> str:
    """The recommendation in words."""
    step = steps[found.chosen]
    if found.against is None or found.difference is None:
        return f"step {step} is the only candidate"
    other, gap = steps[found.against], found.difference
    shown = f"{gap.mean:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}]"
    if gap.low > 0:
        return f"take step {step}: better than the runner-up, step {other}, by {shown}"
    if found.chosen != found.highest:
        return f"no difference between steps {step} and {other} ({shown}): take the earlier, {step}"
    return (
        f"take step {step}: it has the highest mean, but these pictures cannot tell it from step"
        f" {other} ({shown}); more seeds may"
    )


def overall(likeness: Sequence[float], prompt: Sequence[float]) -> list[float]:
    """One number for each picture of the subject, in [0, 1]: subject and prompt, both or nothing.

    The harmonic mean of `likeness` and `prompt` of `score.table`, each held in [0, 1].
    """
    pairs = [
        (min(1.0, max(0.0, a)), min(1.0, max(0.0, b)))
        for a, b in zip(likeness, prompt, strict=True)
    ]
    return [2 * a * b / (a + b) if a + b else 0.0 for a, b in pairs]


def findings(steps: Sequence[int], averages: Sequence[Mapping[str, Interval]]) -> list[str]:
    """What the curves say, in plain words; only what the intervals bear out."""
    said = []
    for at in range(1, len(steps)):
        copies, prompt = (
            averages[at]["copy"].low > averages[0]["copy"].mean,
            max(a["clip_t"].mean for a in averages[:at]) > averages[at]["clip_t"].high,
        )
        if copies and prompt:
            said.append(
                f"overfitting begins near step {steps[at]}: copying rises, the prompt falls"
            )
            break
    return said
