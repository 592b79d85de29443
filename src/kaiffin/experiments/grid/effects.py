"""How the pictures of a grid score, and what each value of an axis does to the scores.

A value's mean is over all pictures that have it. Its difference from the first value of the axis is
over pairs of pictures that have all else equal. Intervals are drawn over prompts and seeds.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kaiffin.experiments.grid.axes import Axis, Grid
from kaiffin.foundation.config import SubjectConfig
from kaiffin.foundation.subject import plain_prompt
from kaiffin.foundation.tell import SILENT, Tell
from kaiffin.score.panel import Panel, Scores
from kaiffin.score.statistics import Interval, clustered


@dataclass(frozen=True)
class Effect:
    """What one value of an axis does, by measure; the first value has nothing to go against."""

    value: str | int | float
    title: str
    mean: Mapping[str, Interval]
    against_first: Mapping[str, Interval]


@dataclass(frozen=True)
class GridScores:
    """How a grid's pictures stand. words: who judged and against what, None where nobody did;
    scores: of each picture; effects: by axis, one for each value; groups: how many pairs of prompt
    and seed there are."""

    words: str | None = None
    scores: Scores = field(default_factory=dict)
    effects: Mapping[str, Sequence[Effect]] = field(default_factory=dict)
    groups: int = 0


def score(
    panel: Panel | None, subject: SubjectConfig, grid: Grid, paths: Sequence[Path],
    *, tell: Tell = SILENT,
) -> GridScores:  # fmt: skip
    """The pictures at `paths`, which are those of the grid's cells, and the effect of each value;
    without a panel nothing."""
    if panel is None:
        return GridScores()
    settings = [cell.setting for cell in grid.cells]
    plain = [plain_prompt(one.prompt, subject) for one in settings]
    scores = panel.scores(paths, plain, tell=tell)
    groups = [(one.prompt, one.seed) for one in settings]
    found = {}
    for letter, axis in grid.used.items():
        places = [cell.places["zyx".index(letter)] for cell in grid.cells]
        found[axis.name] = effects(axis, places, scores, groups)
    return GridScores(panel.words, scores, found, len(set(groups)))


def effects(
    axis: Axis, places: Sequence[int], scores: Scores, groups: Sequence[Hashable]
) -> list[Effect]:
    """An effect for each value of the axis.

    places: each picture's value on it; groups: what pictures share that hang together, such as
    prompt and seed. Pictures that differ on this axis only stand in the same order.
    """
    having: list[list[int]] = [[] for _ in axis.values]
    for i, place in enumerate(places):
        having[place].append(i)
    found = []
    for value, mine in zip(axis.values, having, strict=True):
        own = [groups[i] for i in mine]
        means, gains = {}, {}
        for name, numbers in scores.items():
            means[name] = clustered([numbers[i] for i in mine], own)
            # How near texts are to pictures differs from text to text, whatever is shown.
            if mine is not having[0] and (axis.name, name) != ("prompt", "clip_t"):
                pairs = zip(having[0], mine, strict=True)
                gains[name] = clustered([numbers[b] - numbers[a] for a, b in pairs], own)
        found.append(Effect(value.shown, value.title, means, gains))
    return found
