"""`kaiffin choose`: which of a run's checkpoints, with reasons.

Each adapter that the training kept makes the same pictures on the same seeds; judges score them
against the prompts, the photos and the base; one is recommended, or it is said that they cannot be
told apart. All of it is written to choice.json, where the report reads it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from PIL import Image
from rich.table import Table

from kaiffin.foundation import tell
from kaiffin.foundation.errors import RunError
from kaiffin.foundation.folder import file_sha256
from kaiffin.foundation.run import Run
from kaiffin.foundation.runtime import Runtime
from kaiffin.foundation.settings import changed
from kaiffin.foundation.sheets import sheet
from kaiffin.foundation.tell import console
from kaiffin.models.base import ModelFamily
from kaiffin.models.files.load import load_base
from kaiffin.pictures.recipe import save_png
from kaiffin.score import selection, table
from kaiffin.score.gallery import Gallery
from kaiffin.score.panel import Judges, measure, open_judges
from kaiffin.score.photos import captions
from kaiffin.score.questions import Asked, ask
from kaiffin.score.statistics import Interval, smooth

SHOWN = {
    "likeness": "likeness", "prompt_share": "prompt", "identity": "identity", "clip_t": "CLIP-T",
    "win": "win", "drift": "drift", "leak": "leak", "copy": "copies",
}  # fmt: skip


def choose(
    path: Path, *, changes: Mapping[str, Any] | None = None, budget: float | None = None,
    batch_size: int = 8,
) -> dict[str, Any]:  # fmt: skip
    """Makes the pictures, scores them, recommends, and writes choice.json and best.safetensors.

    changes: of `score` and `sample` in the run's config; budget: seconds that making pictures may
    take. Raises RunError for a run without candidates, PhotoError without photos to compare with.
    """
    run = Run.open(path)
    config = changed(run.config, **(changes or {}))
    candidates = run.candidates()
    if not candidates:
        raise RunError(
            f"{path}: holds no candidates to choose from.",
            "Train it further with `kaiffin resume`, or anew: every training keeps some.",
        )
    judges = open_judges([run], config)
    family = load_base(config.base, Runtime.from_config(config.base))
    with run.lock("choose.lock"):  # a training may go on meanwhile
        started = time.time()
        asked = ask(config, family, captions(run), config.score.seeds)
        gallery = Gallery(run.path / "evaluation", family)
        asked, candidates = _within(budget, gallery, asked, candidates, batch_size)
        _make(gallery, asked, candidates, batch_size)
        facts = weigh(run, gallery, asked, candidates, judges)
        facts["cost"] = {
            "pictures": len(asked.requests) * (len(candidates) + 1),
            "seconds": round(time.time() - started, 1),
        }
        _write(run, facts)
    say(run, facts)
    return facts


def promising(
    run: Run, family: ModelFamily, *, since: int, until: int, batch_size: int = 8
) -> bool:
    """Whether a training is to go on: False once `score.early_stop` candidates after the best one
    came no further.

    since, until: the steps whose candidates count (an interrupted run may hold later ones). The
    pictures and scores are those of `choose`, which finds them made; the caller holds the lock.
    """
    candidates = [(step, path) for step, path in run.candidates() if since < step <= until]
    asked = ask(run.config, family, captions(run), run.config.score.seeds)
    gallery = Gallery(run.path / "evaluation", family)
    _make(gallery, asked, candidates, batch_size)
    facts = weigh(run, gallery, asked, candidates, open_judges([run], run.config))
    console.print(f"after step {until}: {facts['verdict']}")
    later = [step for step, _ in candidates if step > facts["highest"]]
    if len(later) < run.config.score.early_stop:
        return True
    console.print(
        f"stopping: {len(later)} candidates after step {facts['highest']} came no further"
    )
    return False


# --- pictures -----------------------------------------------------------------------------------


def _within(
    budget: float | None, gallery: Gallery, asked: Asked, candidates: list[tuple[int, Path]],
    batch_size: int,
) -> tuple[Asked, list[tuple[int, Path]]]:  # fmt: skip
    """The evaluation as it fits into `budget` seconds: fewer seeds first, then fewer candidates.

    The time of a picture is that of the base's first ones, which are made for it. The first seed
    and the last candidate always stay.
    """
    todo = gallery.todo(_files(candidates), asked)
    console.print(
        f"{len(candidates)} candidates and the base, {len(asked.requests)} pictures each"
        f" ({len(asked.prompts)} prompts, {len(asked.seeds)} seeds); {todo} are still to be made"
    )
    if not todo:
        return asked, candidates
    started = time.time()
    first = asked.first(batch_size)
    new = len(gallery.missing(None, first))
    gallery.make(None, first, lambda _: None, batch_size)
    each = (time.time() - started) / new if new else 0.0
    if each:
        console.print(f"about {each:.2f} s a picture: {each * todo / 60:.1f} min")
    if budget is None or each * todo <= budget:
        return asked, candidates
    while each * gallery.todo(_files(candidates), asked) > budget and len(asked.seeds) > 1:
        asked = asked.with_seeds(len(asked.seeds) - 1)
    while each * gallery.todo(_files(candidates), asked) > budget and len(candidates) > 1:
        candidates = candidates[::-2][::-1]
    console.print(
        f"--budget leaves {len(asked.seeds)} seeds and {len(candidates)} candidates:"
        f" {each * gallery.todo(_files(candidates), asked) / 60:.1f} min"
    )
    return asked, candidates


def _files(candidates: Sequence[tuple[int, Path]]) -> list[Path | None]:
    """The base and the candidates, as the gallery takes them."""
    return [None, *(path for _, path in candidates)]


def _make(
    gallery: Gallery, asked: Asked, candidates: Sequence[tuple[int, Path]], batch_size: int
) -> None:
    total = gallery.todo(_files(candidates), asked)
    with tell.progress("pictures", total) as advance:
        for file in _files(candidates):
            gallery.make(file, asked, advance, batch_size)


# --- scores and choice --------------------------------------------------------------------------


def weigh(
    run: Run, gallery: Gallery, asked: Asked, candidates: Sequence[tuple[int, Path]],
    judges: Judges,
) -> dict[str, Any]:  # fmt: skip
    """choice.json, less its cost: the pictures of each candidate scored, and one recommended."""
    base = measure(gallery, None, asked, judges)
    measured = [measure(gallery, path, asked, judges, base) for _, path in candidates]
    steps = [step for step, _ in candidates]
    choice = selection.recommend([one.overall for one in measured], base.groups)
    against = None
    if choice.against is not None and choice.difference is not None:
        against = {"step": steps[choice.against], "difference": asdict(choice.difference)}
    losses = _losses(run)
    found = [
        {"step": step, "adapter": path.relative_to(run.path).as_posix()}
        | {"sha256": file_sha256(path), "loss": losses.get(step)}
        | one.as_json(run.path)
        for (step, path), one in zip(candidates, measured, strict=True)
    ]
    return {
        "version": 1,
        **judges.as_json(),
        "set": asked.as_json(),
        "base": {k: v for k, v in base.as_json(run.path).items() if k in ("pictures", "rows")},
        "candidates": found,
        "pareto": [steps[i] for i in selection.pareto([_point(one.means) for one in measured])],
        "chosen": steps[choice.chosen],
        "highest": steps[choice.highest],
        "against": against,
        "verdict": selection.verdict(choice, steps),
        "findings": selection.findings(steps, [one.means for one in measured]),
    }


def _point(averages: Mapping[str, Interval]) -> selection.Point:
    drift = averages["drift"].mean if "drift" in averages else 0.0
    return (averages["likeness"].mean, averages["prompt_share"].mean, -drift)


def _losses(run: Run) -> dict[int, float]:
    """The smoothed loss after each step."""
    metrics = run.metrics()
    return dict(
        zip([m["step"] for m in metrics], smooth([m["loss"] for m in metrics]), strict=True)
    )


# --- telling ------------------------------------------------------------------------------------


def _write(run: Run, facts: dict[str, Any]) -> None:
    """choice.json, best.safetensors and choice.png."""
    chosen = next(c for c in facts["candidates"] if c["step"] == facts["chosen"])
    run.write("best.safetensors", (run.path / chosen["adapter"]).read_bytes())
    run.write_json("choice.json", facts)
    save_png(_page(run, facts), run.path / "choice.png")


def _page(run: Run, facts: dict[str, Any]) -> Image.Image:
    """A row for each prompt of the subject, a column for the base and each candidate."""
    seeds = len(facts["set"]["seeds"])
    models = [facts["base"], *facts["candidates"]]
    titles = ["base"] + [
        f"step {c['step']}" + (" (chosen)" if c["step"] == facts["chosen"] else "")
        for c in facts["candidates"]
    ]
    prompts = [i for i, p in enumerate(facts["set"]["prompts"]) if p["section"] in table.SUBJECT]
    images, labels = [], []
    for prompt in prompts:
        for model in models:
            with Image.open(run.path / model["pictures"][prompt * seeds]) as image:
                images.append(image.convert("RGB"))
            labels.append(facts["set"]["prompts"][prompt]["text"])
    return sheet(images, labels, columns=len(models), column_titles=titles, title=facts["verdict"])


def say(run: Run, facts: dict[str, Any]) -> None:
    """The table, the verdict and where to look."""
    console.print(f"judged by {facts['judge']}; {facts['references']['words']}")
    if facts["references"]["ceiling"] is not None:
        console.print(f"real photos reach identity {facts['references']['ceiling']:.3f}")
    page = Table("step", *SHOWN.values(), "overall", box=None, padding=(0, 1, 0, 0))
    for entry in facts["candidates"]:
        mark = " *" if entry["step"] == facts["chosen"] else ""
        means = [entry["means"].get(name) for name in SHOWN]
        cells = [f"{m['mean']:.3f}" if m else "" for m in means]
        whole = entry["overall"]
        cells.append(f"{whole['mean']:.3f} [{whole['low']:.2f}, {whole['high']:.2f}]")
        page.add_row(f"{entry['step']}{mark}", *cells)
    console.print(page)
    for line in facts["findings"]:
        console.print(line)
    console.print(f"Pareto set (likeness, prompt, drift): {', '.join(map(str, facts['pareto']))}")
    console.print(f"{facts['verdict']}: {run.best_path}")
    console.print(f"look at {run.path / 'choice.png'}; `kaiffin report {run.path}` shows it all")
