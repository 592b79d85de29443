"""`kaiffin compare`: what differs between runs, and whether it shows in their pictures.

All runs make the same prompts on the same seeds, one judge scores them against the same photos, and
each is compared with the first in pairs: better, worse, or no difference that these pictures show.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from rich.table import Table

from kaiffin import config as configs
from kaiffin import saying
from kaiffin.adapters.files import write_bytes
from kaiffin.config import Config
from kaiffin.errors import RunError
from kaiffin.evaluation import Asked, Gallery, ask
from kaiffin.generate import save_png
from kaiffin.judging import Judges, Measured, captions, measure, open_judges
from kaiffin.run import Run
from kaiffin.runtime import Runtime
from kaiffin.saying import console
from kaiffin.score import table
from kaiffin.score.statistics import Interval, clustered
from kaiffin.sessions import load_base
from kaiffin.sheets import sheet

BETTER_HIGH = ("likeness", "prompt_share", "identity", "clip_t", "win", "diversity")
BETTER_LOW = ("drift", "leak", "copy", "clipped", "saturated")
NOTE = (
    "one training each: what another training seed would change is not in these intervals"
    " (`kaiffin sweep` trains several)"
)


@dataclass(frozen=True)
class Entry:
    """A run with the adapter that stands for it, and what it is asked. step: None for the last."""

    run: Run
    config: Config
    step: int | None
    adapter: Path

    @property
    def name(self) -> str:
        return self.run.path.resolve().name


def compare(
    paths: Sequence[Path], out: Path, *, changes: Mapping[str, Any] | None = None,
    last: bool = False, batch_size: int = 8,
) -> dict[str, Any]:  # fmt: skip
    """Makes the pictures, scores them in pairs with the first run's, and writes comparison.json
    and comparison.png into `out`.

    changes: of `score` and `sample`, in all runs; last: the last adapter of each, even where
    `kaiffin choose` recommends another. Raises RunError for runs that cannot be compared.
    """
    entries = [_entry(path, changes or {}, last) for path in expand(paths)]
    _refuse_twins(entries)
    judges = open_judges([e.run for e in entries], entries[0].config)
    measured, asked = _measure_all(entries, judges, batch_size)
    facts = {
        "version": 1,
        **judges.as_json(),
        "set": asked[0].as_json(),
        "runs": [
            {"name": e.name, "path": str(e.run.path), "step": e.step, "adapter": e.adapter.name}
            | m.as_json(e.run.path)
            for e, m in zip(entries, measured, strict=True)
        ],
        "config": config_differences([e.run.config for e in entries]),
        "data": data_differences(entries),
        "differences": [differences(measured[0], other) for other in measured[1:]],
        "note": NOTE,
    }
    out.mkdir(parents=True, exist_ok=True)
    write_bytes(out / "comparison.json", (json.dumps(facts, indent=1) + "\n").encode())
    save_png(_page(entries, measured, asked), out / "comparison.png")
    say(facts, out)
    return facts


# --- what is compared ---------------------------------------------------------------------------


def expand(paths: Sequence[Path]) -> list[Path]:
    """The runs; a sweep's folder stands for all of its own."""
    found: list[Path] = []
    for path in paths:
        inner = sorted(p.parent for p in (path / "runs").glob("*/config.yaml"))
        found += inner if inner and not (path / "manifest.json").is_file() else [path]
    return found


def _entry(path: Path, changes: Mapping[str, Any], last: bool) -> Entry:
    run = Run.open(path)
    config = configs.changed(run.config, **changes)
    chosen = run.read_json("choice.json").get("chosen") if run.best_path.is_file() else None
    if chosen is not None and not last:
        return Entry(run, config, chosen, run.best_path)
    if not run.finished:
        raise RunError(f"{path}: is not finished.", f"Run `kaiffin resume {path}` first.")
    return Entry(run, config, None, run.adapter_path)


def _refuse_twins(entries: Sequence[Entry]) -> None:
    if len(entries) < 2:
        raise RunError("one run alone cannot be compared.", "Name two or more run folders.")
    places = [entry.run.path.resolve() for entry in entries]
    twice = [place for place in places if places.count(place) > 1]
    if twice:
        raise RunError(f"{twice[0]}: is named twice.", "Name different runs.")


def _measure_all(
    entries: Sequence[Entry], judges: Judges, batch_size: int
) -> tuple[list[Measured], list[Asked]]:
    """Every run's pictures, made where they are missing, and scored beside its own base's."""
    known = [caption for entry in entries for caption in captions(entry.run)]
    measured, every = [], []
    for entry in entries:
        family = load_base(entry.config.base, Runtime.from_config(entry.config.base))
        asked = ask(entry.config, family, known, entry.config.score.seeds)
        if every and [p.plain for p in asked.prompts] != [p.plain for p in every[0].prompts]:
            raise RunError(
                f"{entries[0].run.path} and {entry.run.path} cannot be compared: their pictures"
                f" show other things ({entries[0].config.subject.noun!r},"
                f" {entry.config.subject.noun!r}).",
                "Give a list of prompts that suits both with --prompts, or compare other runs.",
            )
        every.append(asked)
        gallery = Gallery(entry.run.path / "evaluation", family)
        files = [None, entry.adapter]
        todo = sum(len(gallery.missing(file, asked)) for file in files)
        console.print(f"{entry.name}: {len(asked.requests)} pictures, {todo} still to be made")
        with saying.progress(entry.name, todo) as advance:
            for file in files:
                gallery.make(file, asked, advance, batch_size)
        base = measure(gallery, None, asked, judges)
        measured.append(measure(gallery, entry.adapter, asked, judges, base))
    return measured, every


# --- what differs -------------------------------------------------------------------------------


def config_differences(given: Sequence[Config]) -> dict[str, list[Any]]:
    """Settings that are not equal in all, with the value of each run."""
    flat = [configs.flat(config) for config in given]
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


def _page(
    entries: Sequence[Entry], measured: Sequence[Measured], asked: Sequence[Asked]
) -> Image.Image:
    """A row for each prompt of the subject, a column for each run, all on the first seed."""
    count = len(asked[0].seeds)
    prompts = [i for i, p in enumerate(asked[0].prompts) if p.section in table.SUBJECT]
    images = [one.seen.images[prompt * count] for prompt in prompts for one in measured]
    labels = [one.prompts[prompt].text for prompt in prompts for one in asked]
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
    console.print(f"look at {out / 'comparison.png'}; numbers in {out / 'comparison.json'}")
