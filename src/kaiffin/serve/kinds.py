"""The kinds of jobs, each a story with its ids made folders: request in, result out.

Ids become folders of the data folder, and what a story answers becomes JSON. Each kind imports its
story when it is told, since a worker does one. A job that is done again goes on where it stopped.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import filelock
import yaml
from PIL import Image

from kaiffin.experiments.work.jobs import Job as Work
from kaiffin.experiments.work.jobs import Result
from kaiffin.foundation.config import Config
from kaiffin.foundation.errors import Interrupted, UserError
from kaiffin.foundation.folder import write_bytes
from kaiffin.foundation.paths import PATHS
from kaiffin.foundation.run import Run
from kaiffin.foundation.settings import build, dump, override
from kaiffin.foundation.several import with_photos
from kaiffin.foundation.tell import SILENT, Tell
from kaiffin.models.files.embedded import EMBEDDED
from kaiffin.score.catalogue import MEASURES
from kaiffin.serve.doors import flagless
from kaiffin.serve.orders import given_away, order_of, picture_facts, plain, source_of
from kaiffin.serve.reporter import Reporter
from kaiffin.serve.work import Task, task

if TYPE_CHECKING:
    from kaiffin.stories.train import Trained

SUCCESSION_S = 120.0  # for a worker whose server died to save and stop

# --- what requests have in common ---------------------------------------------------------------


def config_of(task: Task, photos: Path) -> Config:
    """The config that was frozen, with folders where a caller names ids."""
    asked = task.request
    changes: dict[str, Any] = {"data.photos": str(photos), **_judging(task)}
    if asked.get("init_from"):
        changes["adapter.init_from"] = str(task.studio.adapter(asked["init_from"]))
    data = override(asked["config"], changes)
    data["subjects"] = with_photos(data.get("subjects") or (), [photos, *_further(task)])
    data["base"]["name"] = task.house.base(data["base"]["name"])
    own = asked.get("phase_datasets") or {}
    data["phases"] = [
        {**phase, "photos": str(task.made / f"phase-{phase['name']}")}
        if phase["name"] in own else phase
        for phase in data.get("phases") or ()
    ]  # fmt: skip
    return _judged(task, build(data, "request"))


def _further(task: Task) -> list[Path]:
    """The photos of subjects after the first."""
    count = len(task.request.get("subject_datasets") or ())
    return [task.made / f"subject-{number}" for number in range(2, count + 2)]


def _judging(task: Task) -> dict[str, Any]:
    """Photos and prompts that are judged by, as settings."""
    found: dict[str, Any] = {}
    if task.request.get("like"):
        found["score.like"] = str(task.made / "like")
    if task.request.get("prompts"):
        file = task.made / "prompts.yaml"
        text = yaml.safe_dump({"scenes": list(task.request["prompts"])}, allow_unicode=True)
        write_bytes(file, text.encode())
        found["score.prompts"] = str(file)
    return found


def _judged(task: Task, config: Config) -> Config:
    """With the operator's judges, where the miniature's would be asked what it never saw."""
    if config.base.name in EMBEDDED:
        return config
    judges = {"judge": task.house.judge, "identity_judge": task.house.identity_judge}
    return config.model_copy(update={"score": config.score.model_copy(update=judges)})


def _changes(task: Task, run: Path | None) -> dict[str, Any]:
    """Settings for what is made or judged with a run, or a base, that was there before."""
    sections = (("sample", "sample"), ("score", "score"))
    changes = {
        f"{section}.{name}": plain(value)
        for field, section in sections
        for name, value in (task.request.get(field) or {}).items()
    }
    name = Run.open(run).config.base.name if run else ""
    if name not in EMBEDDED and task.house.judge:
        changes |= {"score.judge": task.house.judge}
        changes |= {"score.identity_judge": task.house.identity_judge}
    return changes | _judging(task)


# --- the kinds ----------------------------------------------------------------------------------


def _scan(task: Task, tell: Tell) -> Result:
    from kaiffin.stories.prepare import prepare

    config = config_of(task, task.studio.dataset(task.request["dataset"]))
    found = prepare(config, task.made, tell=tell)
    prepared = found.prepared
    return {
        "photos": len(prepared.examples), "held_out": len(prepared.held_out),
        "resolution": found.resolution, "problems": prepared.problems,
        "findings": [asdict(one) for one in prepared.findings], "refused": list(prepared.refused),
        "notes": list(prepared.notes), "sheet": found.sheet.name,
    }  # fmt: skip


def _train(task: Task, tell: Tell) -> Result:
    from kaiffin.stories.train import resume, train

    path = task.studio.run(task.id)
    run = Run.open(path) if Run.is_at(path) else None
    if run and (run.finished or run.latest_restart_point()):
        return _trained(task, resume(path, tell=tell))
    return _trained(task, train(config_of(task, task.made / "photos"), path, tell=tell))


def _trained(task: Task, done: Trained) -> Result:
    proofs = {
        name: {"problems": [str(proof)]} if isinstance(proof, Exception) else proof.as_json()
        for name, proof in done.proofs.items()
    }
    return {
        "run": task.id, "steps": done.steps, "candidates": done.candidates, "idle": done.is_idle,
        "proofs": proofs,
    }  # fmt: skip


def _generate(task: Task, tell: Tell) -> Result:
    """Those of which the best are chosen; the others are painted (see serve.painter)."""
    from kaiffin.pictures.recipe import save_png
    from kaiffin.stories.generate import generate

    order, changes = order_of(task)
    for old in (order.out or Path()).glob("*.png"):  # of a try that was stopped
        old.unlink()
    changes |= _changes(task, task.studio.run(task.request["run"]) if task.request["run"] else None)
    done = generate(order, changes=changes, tell=tell)
    facts = []
    for number, made in enumerate(done.pictures):
        one = picture_facts(task, number, made.request)
        with Image.open(made.path) as image:
            place = task.studio.image(one["id"])
            save_png(image, place, given_away(made.recipe), sync=True)
        facts.append(one)
    ids = {made.path: one["id"] for made, one in zip(done.pictures, facts, strict=True)}
    rankings = [
        [_scored(ids[each.path], each) for each in ranking.pictures] for ranking in done.rankings
    ]
    return {"images": facts, "rankings": rankings}


def _scored(id: str, ranked: Any) -> dict[str, Any]:
    return {
        "image": id, "prompt": ranked.prompt, "likeness": ranked.likeness, "chosen": ranked.chosen,
    }  # fmt: skip


def _choose(task: Task, tell: Tell) -> Result:
    from kaiffin.stories.choose import choose

    run = task.studio.run(task.request["run"])
    changes = _changes(task, run)
    found = choose(run, changes=changes, budget=task.request.get("budget"), tell=tell).choice
    return {
        "run": task.request["run"], "chosen": found.chosen, "highest": found.highest,
        "verdict": found.verdict, "findings": list(found.findings),
    }  # fmt: skip


def _rank(task: Task, tell: Tell) -> Result:
    from kaiffin.stories.rank import rank

    ids = {task.studio.image(id): id for id in task.request["images"]}
    like = task.made / "like" if task.request.get("like") else None
    task.studio.folder(f"made/{task.id}")
    found = rank(
        list(ids), task.request["prompt"], like=like, judge=task.house.judge,
        best=task.request.get("best"), out=task.made / "ranking.png", tell=tell,
    )  # fmt: skip
    ranked = [_scored(ids[one.path], one) for one in found.pictures]
    return {"judge": Path(found.judge).name, "pictures": ranked, "sheet": "ranking.png"}


def _compare(task: Task, tell: Tell) -> Result:
    from kaiffin.stories.compare import compare

    runs = [task.studio.run(id) for id in task.request["runs"]]
    changes, last = _changes(task, runs[0]), bool(task.request.get("last"))
    found = compare(runs, task.made, changes=changes, last=last, tell=tell)
    return {
        "runs": list(found.names), "photos": list(found.photos),
        "settings": {k: v for k, v in found.settings.items() if k not in PATHS},
        "differences": [{k: asdict(v) for k, v in one.items()} for one in found.differences],
        "titles": {name: MEASURES[name].title for one in found.differences for name in one},
        "note": found.note, "files": [found.sheet.name, found.page.name, found.numbers.name],
    }  # fmt: skip


def _grid(task: Task, tell: Tell) -> Result:
    from kaiffin.stories.grid import GridOrder, grid

    asked, axes = task.request, task.request["axes"]
    seeded = any(axis.startswith("seed=") for axis in axes.values())
    if len(asked["adapters"]) > (0 if asked["run"] else 1):
        raise UserError("a grid has one adapter.", "Leave out the others.")
    worn = [task.studio.adapter(one["adapter"]) for one in asked["adapters"]]
    order = GridOrder(
        source_of(task), asked.get("prompt"), axes, seed=None if seeded else asked["seed"],
        count=asked["count"], out=task.made, yes=True, adapter=worn[0] if worn else None,
    )  # fmt: skip
    run = task.studio.run(asked["run"]) if asked["run"] else None
    found = grid(order, changes=_changes(task, run), tell=tell)
    files = (*found.files.sheets, found.files.csv, found.files.json)
    pictures = [path.name for path in found.pictures]
    return {"axes": axes, "pictures": pictures, "files": [path.name for path in files]}


def _sweep(task: Task, tell: Tell) -> Result:
    from kaiffin.stories.sweep import sweep

    config, asked = config_of(task, task.made / "photos"), task.request
    write_bytes(task.made / "base.yaml", dump(config).encode())
    file = {
        "config": "base.yaml", "grid": {k: list(v) for k, v in asked["grid"].items()},
        "seeds": list(asked["seeds"]), "prompts": list(asked["prompts"]), "count": asked["count"],
    }  # fmt: skip
    write_bytes(task.made / "sweep.yaml", yaml.safe_dump(file, allow_unicode=True).encode())
    judge = None if config.base.name in EMBEDDED else task.house.judge
    out = task.made / "sweep"
    found = sweep(task.made / "sweep.yaml", out, judge=judge, yes=True, tell=tell)
    return {
        "standings": [one.as_json() for one in found.standings], "losses": dict(found.losses),
        "failed": dict(found.failed), "files": [found.sheet.name] if found.sheet else [],
    }  # fmt: skip


def _report(task: Task, tell: Tell) -> Result:
    from kaiffin.stories.report import report

    runs = [task.studio.run(id) for id in task.request["runs"]]
    task.studio.folder(f"made/{task.id}")
    out = task.made / "report.html" if len(runs) > 1 else None
    report(runs, out, tell=tell)
    return {"runs": list(task.request["runs"]), "files": ["report.html"] if out else []}


def _export(task: Task, tell: Tell) -> Result:
    from kaiffin.stories import adapter as adapters

    asked = task.request
    run = Run.open(task.studio.run(asked["run"])) if asked["run"] else None
    path = run.adapter_path if run else task.studio.adapter(asked["adapter"])
    base = run.config.base.name if run else asked["base"] and task.house.base(asked["base"])
    if asked.get("to"):
        out = task.made / ("peft" if asked["to"] == "peft" else f"{asked['to']}.safetensors")
        if not out.exists():  # done before, in a try that was killed
            task.studio.folder(f"made/{task.id}")
            adapters.convert(path, out, asked["to"], base, tell=tell)
        return {"to": asked["to"], "files": [out.name]}
    if base is None:
        raise UserError("the proof of an adapter needs its base.", "Name it as base.")
    return {"proof": adapters.verify(path, base, tell=tell).as_json()}


KINDS: Mapping[str, Callable[[Task, Tell], Result]] = {
    "scan": _scan, "train": _train, "generate": _generate, "choose": _choose, "rank": _rank,
    "compare": _compare, "grid": _grid, "sweep": _sweep, "report": _report, "export": _export,
}  # fmt: skip


def do(work: Work, *, tell: Tell = SILENT) -> Result:
    """Tells the job's story; a `problem` with its `way_out` is a result, too.

    Raises Interrupted where it was stopped; all is saved then.
    """
    lock = filelock.FileLock(work.file("lock"), timeout=SUCCESSION_S)
    try:
        with lock:  # the worker before may still be saving
            if before := work.left("result"):
                return before
            asked = task(work)
            result = KINDS[asked.kind](asked, Reporter(work, tell))
            result = json.loads(asked.said(json.dumps(result)))
            work.leave("result", result)  # before the next one looks for it
            return result
    except filelock.Timeout:
        return {"problem": f"another worker is still at it, after {SUCCESSION_S:.0f} s.",
                "way_out": "Retry it when that one has stopped."}  # fmt: skip
    except UserError as error:
        if isinstance(error, Interrupted):
            raise
        said = task(work).said
        return {"problem": flagless(said(error.message)), "way_out": flagless(said(error.fix))}
