"""Which checkpoint: what no other beats, what is best, and whether that is more than chance.

Torch-free; pure functions over the measures of `score.table`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kaiffin.score.statistics import Interval, clustered

Point = tuple[float, ...]


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
class Choice:
    """chosen, highest: places; against: what the chosen one is compared with, and by how much."""

    chosen: int
    highest: int
    against: int | None
    difference: Interval | None


def recommend(values: Sequence[Sequence[float]], groups: Sequence[int]) -> Choice:
    """The earliest candidate that the best one does not clearly beat.

    values: of each candidate, one for each picture, the same pictures in all; groups: the prompt
    of each. Higher is better. Later candidates cost more training and drift further, so among
    those that cannot be told apart the earliest is taken. ValueError for no candidate.
    """
    if not values:
        raise ValueError("there are no candidates")
    averages = [clustered(v, groups, draws=1).mean for v in values]
    highest = int(np.argmax(averages))
    chosen = highest
    for place in range(highest):
        lead = _difference(values[place], values[highest], groups)
        if lead.low <= 0:
            chosen = place
            break
    others = [i for i in range(len(values)) if i != chosen]
    if not others:
        return Choice(chosen, highest, None, None)
    rival = highest if highest != chosen else max(others, key=lambda i: averages[i])
    return Choice(chosen, highest, rival, _difference(values[rival], values[chosen], groups))


def _difference(before: Sequence[float], after: Sequence[float], groups: Sequence[int]) -> Interval:
    return clustered([b - a for a, b in zip(before, after, strict=True)], groups)


def verdict(choice: Choice, steps: Sequence[int]) -> str:
    """The recommendation in words."""
    step = steps[choice.chosen]
    if choice.against is None or choice.difference is None:
        return f"step {step} is the only candidate"
    other, gap = steps[choice.against], choice.difference
    shown = f"{gap.mean:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}]"
    if gap.low > 0:
        return f"take step {step}: better than the runner-up, step {other}, by {shown}"
    first, second = sorted((step, other))
    return f"no difference between steps {first} and {second} ({shown}): take step {step}"


def overall(
    identity: Sequence[float], prompt: Sequence[float], *,
    plain: float, ceiling: float, unrelated: Sequence[float], asked: Sequence[float],
) -> list[float]:  # fmt: skip
    """One number for each picture of the subject, in [0, 1]: subject and prompt, both or nothing.

    The harmonic mean of how far the identity has come from the base's pictures (`plain`, 0) to the
    real photos (`ceiling`, 1), and how far CLIP-T is from pictures of other prompts (`unrelated`,
    of each picture's prompt, 0) to the base's own picture of it (`asked`, 1).
    """
    found = []
    for i, (like, shown) in enumerate(zip(identity, prompt, strict=True)):
        a = _share(like, plain, ceiling)
        b = _share(shown, unrelated[i], asked[i])
        found.append(2 * a * b / (a + b) if a + b else 0.0)
    return found


def _share(value: float, zero: float, one: float) -> float:
    """Where `value` lies between `zero` and `one`, held in [0, 1]; 1 beyond a span of nothing."""
    if one <= zero:
        return 1.0 if value >= one else 0.0
    return min(1.0, max(0.0, (value - zero) / (one - zero)))


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
