"""/api/v1/jobs, and the short way: /scan, /train, /generate. Torch-free."""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Depends, Header, Query
from fastapi import Path as InPath
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse
from pydantic import BaseModel, Field, RootModel, create_model

from kaiffin.serve.asking import NEEDED, WAIT_MOST, submit
from kaiffin.serve.asking import wait as wait_for
from kaiffin.serve.errors import pathless, without_paths
from kaiffin.serve.jobs import Job, NotFound, State
from kaiffin.serve.requests import KINDS, PICTURES, Asked, Body, Generate, Kind, Scan, Train
from kaiffin.serve.routes.common import Before, Limit, Page, ThingId, page, sends
from kaiffin.serve.service import Asker, Reader, Served, Service, require
from kaiffin.serve.work import picture_id

router = APIRouter(prefix="/api/v1", tags=["jobs"])

Wait = Annotated[float, Query(ge=0, le=WAIT_MOST, description="seconds to wait for its end")]
IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=200,
        description="a word for this request: repeated, it is done once",
    ),
]


class Desk:
    """Where jobs are handed in: who does it, and how."""

    def __init__(
        self, caller: Asker, service: Served, wait: Wait = 0,
        idempotency_key: IdempotencyKey = None,
    ) -> None:  # fmt: skip
        self.caller, self.service, self.wait, self.key = caller, service, wait, idempotency_key

    async def take(self, kind: Kind, asked: Asked) -> ShownJob:
        """The job as it is now, or once it is over where the caller waits."""
        job = await run_in_threadpool(submit, self.service, self.caller, kind, asked, key=self.key)
        if self.wait:
            job = await wait_for(self.service, self.caller.owner, job.id, self.wait)
        return shown(self.service, job)


AtDesk = Annotated[Desk, Depends()]
if TYPE_CHECKING:
    AnyJob = RootModel[Any]
else:  # {"kind": "scan", "request": {...}}, one model for each kind
    _BODIES = (
        create_model(f"{kind.capitalize()}Job", __base__=Body, kind=Literal[kind], request=asked)
        for kind, asked in KINDS.items()
    )

    class AnyJob(RootModel[Annotated[reduce(or_, _BODIES), Field(discriminator="kind")]]):
        """A job of any kind."""


class Progress(BaseModel):
    """total: null while unknown."""

    done: int
    total: int | None
    what: str


class ShownJob(BaseModel):
    """A job. ahead: how many wait before it; result: what it made, once it is done; problem and
    way_out: why it failed, or is held."""

    id: str
    kind: Kind
    state: State
    created: float
    begun: float | None
    ended: float | None
    request: dict[str, Any]
    attempts: int
    progress: Progress
    ahead: int = Field(description="how many wait before it")
    result: dict[str, Any] | None
    problem: str
    way_out: str


def shown(service: Service, job: Job) -> ShownJob:
    ahead = service.studio.jobs.ahead(job)
    said = {name: without_paths(getattr(job, name)) for name in ("result", "problem", "way_out")}
    facts = vars(job) | said | {"ahead": ahead}
    return ShownJob.model_validate(facts)


@router.get("/jobs")
def jobs(
    caller: Reader, service: Served, state: State | None = None, kind: Kind | None = None,
    limit: Limit = 50, before: Before = None,
) -> Page[ShownJob]:  # fmt: skip
    """The newest first."""
    found = service.studio.jobs.list(
        caller.owner, state=state, kind=kind, limit=limit, before=before
    )
    return page([shown(service, job) for job in found], limit)


@router.post("/jobs", status_code=201)
async def submit_job(body: AnyJob, desk: AtDesk) -> ShownJob:
    """Any kind of job; what it is asked is frozen now."""
    return await desk.take(body.root.kind, body.root.request)


@router.post("/scan", status_code=201)
async def scan(body: Scan, desk: AtDesk) -> ShownJob:
    """The short way to look at photos."""
    return await desk.take("scan", body)


@router.post("/train", status_code=201)
async def train(body: Train, desk: AtDesk) -> ShownJob:
    """The short way to teach."""
    return await desk.take("train", body)


@router.post("/generate", status_code=201)
async def generate(body: Generate, desk: AtDesk) -> ShownJob:
    """The short way to pictures."""
    return await desk.take("generate", body)


@router.get("/jobs/{id}")
async def job(id: ThingId, caller: Reader, service: Served, wait: Wait = 0) -> ShownJob:
    """One job, as it is now or at its end."""
    return shown(service, await wait_for(service, caller.owner, id, wait))


@router.post("/jobs/{id}/{act}")
def turn(
    id: ThingId, act: Literal["cancel", "pause", "resume", "retry"], caller: Asker, service: Served
) -> ShownJob:
    """Ends it, holds it, lets it go on, or tries it again; the same once more changes nothing."""
    jobs = service.studio.jobs
    require(caller, NEEDED[jobs.get(caller.owner, id).kind])
    return shown(service, getattr(jobs, act)(caller.owner, id))


@router.get(
    "/jobs/{id}/partial/{number}", responses=sends("image/png"), response_class=FileResponse
)
def partial(
    id: ThingId, number: Annotated[int, InPath(ge=0, lt=PICTURES)], caller: Reader, service: Served
) -> FileResponse:
    """A picture in the making, as it was some steps ago."""
    job = service.studio.jobs.get(caller.owner, id)
    path = service.studio.partial(picture_id(job.id, number))
    if not path.is_file():
        raise NotFound("there is no such picture in the making.", "Ask with preview_every.")
    return FileResponse(path, media_type="image/png")


@router.get(
    "/jobs/{id}/files/{name}", responses=sends("application/octet-stream"),
    response_class=FileResponse,
)  # fmt: skip
def file(id: ThingId, name: str, caller: Reader, service: Served) -> FileResponse:
    """A file that the job's result names."""
    job = service.studio.jobs.get(caller.owner, id)
    result = job.result or {}
    named = [result.get("sheet"), *result.get("files", ()), *result.get("pictures", ())]
    folder = service.studio.made(job.id)
    found = [path for path in (folder / name, folder / "sweep" / name) if path.is_file()]
    kind = "image/png" if name.endswith(".png") else "application/octet-stream"
    if name not in named or not found:
        raise NotFound("the job made no such file.", "Its result names those that there are.")
    return FileResponse(found[0], media_type=kind, filename=f"{id}-{name}")


class Log(BaseModel):
    """The last lines that its worker said."""

    lines: list[str]


@router.get("/jobs/{id}/log")
def log(id: ThingId, caller: Reader, service: Served) -> Log:
    """What a long job's worker said."""
    job = service.studio.jobs.get(caller.owner, id)
    path = service.studio.work / "logs" / f"{job.id}.log"
    text = path.read_bytes()[-100_000:].decode(errors="replace") if path.is_file() else ""
    return Log(lines=[pathless(line) for line in text.splitlines()[-500:]])
