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
from rich.table import Table

from kaiffin.experiments.report import evidence, page
from kaiffin.foundation import tell
from kaiffin.foundation.config import Config
from kaiffin.foundation.errors import RunError
from kaiffin.foundation.folder import write_bytes
from kaiffin.foundation.run import Run
from kaiffin.foundation.runtime import Runtime
from kaiffin.foundation.settings import changed, flat
from kaiffin.foundation.sheets import sheet
from kaiffin.foundation.tell import console
from kaiffin.models.files.load import load_base
from kaiffin.pictures.recipe import save_png
from kaiffin.score import choice, table
from kaiffin.score.gallery import Gallery
from kaiffin.score.panel import Judges, Measured, measure, open_judges
from kaiffin.score.photos import captions
from kaiffin.score.questions import Asked, ask
from kaiffin.score.statistics import Interval, clustered
from kaiffin.stories.report import runs_in

BETTER_HIGH = ("likeness", "prompt_share", "identity", "clip_t", "win", "diversity")
BETTER_LOW = ("drift", "leak", "copy", "clipped", "saturated")
NOTE = (
    "one training each: what another training seed would change is not in these intervals"
    " (`kaiffin sweep` trains several)"
)


@dataclass(frozen=True)
class Entry:
    """A run with the adapter that stands for it, and what it is asked."""

    run: Run
    config: Config
    step: int
    adapter: Path

    @property
    def name(self) -> str:
        return self.run.path.resolve().name


def compare(
    paths: Sequence[Path], out: Path, *, changes: Mapping[str, Any] | None = None,
    last: bool = False, batch_size: int = 8,
) -> dict[str, Any]:  # fmt: skip
    """Makes the pictures, scores them in pairs with the first run's, and writes comparison.json,
    comparison.png and report.html into `out`.

    changes: of `score` and `sample`, in all runs; last: the last adapter of each, even where
    `kaiffin choose` recommends another. Raises RunError for runs that cannot be compared.
    """
    runs = [run for path in paths for run in runs_in(path)]
    entries = [_entry(run, changes or {}, last) for run in runs]
    _refuse_twins(entries)
    judges = open_judges([e.run for e in entries], entries[0].config)
    pictured = _picture_all(entries, judges, batch_size)
    first = pictured[0]
    facts = {
        "version": 1,
        **judges.as_json(),
        "set": first.asked.as_json(),
        "runs": [
            {"name": e.name, "path": str(e.run.path), "step": e.step, "adapter": e.adapter.name}
            | p.own.as_json(e.run.path)
            for e, p in zip(entries, pictured, strict=True)
        ],
        "config": config_differences([e.run.config for e in entries]),
        "data": data_differences(entries),
        "differences": [differences(first.own, other.own) for other in pictured[1:]],
        "note": NOTE,
    }
    out.mkdir(parents=True, exist_ok=True)
    page.write([_evidence(*pair, judges) for pair in zip(entries, pictured, strict=True)],
                 out / "report.html")  # fmt: skip
    write_bytes(out / "comparison.json", (json.dumps(facts, indent=1) + "\n").encode())
    save_png(_page(entries, pictured), out / "comparison.png")
    say(facts, out)
    return facts


# --- what is compared ---------------------------------------------------------------------------


def _entry(run: Run, changes: Mapping[str, Any], last: bool) -> Entry:
    config = changed(run.config, **changes)
    chosen = run.read_json("choice.json").get("chosen") if run.best_path.is_file() else None
    if chosen is not None and not last:
        return Entry(run, config, chosen, run.best_path)
    if not run.finished:
        raise RunError(f"{run.path}: is not finished.", f"Run `kaiffin resume {run.path}` first.")
    return Entry(run, config, evidence.read(run).step, run.adapter_path)


def _refuse_twins(entries: Sequence[Entry]) -> None:
    if len(entries) < 2:
        raise RunError("one run alone cannot be compared.", "Name two or more run folders.")
    places = [entry.run.path.resolve() for entry in entries]
    twice = [place for place in places if places.count(place) > 1]
    if twice:
        raise RunError(f"{twice[0]}: is named twice.", "Name different runs.")


@dataclass(frozen=True)
class Pictured:
    """What a run was asked, and its base's and its own pictures of it, measured."""

    asked: Asked
    base: Measured
    own: Measured


def _picture_all(entries: Sequence[Entry], judges: Judges, batch_size: int) -> list[Pictured]:
    """Every run's pictures, made where they are missing, and scored beside its own base's."""
    known = [caption for entry in entries for caption in captions(entry.run)]
    found: list[Pictured] = []
    for entry in entries:
        family = load_base(entry.config.base, Runtime.from_config(entry.config.base))
        asked = ask(entry.config, family, known, entry.config.score.seeds)
        if found and [p.plain for p in asked.prompts] != [p.plain for p in found[0].asked.prompts]:
            raise RunError(
                f"{entries[0].run.path} and {entry.run.path} cannot be compared: their pictures"
                f" show other things ({entries[0].config.subject.noun!r},"
                f" {entry.config.subject.noun!r}).",
                "Give a list of prompts that suits both with --prompts, or compare other runs.",
            )
        gallery = Gallery(entry.run.path / "evaluation", family)
        files = [None, entry.adapter]
        todo = gallery.todo(files, asked)
        console.print(f"{entry.name}: {len(asked.requests)} pictures, {todo} still to be made")
        with tell.progress(entry.name, todo) as advance:
            for file in files:
                gallery.make(file, asked, advance, batch_size)
        base = measure(gallery, None, asked, judges)
        found.append(Pictured(asked, base, measure(gallery, entry.adapter, asked, judges, base)))
    return found


def _evidence(entry: Entry, pictured: Pictured, judges: Judges) -> evidence.Evidence:
    """The run for the page, judged as all of them are: its adapter as the only candidate."""
    folder = entry.run.path
    data = {
        "version": choice.VERSION,
        **judges.as_json(),
        "set": pictured.asked.as_json(),
        "base": pictured.base.as_json(folder),
        "candidates": [
            {"step": entry.step, "adapter": entry.adapter.name} | pictured.own.as_json(folder)
        ],
        "chosen": entry.step,
        "verdict": f"step {entry.step} stands for this run",
    }
    return replace(evidence.read(entry.run), choice=choice.read(data, folder))


# --- what differs -------------------------------------------------------------------------------


def config_differences(given: Sequence[Config]) -> dict[str, list[Any]]:
    """Settings that are not equal in all, with the value of each run."""
    flat = [flat(config) for config in given]
    names = dict.fromkeys(name for values in flat for name in values)
    rows = {name: [values.get(name) for values in flat] for name in names}
    return {name: row for name, row in rows.items() if any(value != row[0] for value in row)}


def data_differences(entries: Sequence[Entry]) -> list[str]:
    """In words: photos that not all runs were trained on."""
    photos = []
    for entry in entries:
        listed = entry.run.read_json("data/manifest.json").get("photos", [])
        photos.append({p["sha256"]: p["file"] for p in listed if not p.get("held_out")})
    shared = set.intersection(*(set(one) for one in photos))
    if all(len(one) == len(shared) for one in photos):
        return [f"the same {len(shared)} photos"]
    said = [f"{len(shared)} photos are in all of them"]
    for entry, one in zip(entries, photos, strict=True):
        own = sorted(name for sha, name in one.items() if sha not in shared)
        if own:
            said.append(f"{entry.name}: {len(own)} more ({', '.join(own[:5])})")
    return said


def differences(first: Measured, other: Measured) -> dict[str, dict[str, Any]]:
    """Each measure of `other` less that of `first`, in pairs of (prompt, seed), with a verdict."""
    found = {}
    for name in (*BETTER_HIGH, *BETTER_LOW):
        pairs = _pairs(name, first, other)
        if pairs:
            gap = clustered([b - a for _, a, b in pairs], [group for group, _, _ in pairs])
            found[name] = asdict(gap) | {"verdict": verdict(name, gap)}
    return found


def _pairs(name: str, first: Measured, other: Measured) -> list[tuple[int, float, float]]:
    if name == "diversity":
        one, two = table.diversity(first.rows, first.seen), table.diversity(other.rows, other.seen)
        return [(prompt, one[prompt], two[prompt]) for prompt in one]
    return [
        (a["prompt"], float(a[name]), float(b[name]))
        for a, b in zip(first.rows, other.rows, strict=True)
        if a[name] is not None
    ]


def verdict(name: str, gap: Interval) -> str:
    """`better`, `worse`, or `no difference` where the interval holds 0."""
    if gap.low <= 0 <= gap.high:
        return "no difference"
    return "better" if (gap.mean > 0) == (name in BETTER_HIGH) else "worse"


# --- telling ------------------------------------------------------------------------------------


def _page(entries: Sequence[Entry], pictured: Sequence[Pictured]) -> Image.Image:
    """A row for each prompt of the subject, a column for each run, all on the first seed."""
    asked = pictured[0].asked
    prompts = [i for i, p in enumerate(asked.prompts) if p.section in table.SUBJECT]
    places = [prompt * len(asked.seeds) for prompt in prompts]
    images = [one.own.seen.images[place] for place in places for one in pictured]
    labels = [one.asked.prompts[prompt].text for prompt in prompts for one in pictured]
    names = [entry.name for entry in entries]
    return sheet(images, labels, columns=len(entries), column_titles=names, title="the same seeds")


def say(facts: Mapping[str, Any], out: Path) -> None:
    """Differences in settings and photos, the scores, and the verdicts."""
    names = [run["name"] for run in facts["runs"]]
    settings = Table("setting", *names, box=None)
    for name, values in facts["config"].items():
        settings.add_row(name, *(str(value) for value in values))
    console.print(settings if facts["config"] else "the same settings")
    for line in facts["data"]:
        console.print(line)
    console.print(f"judged by {facts['judge']}; {facts['references']['words']}")
    page = Table("measure", *names, box=None)
    for name in (*BETTER_HIGH, *BETTER_LOW):
        means = [run["means"].get(name) for run in facts["runs"]]
        if not any(means):
            continue
        cells = [f"{m['mean']:.3f}" if m else "" for m in means]
        for place, gap in enumerate(facts["differences"], 1):
            if name in gap:
                g = gap[name]
                cells[place] += f" ({g['low']:+.3f} to {g['high']:+.3f}: {g['verdict']})"
        page.add_row(name.replace("_", " "), *cells)
    console.print(page)
    console.print(f"in brackets: against {names[0]}, 95 %; {facts['note']}")
    console.print(
        f"look at {out / 'comparison.png'}, open {out / 'report.html'};"
        f" numbers in {out / 'comparison.json'}"
    )
