"""`kaiffin choose`: which of a run's checkpoints, with reasons.

Each adapter that the training kept makes the same pictures on the same seeds; judges score them
against the prompts, the photos and the base; one is recommended, or it is said that they cannot be
told apart. All of it is written to choice.json, where the report reads it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from PIL import Image

from kaiffin.adapters.load import was_trained_on
from kaiffin.data.images import open_photo
from kaiffin.foundation.errors import RunError
from kaiffin.foundation.folder import file_sha256
from kaiffin.foundation.notebook import Shown
from kaiffin.foundation.run import Run
from kaiffin.foundation.runtime import Runtime, contained
from kaiffin.foundation.settings import changed
from kaiffin.foundation.sheets import sheet
from kaiffin.foundation.tell import SILENT, Tell
from kaiffin.foundation.text import counted
from kaiffin.foundation.whereabouts import base_now
from kaiffin.models.base import ModelFamily
from kaiffin.models.files.load import load_base
from kaiffin.pictures.few import few_steps
from kaiffin.pictures.recipe import save_png
from kaiffin.pictures.request import remarks
from kaiffin.score import selection
from kaiffin.score.catalogue import SUBJECT
from kaiffin.score.choice import Choice, Rival, Stop, means_of
from kaiffin.score.gallery import Gallery
from kaiffin.score.panel import Panel, measure, panel_of
from kaiffin.score.photos import captions
from kaiffin.score.questions import PromptSet, ask
from kaiffin.score.statistics import Interval, smooth

Candidate = tuple[int, Path]  # step and adapter


@dataclass(frozen=True)
class Advice(Shown):
    """The checkpoint to use, and why. adapter: a copy of the chosen candidate; sheet: a page of
    the base's and every candidate's pictures (PNG); all of it lies in the folder `run`."""

    run: Path
    choice: Choice
    adapter: Path
    sheet: Path


@contained()
def choose(
    path: Path, *, changes: Mapping[str, Any] | None = None, budget: float | None = None,
    batch_size: int = 8, tell: Tell = SILENT,
) -> Advice:  # fmt: skip
    """Makes the pictures, scores them, recommends, and writes choice.json and best.safetensors.

    changes: of `score` and `sample` in the run's config; budget: seconds that making pictures may
    take. Raises RunError for a run without candidates, PhotoError without photos to compare with,
    ConfigError where no judge is named for a real base.
    """
    run = Run.open(path)
    config = base_now(run, changed(run.config, **(changes or {})), changes or (), tell)
    config, few = few_steps(config, changes, tell=tell)
    candidates = run.candidates()
    if not candidates:
        raise RunError(
            f"{path}: holds no candidates to choose from.",
            "Train it further with `kaiffin resume`, or anew: every training keeps some.",
        )
    panel = panel_of([run], config, tell=tell)
    family = load_base(config.base, Runtime.from_config(config.base), tell)
    if not all(was_trained_on(path, family) for _, path in candidates):
        tell.note(
            f"note: {run.path} was trained on other weights than {family.base} has: it is judged on"
            " these"
        )
    with run.lock("choose.lock"):  # a training may go on meanwhile
        started = time.time()
        asked = ask(config, family, captions(run), config.score.seeds)
        for remark in remarks(asked.requests):
            tell.note(remark)
        gallery = Gallery(run.evaluation, family, few)
        asked, candidates = _within(budget, gallery, asked, candidates, batch_size, tell)
        _make(gallery, asked, candidates, batch_size, tell)
        pictures = len(asked.requests) * (len(candidates) + 1)
        choice = weigh(run, gallery, asked, candidates, panel)
        seconds = round(time.time() - started, 1)
        return _write(run, replace(choice, cost={"pictures": pictures, "seconds": seconds}))


def promising(
    run: Run, family: ModelFamily, *, since: int, until: int, batch_size: int = 8,
    tell: Tell = SILENT,
) -> bool:  # fmt: skip
    """Whether a training is to go on: False once `score.early_stop` candidates after the best one
    came no further.

    since, until: the steps whose candidates count (an interrupted run may hold later ones). The
    pictures and scores are those of `choose`, which finds them made; the caller holds the lock.
    """
    candidates = [(step, path) for step, path in run.candidates() if since < step <= until]
    config, few = few_steps(run.config, tell=SILENT)
    asked = ask(config, family, captions(run), config.score.seeds)
    gallery = Gallery(run.evaluation, family, few)
    _make(gallery, asked, candidates, batch_size, tell)
    found = weigh(run, gallery, asked, candidates, panel_of([run], run.config, tell=tell))
    tell.note(f"after step {until}: {found.verdict}")
    later = [step for step, _ in candidates if step > found.highest]
    if len(later) < run.config.score.early_stop:
        return True
    tell.note(
        f"stopping: {counted(len(later), 'candidate')} after step {found.highest} came no further"
    )
    return False


# --- pictures -----------------------------------------------------------------------------------


def _within(
    budget: float | None, gallery: Gallery, asked: PromptSet, candidates: list[Candidate],
    batch_size: int, tell: Tell,
) -> tuple[PromptSet, list[Candidate]]:  # fmt: skip
    """The evaluation as it fits into `budget` seconds: fewer seeds first, then fewer candidates.

    The time of a picture is that of the base's first ones, which are made for it. The first seed
    and the last candidate always stay.
    """
    todo = gallery.todo(_files(candidates), asked)
    tell.note(
        f"{counted(len(candidates), 'candidate')} and the base,"
        f" {counted(len(asked.requests), 'picture')} each"
        f" ({counted(len(asked.prompts), 'prompt')}, {counted(len(asked.seeds), 'seed')});"
        f" still to be made: {todo}"
    )
    if not todo:
        return asked, candidates
    started = time.time()
    first = asked.first(batch_size)
    new = len(gallery.missing(None, first))
    gallery.make(None, first, lambda _: None, batch_size)
    each = (time.time() - started) / new if new else 0.0
    if each:
        tell.note(f"about {each:.2f} s a picture: {each * todo / 60:.1f} min")
    if budget is None or each * todo <= budget:
        return asked, candidates
    while each * gallery.todo(_files(candidates), asked) > budget and len(asked.seeds) > 1:
        asked = asked.with_seeds(len(asked.seeds) - 1)
    while each * gallery.todo(_files(candidates), asked) > budget and len(candidates) > 1:
        candidates = candidates[::-2][::-1]
    tell.note(
        f"--budget leaves {counted(len(asked.seeds), 'seed')} and"
        f" {counted(len(candidates), 'candidate')}:"
        f" {each * gallery.todo(_files(candidates), asked) / 60:.1f} min"
    )
    return asked, candidates


def _files(candidates: Sequence[Candidate]) -> list[Path | None]:
    """The base and the candidates, as the gallery takes them."""
    return [None, *(path for _, path in candidates)]


def _make(
    gallery: Gallery, asked: PromptSet, candidates: Sequence[Candidate], batch_size: int, tell: Tell
) -> None:
    total = gallery.todo(_files(candidates), asked)
    with tell.progress("pictures", total) as progress:
        for file in _files(candidates):
            gallery.make(file, asked, progress.advance, batch_size)


# --- scores and choice --------------------------------------------------------------------------


def weigh(
    run: Run, gallery: Gallery, asked: PromptSet, candidates: Sequence[Candidate], panel: Panel
) -> Choice:
    """The pictures of each candidate scored, and one recommended."""
    base = measure(gallery, None, asked, panel)
    measured = [measure(gallery, path, asked, panel, base) for _, path in candidates]
    steps = [step for step, _ in candidates]
    found = selection.recommend([one.overall for one in measured], base.groups)
    against = None
    if found.against is not None and found.difference is not None:
        against = Rival(steps[found.against], found.difference)
    losses = _losses(run)
    stops = tuple(
        one.stop(step, path.relative_to(run.path).as_posix(), file_sha256(path), losses.get(step))
        for (step, path), one in zip(candidates, measured, strict=True)
    )
    return Choice(
        **panel.facts,
        prompts=asked.prompts,
        seeds=asked.seeds,
        base=Stop(0, tuple(base.paths), tuple(base.rows), means_of(base.rows)),
        candidates=stops,
        chosen=steps[found.chosen],
        highest=steps[found.highest],
        verdict=selection.verdict(found, steps),
        sample=asked.sample | gallery.few.facts,
        pareto=tuple(steps[i] for i in selection.pareto([_point(one.means) for one in measured])),
        against=against,
        findings=tuple(selection.findings(steps, [one.means for one in measured])),
    )


def _point(averages: Mapping[str, Interval]) -> selection.Point:
    drift = averages["drift"].mean if "drift" in averages else 0.0
    return (averages["likeness"].mean, averages["prompt_share"].mean, -drift)


def _losses(run: Run) -> dict[int, float]:
    """The smoothed loss after each step."""
    metrics = run.metrics()
    return dict(
        zip([m["step"] for m in metrics], smooth([m["loss"] for m in metrics]), strict=True)
    )


# --- what is kept of it -------------------------------------------------------------------------


def _write(run: Run, choice: Choice) -> Advice:
    """choice.json, best.safetensors and choice.png."""
    best = run.write(run.best_path.name, (run.path / choice.best.adapter).read_bytes())
    run.write_json(run.choice_path.name, choice.as_json(run.path))
    page = run.choice_path.with_suffix(".png")
    save_png(_page(choice), page)
    return Advice(run.path, choice, best, page)


def _page(choice: Choice) -> Image.Image:
    """A row for each prompt of the subject, a column for the base and each candidate."""
    titles = [
        stop.label + (" (chosen)" if stop.step == choice.chosen else "") for stop in choice.stops
    ]
    images, labels = [], []
    for number, prompt in enumerate(choice.prompts):
        if prompt.section not in SUBJECT:
            continue
        paths = [stop.pictures[number * len(choice.seeds)] for stop in choice.stops]
        images += [open_photo(path).image for path in paths if path]
        labels += [prompt.text] * len(paths)
    return sheet(
        images, labels, columns=len(choice.stops), column_titles=titles, title=choice.verdict
    )
