"""`kaiffin compare`: what differs between runs, and whether it shows in their pictures.

All runs make the same prompts on the same seeds, one judge scores them against the same photos, and
each is compared with the first in pairs: better, worse, or no difference that these pictures show.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from PIL import Image

from kaiffin.experiments.report.evidence import read
from kaiffin.experiments.report.page import write
from kaiffin.foundation.config import Config
from kaiffin.foundation.errors import RunError
from kaiffin.foundation.folder import read_json, write_bytes
from kaiffin.foundation.notebook import Shown
from kaiffin.foundation.run import Run
from kaiffin.foundation.runtime import Runtime, contained
from kaiffin.foundation.settings import changed, flat
from kaiffin.foundation.sheets import sheet
from kaiffin.foundation.tell import SILENT, Tell
from kaiffin.foundation.text import counted, first_few, same
from kaiffin.foundation.whereabouts import base_now
from kaiffin.models.files.load import load_base
from kaiffin.pictures.few import Few, few_steps
from kaiffin.pictures.recipe import save_png
from kaiffin.pictures.request import remarks
from kaiffin.score.catalogue import MEASURES, SUBJECT
from kaiffin.score.choice import VERSION, Choice
from kaiffin.score.gallery import Gallery
from kaiffin.score.panel import Measurement, Panel, measure, panel_of
from kaiffin.score.photos import captions
from kaiffin.score.questions import PromptSet, ask
from kaiffin.score.statistics import Interval, clustered
from kaiffin.score.table import diversity
from kaiffin.stories.report import runs_in

# Of these more is better, or less.
COMPARED = tuple(name for name, one in MEASURES.items() if one.better and name != "overall")
NOTE = (
    "one training each: what another training seed would change is not in these intervals"
    " (`kaiffin sweep` trains several)"
)


@dataclass(frozen=True)
class Contender:
    """A run with the adapter that stands for it, and what it is asked; few: what few steps add."""

    run: Run
    config: Config
    step: int
    adapter: Path
    few: Few

    @property
    def name(self) -> str:
        return self.run.path.resolve().name


@dataclass(frozen=True)
class Difference:
    """What one measure of a run rose by against the first, in pairs of prompt and seed; verdict:
    `better`, `worse` or `no difference`."""

    interval: Interval
    verdict: str


@dataclass(frozen=True)
class Comparison(Shown):
    """Runs side by side.

    choices: of each run, its adapter as the only candidate, all judged alike; settings: those that
    differ, with each run's value; photos: in words, what differs in them; differences: of each run
    after the first, by measure. numbers, sheet, page: comparison.json, comparison.png, report.html.
    """

    names: tuple[str, ...]
    choices: tuple[Choice, ...]
    settings: Mapping[str, Sequence[Any]]
    photos: tuple[str, ...]
    differences: tuple[Mapping[str, Difference], ...]
    numbers: Path
    sheet: Path
    page: Path
    note: str = NOTE


@contained()
def compare(
    paths: Sequence[Path], out: Path, *, changes: Mapping[str, Any] | None = None,
    last: bool = False, subject: str | None = None, batch_size: int = 8, tell: Tell = SILENT,
) -> Comparison:  # fmt: skip
    """Makes the pictures, scores them in pairs with the first run's, and writes comparison.json,
    comparison.png and report.html into `out`.

    changes: of `score` and `sample`, in all runs; last: the last adapter of each, even where
    `kaiffin choose` recommends another; subject: the word of the one that is compared, where a run
    has several; default: the first of each. Raises RunError for runs that cannot be compared, and
    as `choose` does.
    """
    runs = [_of(run, subject) for path in paths for run in runs_in(path)]
    contenders = [_contender(run, changes or {}, last, tell) for run in runs]
    _refuse_twins(contenders)
    panel = panel_of(runs, contenders[0].config, tell=tell)
    outcomes = _picture_all(contenders, panel, batch_size, tell)
    pairs = list(zip(contenders, outcomes, strict=True))
    found = Comparison(
        names=tuple(one.name for one in contenders),
        choices=tuple(_choice(*pair, panel) for pair in pairs),
        settings=config_differences([one.run.config for one in contenders]),
        photos=tuple(data_differences(contenders)),
        differences=tuple(differences(outcomes[0].own, other.own) for other in outcomes[1:]),
        numbers=out / "comparison.json",
        sheet=out / "comparison.png",
        page=out / "report.html",
    )
    evidence = [replace(read(one.run), choice=choice)
                for one, choice in zip(contenders, found.choices, strict=True)]  # fmt: skip
    write(evidence, found.page)
    facts = json.dumps(_facts(found, contenders), indent=1) + "\n"
    write_bytes(found.numbers, facts.encode())
    save_png(_page(contenders, outcomes), found.sheet)
    return found


# --- what is compared ---------------------------------------------------------------------------


def _of(run: Run, word: str | None) -> Run:
    """The run as it is of the subject with this word."""
    known = {same(own.config.subject.token): own for own in run.by_subject()}
    if word is not None and same(word) not in known:
        words = ", ".join(one.token for one in run.config.everyone)
        raise RunError(f"{run.path}: has no subject {word!r}.", f"It has: {words}.")
    return known[same(word)] if word else run


def _contender(run: Run, changes: Mapping[str, Any], last: bool, tell: Tell) -> Contender:
    config = base_now(run, changed(run.config, **changes), changes, tell)
    config, few = few_steps(config, changes, tell=tell)
    chosen = read_json(run.choice_path).get("chosen") if run.best_path.is_file() else None
    if chosen is not None and not last:
        return Contender(run, config, chosen, run.best_path, few)
    if not run.finished:
        raise RunError(f"{run.path}: is not finished.", f"Run `kaiffin resume {run.path}` first.")
    return Contender(run, config, read(run).step, run.adapter_path, few)


def _refuse_twins(contenders: Sequence[Contender]) -> None:
    if len(contenders) < 2:
        raise RunError("one run alone cannot be compared.", "Name two or more run folders.")
    places = [one.run.path.resolve() for one in contenders]
    twice = [place for place in places if places.count(place) > 1]
    if twice:
        raise RunError(f"{twice[0]}: is named twice.", "Name different runs.")


@dataclass(frozen=True)
class Outcome:
    """What a run was asked, and its base's and its own pictures of it, measured."""

    asked: PromptSet
    base: Measurement
    own: Measurement


def _picture_all(
    contenders: Sequence[Contender], panel: Panel, batch_size: int, tell: Tell
) -> list[Outcome]:
    """Every run's pictures, made where they are missing, and scored beside its own base's."""
    known = [caption for one in contenders for caption in captions(one.run)]
    found: list[Outcome] = []
    said: set[str] = set()
    for one in contenders:
        family = load_base(one.config.base, Runtime.from_config(one.config.base), tell)
        asked = ask(one.config, family, known, one.config.score.seeds)
        if found and [p.plain for p in asked.prompts] != [p.plain for p in found[0].asked.prompts]:
            first = contenders[0]
            raise RunError(
                f"{first.run.path} and {one.run.path} cannot be compared: their pictures show other"
                f" things ({first.config.subject.noun!r}, {one.config.subject.noun!r}).",
                "Give a list of prompts that suits both with --prompts, or compare other runs.",
            )
        for remark in remarks(asked.requests):
            if remark not in said:
                tell.note(remark)
            said.add(remark)
        gallery = Gallery(one.run.evaluation, family, one.few)
        files = [None, one.adapter]
        todo = gallery.todo(files, asked)
        tell.note(f"{one.name}: {counted(len(asked.requests), 'picture')}, {todo} still to be made")
        with tell.progress(one.name, todo) as progress:
            for file in files:
                gallery.make(file, asked, progress.advance, batch_size)
        base = measure(gallery, None, asked, panel)
        found.append(Outcome(asked, base, measure(gallery, one.adapter, asked, panel, base)))
    return found


def _choice(one: Contender, outcome: Outcome, panel: Panel) -> Choice:
    """The run, judged as all of them are: its adapter as the only candidate."""
    return Choice(
        **panel.facts,
        prompts=outcome.asked.prompts,
        seeds=outcome.asked.seeds,
        base=outcome.base.stop(),
        candidates=(outcome.own.stop(one.step, one.adapter.name),),
        chosen=one.step,
        highest=one.step,
        verdict=f"step {one.step} stands for this run",
        sample=outcome.asked.sample | one.few.facts,
    )


# --- what differs -------------------------------------------------------------------------------


def config_differences(given: Sequence[Config]) -> dict[str, list[Any]]:
    """Settings that are not equal in all, with the value of each run."""
    settings = [flat(config) for config in given]
    names = dict.fromkeys(name for values in settings for name in values)
    rows = {name: [values.get(name) for values in settings] for name in names}
    return {name: row for name, row in rows.items() if any(value != row[0] for value in row)}


def data_differences(contenders: Sequence[Contender]) -> list[str]:
    """In words: photos that not all runs were trained on."""
    photos = []
    for one in contenders:
        listed = read_json(one.run.photos_manifest).get("photos", [])
        photos.append({p["sha256"]: p["file"] for p in listed if not p.get("held_out")})
    shared = set.intersection(*(set(own) for own in photos))
    if all(len(own) == len(shared) for own in photos):
        return [f"the same {counted(len(shared), 'photo')}"]
    said = [f"{counted(len(shared), 'photo is', 'photos are')} in all of them"]
    for one, own in zip(contenders, photos, strict=True):
        more = sorted(name for sha, name in own.items() if sha not in shared)
        if more:
            said.append(f"{one.name}: {len(more):,} more ({first_few(more, 5)})")
    return said


def differences(first: Measurement, other: Measurement) -> dict[str, Difference]:
    """Each measure of `other` less that of `first`, in pairs of (prompt, seed), with a verdict."""
    found = {}
    for name in COMPARED:
        pairs = _pairs(name, first, other)
        if pairs:
            gap = clustered([b - a for _, a, b in pairs], [group for group, _, _ in pairs])
            found[name] = Difference(gap, verdict(name, gap))
    return found


def _pairs(name: str, first: Measurement, other: Measurement) -> list[tuple[int, float, float]]:
    if name == "diversity":
        one, two = (diversity(own.rows, own.embeddings) for own in (first, other))
        return [(prompt, one[prompt], two[prompt]) for prompt in one]
    return [
        (a["prompt"], float(a[name]), float(b[name]))
        for a, b in zip(first.rows, other.rows, strict=True)
        if a[name] is not None
    ]


def verdict(name: str, gap: Interval) -> str:
    """`better`, `worse`, or `no difference` where the interval holds 0."""
    return MEASURES[name].turn(gap) or "no difference"


# --- what is kept of it -------------------------------------------------------------------------


def _facts(found: Comparison, contenders: Sequence[Contender]) -> dict[str, Any]:
    """comparison.json; pictures are named from the folder of their run."""
    every = [
        choice.as_json(one.run.path) for one, choice in zip(contenders, found.choices, strict=True)
    ]
    runs = [
        {"name": one.name, "path": str(one.run.path)} | whole["candidates"][0]
        for one, whole in zip(contenders, every, strict=True)
    ]
    shared = {name: every[0][name] for name in ("judge", "identity_judge", "references", "set")}
    return {
        "version": VERSION,
        **shared,
        "runs": [{k: v for k, v in run.items() if k not in ("sha256", "loss")} for run in runs],
        "config": dict(found.settings),
        "data": list(found.photos),
        "differences": [
            {name: asdict(one.interval) | {"verdict": one.verdict} for name, one in each.items()}
            for each in found.differences
        ],
        "note": found.note,
    }


def _page(contenders: Sequence[Contender], outcomes: Sequence[Outcome]) -> Image.Image:
    """A row for each prompt of the subject, a column for each run, all on the first seed."""
    asked = outcomes[0].asked
    prompts = [i for i, p in enumerate(asked.prompts) if p.section in SUBJECT]
    places = [prompt * len(asked.seeds) for prompt in prompts]
    images = [one.own.embeddings.images[place] for place in places for one in outcomes]
    labels = [one.asked.prompts[prompt].text for prompt in prompts for one in outcomes]
    names = [one.name for one in contenders]
    return sheet(images, labels, columns=len(names), column_titles=names, title="the same seeds")
