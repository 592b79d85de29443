"""Several runs side by side: scores, settings that differ, losses, pictures. Torch-free."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from markupsafe import Markup

from kaiffin.experiments.report import charts
from kaiffin.experiments.report.album import Album, Picture, recipe_facts
from kaiffin.experiments.report.evidence import Evidence
from kaiffin.experiments.report.scorecards import loss_line
from kaiffin.foundation.settings import flat
from kaiffin.foundation.text import counted
from kaiffin.score.catalogue import CHARTED, MEASURES, TOLD, Measure, reading

MOST_ROWS = 24  # of the grid
PromptSeed = tuple[str, int]


@dataclass(frozen=True)
class GridRow:
    """The same prompt and seed in the base and in every run."""

    prompt: str
    seed: int
    cells: Sequence[Picture | None]


@dataclass(frozen=True)
class Overview:
    """scores: (measure, a reading for each run); settings: (name, a value for each run)."""

    runs: Sequence[Evidence]
    names: Sequence[str]
    steps: Sequence[str]
    scores: Sequence[tuple[Measure, Sequence[str]]]
    intervals: Sequence[tuple[Measure, Markup]]
    settings: Sequence[tuple[str, Sequence[str]]]
    ends: Sequence[str]
    curves: Markup | None
    drawn: Sequence[tuple[str, int]]
    columns: Sequence[str]
    grid: Sequence[GridRow]
    grid_notes: Sequence[str]
    unjudged: Sequence[Path]
    warning: str


def overview(runs: Sequence[Evidence], album: Album) -> Overview:
    """Takes the pictures that the runs share into the album."""
    names = _names(runs)
    lines = [loss_line(run) for run in runs]
    drawn = [
        replace(line, name=name, colour=i)
        for i, (name, line) in enumerate(zip(names, lines, strict=True))
        if line
    ]
    columns, grid, notes = _grid(runs, names, album)
    return Overview(
        runs=runs,
        names=names,
        steps=[
            f"{run.choice.chosen} of {run.step}" if run.choice else f"{run.step}, not judged"
            for run in runs
        ],
        scores=_scores(runs),
        intervals=_intervals(runs, names),
        settings=differing(runs),
        ends=[f"{line.even[-1]:.4f}" if line else "" for line in lines],
        curves=charts.loss_chart(drawn) if drawn else None,
        drawn=[(line.name, line.colour) for line in drawn],
        columns=columns,
        grid=grid,
        grid_notes=notes,
        unjudged=[run.run.path for run in runs if not run.choice],
        warning=_judged_alike(runs),
    )


def _names(runs: Sequence[Evidence]) -> list[str]:
    """The folders' names, with the one above where two are called alike."""
    names = [run.name for run in runs]
    return [
        run.name
        if names.count(run.name) == 1
        else f"{run.run.path.resolve().parent.name}/{run.name}"
        for run in runs
    ]


def _scores(runs: Sequence[Evidence]) -> list[tuple[Measure, list[str]]]:
    rows = []
    for name in TOLD:
        found = [run.choice.best.means.get(name) if run.choice else None for run in runs]
        if any(found):
            rows.append((MEASURES[name], [reading(value) if value else "" for value in found]))
    return rows


def _intervals(runs: Sequence[Evidence], names: Sequence[str]) -> list[tuple[Measure, Markup]]:
    """A chart for each score that two runs have."""
    made = []
    for name in CHARTED:
        rows = [
            (label, run.choice.best.means[name], colour)
            for colour, (label, run) in enumerate(zip(names, runs, strict=True))
            if run.choice and name in run.choice.best.means
        ]
        if len(rows) > 1:
            made.append((MEASURES[name], charts.interval_chart(MEASURES[name].title, rows)))
    return made


def differing(runs: Sequence[Evidence]) -> list[tuple[str, list[str]]]:
    """Settings that are not the same in all runs, and each run's value."""
    settings = [flat(run.run.config) for run in runs]
    names = [name for name in settings[0] if len({str(one.get(name)) for one in settings}) > 1]
    return [(name, [str(one.get(name)) for one in settings]) for name in names]


def _judged_alike(runs: Sequence[Evidence]) -> str:
    """Why scores cannot be compared, where that is so."""
    judged = [run.choice for run in runs if run.choice]
    same = {
        "by different judges": {(c.judge, c.identity_judge) for c in judged},
        "against different photos": {tuple(c.references.get("photos") or ()) for c in judged},
        "on different prompts": {tuple(p.text for p in c.prompts) for c in judged},
        "on different seeds": {c.seeds for c in judged},
        "with different sampling": {str(sorted(c.sample.items(), key=str)) for c in judged},
    }
    different = [words for words, kinds in same.items() if len(kinds) > 1]
    if not different:
        return ""
    return f"The runs were judged {', '.join(different)}: their scores cannot be compared."


# --- the grid ---------------------------------------------------------------------------------


def _grid(
    runs: Sequence[Evidence], names: Sequence[str], album: Album
) -> tuple[list[str], list[GridRow], list[str]]:
    """(columns, rows, notes): the pictures of the prompts and seeds that all runs have."""
    places = [_places(run) for run in runs]
    having = [i for i, found in enumerate(places) if found]
    notes = []
    if len(having) < 2:
        return [], [], ["Fewer than two runs have pictures to put side by side."]
    shared = [place for place in places[having[0]] if all(place in places[i] for i in having)]
    every = {place for i in having for place in places[i]}
    if not shared:
        return (
            [],
            [],
            ["The runs have no prompt and seed in common: nothing can be put side by side."],
        )
    if len(shared) < len(every):
        notes.append(
            f"The runs share {len(shared)} of {counted(len(every), 'prompt')} with their seeds."
        )
    if len(having) < len(runs):
        left = ", ".join(names[i] for i in range(len(runs)) if i not in having)
        notes.append(f"Without pictures, and so not in the grid: {left}.")
    rows = _one_seed_each(shared)[:MOST_ROWS]
    if len(rows) < len(shared):
        notes.append(f"Picture: {len(rows)} of {len(shared)}, one seed of each prompt.")
    base = _base_places(runs)
    columns = [*(["base"] if base else []), *(names[i] for i in having)]
    sources = [*([("base", base)] if base else []), *((names[i], places[i]) for i in having)]
    grid = [
        GridRow(prompt, seed, [_cell(name, found.get((prompt, seed)), prompt, seed, album)
                               for name, found in sources])
        for prompt, seed in rows
    ]  # fmt: skip
    return columns, grid, notes


def _places(run: Evidence) -> dict[PromptSeed, Path]:
    """The run's pictures: of the chosen candidate, or those in images/ by their own recipes."""
    choice = run.choice
    if choice:
        paths = zip(choice.slots, choice.best.pictures, strict=True)
        return {(choice.prompts[i].text, seed): path for (i, seed), path in paths if path}
    found: dict[PromptSeed, Path] = {}
    for path in run.images:
        facts = dict(recipe_facts(path)[0])
        if "seed" in facts and facts["seed"].isdigit():
            found.setdefault((facts["prompt"], int(facts["seed"])), path)
    return found


def _base_places(runs: Sequence[Evidence]) -> dict[PromptSeed, Path]:
    """The base's pictures, where all runs have the same base."""
    revisions = {(run.manifest.get("base") or {}).get("revision") for run in runs}
    found: dict[PromptSeed, Path] = {}
    for choice in (run.choice for run in runs if run.choice and len(revisions) == 1):
        for (i, seed), path in zip(choice.slots, choice.base.pictures, strict=True):
            if path:
                found.setdefault((choice.prompts[i].text, seed), path)
    return found


def _one_seed_each(places: Sequence[PromptSeed]) -> list[PromptSeed]:
    """The first seed of every prompt; of a single prompt all."""
    first = {prompt: (prompt, seed) for prompt, seed in reversed(places)}
    prompts = list(dict.fromkeys(prompt for prompt, _ in places))
    return [first[prompt] for prompt in prompts] if len(prompts) > 1 else list(places)


def _cell(name: str, path: Path | None, prompt: str, seed: int, album: Album) -> Picture | None:
    return album.add(path, f"{name}, seed {seed}", f"{name}: {prompt}, seed {seed}")
