"""How the trials of a sweep stand: each against the first, over all training seeds.

Pictures of one training hang together, so what counts is each training's mean, and intervals are
Student's over trainings; with one training seed they are drawn over prompts, and say nothing of
what another seed would have changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from kaiffin.data.images import open_photo
from kaiffin.experiments.sweep.trials import SweepFile, Trial
from kaiffin.foundation.run import Run
from kaiffin.foundation.subject import fill, plain_prompt
from kaiffin.score import measures
from kaiffin.score.panel import Panel
from kaiffin.score.photos import Photos, subject_photos
from kaiffin.score.statistics import Interval, clustered, student

MEASURED = ("clip_t", "win", "identity", "copy")  # of `score.catalogue`
Scores = dict[str, list[float]]  # by measure, one for each picture


@dataclass(frozen=True)
class Standing:
    """A trial over its training seeds: means by measure, and differences from the first trial."""

    name: str
    seeds: int
    means: dict[str, Interval]
    against: dict[str, Interval]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def scores(trial: Trial, paths: Sequence[Path], file: SweepFile, run: Run, panel: Panel) -> Scores:
    """The measures of a trial's pictures; those against photos only where the photos are there."""
    images = [open_photo(path).image for path in paths]
    plain = [
        plain_prompt(fill(p, trial.config.subject), trial.config.subject) for p in file.prompts
    ]
    own = [i for i in range(len(plain)) for _ in range(file.count)]
    seen, texts = panel.prompt.embed_images(images), panel.prompt.embed_texts(plain)
    found = {
        "clip_t": measures.clip_t(seen, texts[own]).tolist(),
        "win": measures.wins(seen, texts, own).tolist(),
    }
    photos = panel.against(Photos(subject_photos([run]).trained)).references
    if photos:
        found["identity"] = photos.identity(panel.identity.embed_images(images)).tolist()
        layouts = torch.stack([measures.layout(image) for image in images])
        found["copy"] = measures.is_copy(layouts, photos.layouts).float().tolist()
    return found


def standings(trials: Sequence[Trial], found: Mapping[str, Scores], count: int) -> list[Standing]:
    """One for each name, in order. found: scores by trial label; count: pictures of a prompt.

    Differences are in pairs: the same training seed, prompt and picture seed in both.
    """
    names = list(dict.fromkeys(trial.name for trial in trials))
    by_seed = {name: {t.seed: found[t.label] for t in trials if t.name == name} for name in names}
    made = []
    for name in names:
        own, first = by_seed[name], by_seed[names[0]]
        means = {
            m: _pooled({seed: s[m] for seed, s in own.items() if m in s}, count) for m in MEASURED
        }
        gaps = {
            m: _pooled(
                {
                    seed: [b - a for a, b in zip(first[seed][m], s[m], strict=True)]
                    for seed, s in own.items()
                    if seed in first and m in s and m in first[seed]
                },
                count,
            )
            for m in MEASURED
            if name != names[0]
        }
        made.append(Standing(name, len(own), _known(means), _known(gaps)))
    return made


def _pooled(by_seed: Mapping[int, Sequence[float]], count: int) -> Interval | None:
    """The mean over trainings, or over the prompts of the only one."""
    if not by_seed:
        return None
    if len(by_seed) == 1:
        values = next(iter(by_seed.values()))
        return clustered(values, [place // count for place in range(len(values))])
    pairs = [(seed, value) for seed, values in by_seed.items() for value in values]
    return student([value for _, value in pairs], [seed for seed, _ in pairs])


def _known(found: Mapping[str, Interval | None]) -> dict[str, Interval]:
    return {name: value for name, value in found.items() if value is not None}


def drawn(made: Sequence[Standing]) -> str:
    """What the intervals are drawn over, in words."""
    if max(one.seeds for one in made) > 1:
        return "over training seeds (Student's)"
    return "over prompts; another training seed may change as much"
