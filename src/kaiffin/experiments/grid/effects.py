"""How the pictures of a grid score, and what each value of an axis does to the scores.

A value's mean is over all pictures that have it. Its difference from the first value of the axis is
over pairs of pictures that have all else equal. Intervals are drawn over prompts and seeds.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from kaiffin.experiments.grid.axes import Axis, Grid
from kaiffin.foundation.config import Config, SubjectConfig
from kaiffin.foundation.run import Run
from kaiffin.foundation.subject import plain_prompt
from kaiffin.foundation.tell import VOICE, console
from kaiffin.score.judge import judge_of
from kaiffin.score.panel import Panel, open_panel
from kaiffin.score.photos import subject_photos
from kaiffin.score.statistics import Interval, clustered

MEASURES = {"clip_t": "CLIP-T, the prompt", "clip_i": "CLIP-I, the photos"}
SEEN = 64  # pictures that a judge is given at once
ROWS, WIDE = 20, 24  # values of an axis that are printed, and letters of each

Scores = Mapping[str, Sequence[float]]  # by measure, a number for each picture


@dataclass(frozen=True)
class Effect:
    """What one value of an axis does, by measure; the first value has nothing to go against."""

    value: str | int | float
    title: str
    mean: Mapping[str, Interval]
    against_first: Mapping[str, Interval]


@dataclass(frozen=True)
class Judged:
    """scores: of each picture; effects: by axis, one for each value; groups: how many pairs of
    prompt and seed there are."""

    jury: Panel | None
    scores: Scores
    effects: Mapping[str, Sequence[Effect]]
    groups: int = 0


def open_jury(of: Run | None, config: Config, prompts: Sequence[str]) -> Panel | None:
    """The judges that the config names, shown every prompt; None where it names none.

    Loaded before pictures are made: that a judge is missing, or reads no text, must not be found
    out after an hour.
    """
    if judge_of(config) is None:
        console.print(f"note: no scores, since no --judge is named for {config.base.name}")
        return None
    panel = open_panel(config, subject_photos([of] if of else [], config.score.like))
    return panel.shown([plain_prompt(text, config.subject) for text in prompts], tell=VOICE)


def judge(jury: Panel | None, subject: SubjectConfig, grid: Grid, paths: Sequence[Path]) -> Judged:
    """The pictures at `paths`, which are those of the grid's cells, and the effect of each value;
    without a jury nothing."""
    if jury is None:
        return Judged(None, {}, {})
    settings = [cell.setting for cell in grid.cells]
    plain = [plain_prompt(one.prompt, subject) for one in settings]
    scores = jury.scores(paths, plain)
    groups = [(one.prompt, one.seed) for one in settings]
    found = {}
    for letter, axis in grid.used.items():
        places = [cell.places["zyx".index(letter)] for cell in grid.cells]
        found[axis.name] = effects(axis, places, scores, groups)
    return Judged(jury, scores, found, len(set(groups)))


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


def say(judged: Judged) -> None:
    """A table for each measure: the mean of each value, and its difference from the first."""
    if judged.jury is None:
        return
    console.print(judged.jury.words)
    for name in judged.scores:
        table = Table(MEASURES[name], "n", "mean", "against the first", box=None)
        for rows in judged.effects.values():
            for row in rows[:ROWS]:
                table.add_row(*_row(row, name))
            if len(rows) > ROWS:
                table.add_row(f"and {len(rows) - ROWS} more")
        console.print(table)
    if judged.groups == 1:
        console.print(
            "95 % intervals over settings alone: with one prompt and seed they say nothing of"
            " others; -n 8 makes more"
        )
    else:
        console.print("95 % intervals over prompts and seeds; too narrow for less than ten of them")


def _row(row: Effect, measure: str) -> list[str]:
    name = row.title if len(row.title) <= WIDE else f"{row.title[: WIDE - 2]} …"
    own, gain = row.mean[measure], row.against_first.get(measure)
    shown = f"{own.mean:.3f} [{own.low:.3f}, {own.high:.3f}]"
    more = f"{gain.mean:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]" if gain else ""
    return [escape(name), str(own.n), shown, more]
