"""`kaiffin choose`: which of a run's checkpoints, with reasons.

Each adapter that the training kept makes the same pictures on the same seeds; judges score them
against the prompts, the photos and the base; one is recommended, or it is said that they cannot be
told apart. All of it is written to choice.json, where the report reads it. Of several subjects each
is scored by itself, and the adapter is chosen that is best for all of them together.
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
from kaiffin.foundation.config import Config
from kaiffin.foundation.errors import ConfigError, RunError
from kaiffin.foundation.folder import file_sha256
from kaiffin.foundation.notebook import Shown
from kaiffin.foundation.run import Run
from kaiffin.foundation.runtime import Runtime, contained
from kaiffin.foundation.settings import changed
from kaiffin.foundation.several import by_subject
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
from kaiffin.score.panel import Measurement, Panel, measure, panel_of
from kaiffin.score.photos import captions
from kaiffin.score.questions import PromptSet, ask
from kaiffin.score.selection import Recommendation
from kaiffin.score.statistics import Interval, smooth

Candidate = tuple[int, Path]  # step and adapter


@dataclass(frozen=True)
class Advice(Shown):
    """The checkpoint to use, and why. adapter: a copy of the chosen candidate; sheet: a page of
    the base's and every candidate's pictures (PNG); others: of further subjects, with the same
    checkpoint; subjects: of whom each choice is; all of it lies in the folder `run`."""

    run: Path
    choice: Choice
    adapter: Path
    sheet: Path
    others: tuple[Choice, ...] = ()
    subjects: tuple[str, ...] = ()


@dataclass(frozen=True)
class Question:
    """What is asked of one subject, and who judges it."""

    run: Run
    asked: PromptSet
    panel: Panel


@contained()
def choose(
    path: Path, *, changes: Mapping[str, Any] | None = None, budget: float | None = None,
    batch_size: int = 8, tell: Tell = SILENT,
) -> Advice:  # fmt: skip
    """Makes the pictures, scores them, recommends, and writes choice.json and best.safetensors.

    changes: of `score` and `sample` in the run's config; budget: seconds that making pictures may
    take. Raises RunError for a run without candidates, PhotoError without photos to compare with,
    ConfigError where no judge is named for a real base, or photos to judge several subjects by.
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
    panels = _panels(run, config, tell)
    family = load_base(config.base, Runtime.from_config(config.base), tell)
    if not all(was_trained_on(path, family) for _, path in candidates):
        tell.note(
            f"note: {run.path} was trained on other weights than {family.base} has: it is judged on"
            " these"
        )
    with run.lock("choose.lock"):  # a training may go on meanwhile
        started = time.time()
        questions = _questions(run, config, panels, family)
        for remark in remarks([one for each in questions for one in each.asked.requests]):
            tell.note(remark)
        gallery = Gallery(run.evaluation, family, few)
        questions, candidates = _within(budget, gallery, questions, candidates, batch_size, tell)
        _make(gallery, questions, candidates, batch_size, tell)
        choices = weigh(questions, gallery, candidates)
        pictures = sum(len(one.asked.requests) for one in questions) * (len(candidates) + 1)
        cost = {"pictures": pictures, "seconds": round(time.time() - started, 1)}
        return _write(run, [replace(choice, cost=cost) for choice in choices])


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
    panels = _panels(run, run.config, tell)
    questions = _questions(run, config, panels, family)
    gallery = Gallery(run.evaluation, family, few)
    _make(gallery, questions, candidates, batch_size, tell)
    found = weigh(questions, gallery, candidates)[0]
    tell.note(f"after step {until}: {found.verdict}")
    later = [step for step, _ in candidates if step > found.highest]
    if len(later) < run.config.score.early_stop:
        return True
    tell.note(
        f"stopping: {counted(len(later), 'candidate')} after step {found.highest} came no further"
    )
    return False


def _panels(run: Run, config: Config, tell: Tell) -> list[Panel]:
    """The judges before the photos of each subject."""
    like = config.score.like
    if like and len(config.subjects) > 1:
        raise ConfigError(
            f"--like {like} shows one subject, and {run.path} has several.",
            "Leave it out; data.hold_out keeps photos of each to judge by.",
        )
    return [panel_of([own], config, tell=tell) for own in run.by_subject()]


def _questions(
    run: Run, config: Config, panels: Sequence[Panel], family: ModelFamily
) -> list[Question]:
    """One for each subject. config: the run's, as its pictures are to be made."""
    return [
        Question(own, ask(each, family, captions(own), each.score.seeds), panel)
        for own, each, panel in zip(run.by_subject(), by_subject(config), panels, strict=True)
    ]


# --- pictures -----------------------------------------------------------------------------------


def _within(
    budget: float | None, gallery: Gallery, questions: list[Question],
    candidates: list[Candidate], batch_size: int, tell: Tell,
) -> tuple[list[Question], list[Candidate]]:  # fmt: skip
    """The evaluation as it fits into `budget` seconds: fewer seeds first, then fewer candidates.

    The time of a picture is that of the base's first ones, which are made for it. The first seed
    and the last candidate always stay.
    """
    todo, first = _todo(gallery, questions, candidates), questions[0].asked
    prompts = sum(len(one.asked.prompts) for one in questions)
    tell.note(
        f"{counted(len(candidates), 'candidate')} and the base,"
        f" {counted(prompts * len(first.seeds), 'picture')} each"
        f" ({counted(prompts, 'prompt')}, {counted(len(first.seeds), 'seed')});"
        f" still to be made: {todo}"
    )
    if not todo:
        return questions, candidates
    started = time.time()
    first = first.first(batch_size)
    new = len(gallery.missing(None, first))
    gallery.make(None, first, lambda _: None, batch_size)
    each = (time.time() - started) / new if new else 0.0
    if each:
        tell.note(f"about {each:.2f} s a picture: {each * todo / 60:.1f} min")
    if budget is None or each * todo <= budget:
        return questions, candidates
    seeds = len(first.seeds)
    while each * _todo(gallery, questions, candidates) > budget and seeds > 1:
        seeds -= 1
        questions = [replace(one, asked=one.asked.with_seeds(seeds)) for one in questions]
    while each * _todo(gallery, questions, candidates) > budget and len(candidates) > 1:
        candidates = candidates[::-2][::-1]
    tell.note(
        f"--budget leaves {counted(seeds, 'seed')} and {counted(len(candidates), 'candidate')}:"
        f" {each * _todo(gallery, questions, candidates) / 60:.1f} min"
    )
    return questions, candidates


def _todo(gallery: Gallery, questions: Sequence[Question], candidates: Sequence[Candidate]) -> int:
    """Pictures that are still to be made."""
    return sum(gallery.todo(_files(candidates), one.asked) for one in questions)


def _files(candidates: Sequence[Candidate]) -> list[Path | None]:
    """The base and the candidates, as the gallery takes them."""
    return [None, *(path for _, path in candidates)]


def _make(
    gallery: Gallery, questions: Sequence[Question], candidates: Sequence[Candidate],
    batch_size: int, tell: Tell,
) -> None:  # fmt: skip
    with tell.progress("pictures", _todo(gallery, questions, candidates)) as progress:
        for file in _files(candidates):
            for one in questions:
                gallery.make(file, one.asked, progress.advance, batch_size)


# --- scores and choice --------------------------------------------------------------------------


def weigh(
    questions: Sequence[Question], gallery: Gallery, candidates: Sequence[Candidate]
) -> list[Choice]:
    """The pictures of each candidate scored, of each subject by itself, and one candidate
    recommended by the pictures of all."""
    bases = [measure(gallery, None, one.asked, one.panel) for one in questions]
    measured = [
        [measure(gallery, path, one.asked, one.panel, base) for _, path in candidates]
        for one, base in zip(questions, bases, strict=True)
    ]
    values = [[x for one in each for x in one.overall] for each in zip(*measured, strict=True)]
    found = selection.recommend(values, _groups(questions, bases))
    return [
        _choice(one, gallery, candidates, [base, *own], found)
        for one, base, own in zip(questions, bases, measured, strict=True)
    ]


def _groups(questions: Sequence[Question], bases: Sequence[Measurement]) -> list[int]:
    """The prompt of each picture of a subject, all prompts being counted."""
    groups, before = list[int](), 0
    for one, base in zip(questions, bases, strict=True):
        groups += [before + group for group in base.groups]
        before += len(one.asked.prompts)
    return groups


def _choice(
    question: Question, gallery: Gallery, candidates: Sequence[Candidate],
    measured: Sequence[Measurement], found: Recommendation,
) -> Choice:  # fmt: skip
    """measured: of the base and each candidate; found: what is recommended, for all subjects."""
    run, (base, *measured) = question.run, measured
    steps = [step for step, _ in candidates]
    findings = selection.findings(steps, [one.means for one in measured])
    if run.config.subjects:
        alone = selection.recommend([one.overall for one in measured], base.groups)
        name = run.config.subject.phrase
        findings.append(f"of {name} alone: {selection.verdict(alone, steps)}")
    against = None
    if found.against is not None and found.difference is not None:
        against = Rival(steps[found.against], found.difference)
    losses = _losses(run)
    stops = tuple(
        one.stop(step, path.relative_to(run.path).as_posix(), file_sha256(path), losses.get(step))
        for (step, path), one in zip(candidates, measured, strict=True)
    )
    return Choice(
        **question.panel.facts,
        prompts=question.asked.prompts,
        seeds=question.asked.seeds,
        base=Stop(0, tuple(base.paths), tuple(base.rows), means_of(base.rows)),
        candidates=stops,
        chosen=steps[found.chosen],
        highest=steps[found.highest],
        verdict=selection.verdict(found, steps),
        sample=question.asked.sample | gallery.few.facts,
        pareto=tuple(steps[i] for i in selection.pareto([_point(one.means) for one in measured])),
        against=against,
        findings=tuple(findings),
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


def _write(run: Run, choices: Sequence[Choice]) -> Advice:
    """choice.json and choice.png of each subject, and best.safetensors."""
    first, *others = choices
    best = run.write(run.best_path.name, (run.path / first.best.adapter).read_bytes())
    for own, choice in zip(run.by_subject(), choices, strict=True):
        run.write_json(own.choice_path.name, choice.as_json(run.path))
        save_png(_page(choice), own.choice_path.with_suffix(".png"))
    page = run.choice_path.with_suffix(".png")
    names = tuple(one.phrase for one in run.config.everyone)
    return Advice(run.path, first, best, page, tuple(others), names)


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
