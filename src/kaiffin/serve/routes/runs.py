"""/api/v1/runs: trainings as they go, what they kept, the choice, the report, files. Torch-free."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Query
from fastapi import Path as InPath
from fastapi.responses import FileResponse
from pydantic import BaseModel

from kaiffin.foundation.folder import read_json
from kaiffin.foundation.run import Run
from kaiffin.foundation.schema import MOST
from kaiffin.foundation.settings import flat
from kaiffin.serve.asking import run_job
from kaiffin.serve.datasets import refuse_in_use
from kaiffin.serve.errors import without_paths
from kaiffin.serve.jobs import Conflict, NotFound, State
from kaiffin.serve.requests import KNOWN
from kaiffin.serve.routes.common import Before, Limit, Page, ThingId, page, sends
from kaiffin.serve.service import Reader, Served, Service, Trainer

if TYPE_CHECKING:
    from kaiffin.experiments.report.evidence import Evidence

router = APIRouter(prefix="/api/v1/runs", tags=["runs"])


class ShownRun(BaseModel):
    """A training; its id is that of its job."""

    id: str
    name: str
    state: State
    subject: str
    noun: str
    base: str
    dataset: str
    created: float
    ended: float | None


class WholeRun(ShownRun):
    """settings: by dotted names, what was derived too; candidates: steps of those that were kept;
    files: what `files/...` has."""

    settings: dict[str, Any]
    finished: bool
    candidates: list[int]
    files: list[str]


def _shown(job: Any) -> dict[str, Any]:
    config = job.request["config"]
    return {
        "id": job.id, "name": job.request["name"], "state": job.state,
        "subject": config["subject"]["token"], "noun": config["subject"]["noun"],
        "base": config["base"]["name"], "dataset": job.request["dataset"],
        "created": job.created, "ended": job.ended,
    }  # fmt: skip


def _open(service: Service, owner: str, id: str) -> Run:
    """Conflict where its training has not begun."""
    path = service.studio.run(run_job(service, owner, id).id)
    if not Run.is_at(path):
        raise Conflict(f"run {id} has not begun yet.", "Wait for its job.")
    return Run.open(path)


@router.get("")
def runs(
    caller: Reader, service: Served, limit: Limit = 50, before: Before = None
) -> Page[ShownRun]:
    """The newest first."""
    found = service.studio.jobs.list(caller.owner, kind="train", limit=limit, before=before)
    return page([ShownRun(**_shown(job)) for job in found], limit)


@router.get("/{id}")
def run(id: ThingId, caller: Reader, service: Served) -> WholeRun:
    """One run, begun or not."""
    job = run_job(service, caller.owner, id)
    path = service.studio.run(job.id)
    made = Run.open(path) if Run.is_at(path) else None
    settings = flat(made.config) if made else {}
    return WholeRun(
        **_shown(job),
        settings={name: settings[name] for name in KNOWN if name in settings},
        finished=bool(made and made.finished),
        candidates=[step for step, _ in made.candidates()] if made else [],
        files=[name for name, file in _files(made).items() if file.is_file()] if made else [],
    )


@router.delete("/{id}", status_code=204)
def delete(id: ThingId, caller: Trainer, service: Served) -> None:
    """With all that it kept; not while it trains, or a job works with it."""
    job = run_job(service, caller.owner, id)
    if not job.is_over:
        raise Conflict(f"run {id} is {job.state}.", "Cancel its job first.")
    refuse_in_use(service.studio, caller.owner, id)
    with service.studio.db.transaction() as writer:
        writer.execute("DELETE FROM jobs WHERE owner = ? AND id = ?", (caller.owner, id))
    for path in (service.studio.run(id), service.studio.made(id)):
        shutil.rmtree(path, ignore_errors=True)


@router.get("/{id}/metrics")
def metrics(
    id: ThingId, caller: Reader, service: Served,
    after: Annotated[int, Query(ge=0, le=MOST, description="a step")] = 0,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 2000,
) -> list[dict[str, Any]]:  # fmt: skip
    """Loss, rate and what else was measured, step by step."""
    rows = _open(service, caller.owner, id).metrics()
    return [row for row in rows if row["step"] > after][:limit]


class Chart(BaseModel):
    """svg: coloured by the page's own variables."""

    title: str
    about: str
    svg: str


@router.get("/{id}/charts")
def charts(id: ThingId, caller: Reader, service: Served) -> list[Chart]:
    """The loss so far, and each score over the steps once it was chosen: as in the report."""
    from kaiffin.experiments.report import scorecards

    found = _evidence(_open(service, caller.owner, id))
    line = scorecards.loss_line(found)
    made = [Chart(title="Loss", about="lower is better, but says nothing of how a picture looks",
                  svg=scorecards.loss_curve(found, line))] if line else []  # fmt: skip
    if held_out := scorecards.held_out_curve(found):
        about = "at the same noises each time; the other line is the base's"
        made.append(Chart(title="Loss on held-out photos", about=about, svg=held_out))
    if found.choice:
        for measure, svg in scorecards.score_charts(found.choice):
            made.append(Chart(title=measure.title, about=measure.direction, svg=svg))
    return made


@router.get(
    "/{id}/judged/{step}/{number}", response_class=FileResponse, responses=sends("image/png")
)
def judged(
    id: ThingId, step: Annotated[int, InPath(ge=0, le=MOST)],
    number: Annotated[int, InPath(ge=0, le=MOST)], caller: Reader, service: Served,
) -> FileResponse:  # fmt: skip
    """A picture by which checkpoints were chosen; step 0 is the base."""
    choice = _evidence(_open(service, caller.owner, id)).choice
    stops = {stop.step: stop.pictures for stop in choice.stops} if choice else {}
    path = stops[step][number] if number < len(stops.get(step, ())) else None
    if path is None or not path.is_file():
        raise NotFound("there is no such picture.", "The run's choice lists them.")
    return FileResponse(path, media_type="image/png")


@router.get("/{id}/choice")
def choice(id: ThingId, caller: Reader, service: Served) -> dict[str, Any]:
    """What `choose` measured and recommends."""
    found = read_json(_open(service, caller.owner, id).choice_path)
    if not found:
        raise Conflict("nothing has been chosen yet.", "Ask for a job of kind choose.")
    return without_paths(found)


@router.get("/{id}/report", response_class=FileResponse, responses=sends("text/html"))
def report(id: ThingId, caller: Reader, service: Served) -> FileResponse:
    """The page, to be kept: it has its scripts inside, which this service's pages may not."""
    path = _open(service, caller.owner, id).report_path
    if not path.is_file():
        raise Conflict("there is no report yet.", "Ask for a job of kind report.")
    return FileResponse(path, media_type="text/html", filename=f"report-{id}.html")


def _evidence(run: Run) -> Evidence:
    """What its files say. It reckons by NumPy, which the service's start need not wait for."""
    from kaiffin.experiments.report import evidence

    return evidence.read(run)


def _files(run: Run) -> dict[str, Path]:
    """By the names that the service gives them."""
    fixed = {
        "adapter.safetensors": run.adapter_path, "best.safetensors": run.best_path,
        "comfyui.json": run.workflow_path, "proof.json": run.proof_path,
    }  # fmt: skip
    steps = {f"step-{step}.safetensors": path for step, path in run.candidates()}
    return fixed | steps


@router.get(
    "/{id}/files/{name}", response_class=FileResponse, responses=sends("application/octet-stream")
)
def file(id: ThingId, name: str, caller: Reader, service: Served) -> FileResponse:
    """An adapter, the best one, a candidate (step-N.safetensors), the workflow or the proof."""
    run = _open(service, caller.owner, id)
    path = _files(run).get(name)
    if path is None or not path.is_file():
        raise NotFound("the run has no such file.", "The run lists its files.")
    called = f"{run.adapter_path.stem}-{name}"
    return FileResponse(path, media_type="application/octet-stream", filename=called)


@router.get("/{id}/previews", response_model=list[int])
def previews(id: ThingId, caller: Reader, service: Served) -> list[int]:
    """The numbers of the sheets that were made on the way."""
    return list(range(len(_previews(_open(service, caller.owner, id)))))


@router.get(
    "/{id}/previews/{number}",
    response_class=FileResponse,
    responses=sends("image/png"),
)
def preview(
    id: ThingId, number: Annotated[int, InPath(ge=0, le=MOST)], caller: Reader, service: Served
) -> FileResponse:
    """One of them."""
    found = _previews(_open(service, caller.owner, id))
    if number >= len(found):
        raise NotFound("there is no such preview.", "The run lists them.")
    return FileResponse(found[number], media_type="image/png")


def _previews(run: Run) -> list[Path]:
    return sorted(run.previews.glob("*.png"))
