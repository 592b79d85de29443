"""/v1 as OpenAI's image API has it, so that its clients work as they are. Torch-free.

`model` is a base, or the id of a run or an adapter; what OpenAI does not know (seed, negative,
steps, ...) goes through `extra_body`.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Form, Request, UploadFile
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, Response, StreamingResponse
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from kaiffin.foundation.errors import UserError
from kaiffin.foundation.schema import SEEDS
from kaiffin.serve import asking
from kaiffin.serve.decoding import Kind
from kaiffin.serve.errors import Refused, answer
from kaiffin.serve.jobs import Job, NotFound
from kaiffin.serve.keys import Caller
from kaiffin.serve.requests import PICTURES, SIDE, Generate, Prompt, Sampling, WayIn, Worn
from kaiffin.serve.routes.common import FOREIGN_FAILURES, incoming, sends
from kaiffin.serve.security import is_https, prefix_of
from kaiffin.serve.service import Painter, Reader, Served, Service

router = APIRouter(prefix="/v1", tags=["openai"], responses=FOREIGN_FAILURES)
STEPS = {"low": 10, "medium": 25, "high": 50, "standard": 25, "hd": 50}
SAMPLED = (  # settings that OpenAI has no word for
    "guidance", "negative", "sampler", "schedule", "prompt_syntax", "guidance_rescale",
    "guidance_interval", "negative_strength", "clip_skip", "eta", "fast",
)  # fmt: skip
PATIENCE = 590.0  # seconds; OpenAI's clients wait 600
LOOK_S = 5.0


class Wanted(BaseModel):
    """What `client.images.generate` sends. Unknown names are OpenAI's own, and pass."""

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)

    prompt: Prompt
    model: Annotated[str, Field(max_length=100)] | None = None
    n: Annotated[int, Field(ge=1, le=10)] | None = 1
    size: Annotated[str, Field(max_length=20)] | None = "auto"
    quality: Literal["auto", "low", "medium", "high", "standard", "hd"] | None = "auto"
    response_format: Literal["b64_json", "url"] | None = "b64_json"
    output_format: Literal["png", "jpeg", "webp"] | None = "png"
    stream: bool | None = False
    partial_images: Annotated[int, Field(ge=0, le=3)] | None = 0
    seed: Annotated[int, Field(ge=-1, lt=SEEDS - PICTURES)] | None = None
    steps: Annotated[int, Field(ge=1, le=150)] | None = None
    guidance: Annotated[float, Field(ge=0, le=100)] | None = None
    negative: Annotated[str, Field(max_length=2000)] | None = None
    sampler: Annotated[str, Field(max_length=40)] | None = None
    schedule: Annotated[str, Field(max_length=40)] | None = None
    prompt_syntax: Annotated[str, Field(max_length=40)] | None = None
    guidance_rescale: Annotated[float, Field(ge=0, le=1)] | None = None
    guidance_interval: Annotated[list[float], Field(min_length=2, max_length=2)] | None = None
    negative_strength: Annotated[float, Field(ge=0, le=2)] | None = None
    clip_skip: Annotated[int, Field(ge=0, le=4)] | None = None
    eta: Annotated[float, Field(ge=0, le=1)] | None = None
    fast: bool | None = None
    weights: Annotated[str, Field(max_length=100)] | None = None


class Edited(Wanted):
    """What `client.images.edit` sends, as a form; strength is ours."""

    image: Annotated[UploadFile | None, Field(description="what is painted over")] = None
    images: Annotated[list[UploadFile], Field(alias="image[]", max_length=16)] = []
    mask: Annotated[UploadFile | None, Field(description="painted over where transparent")] = None
    strength: Annotated[float, Field(ge=0, le=1)] | None = None


class Model(BaseModel):
    """name: what its owner called it."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str
    name: str


class Models(BaseModel):
    object: Literal["list"] = "list"
    data: list[Model]


@router.get("/models")
def models(caller: Reader, service: Served) -> Models:
    """Bases, the caller's finished runs, and imported adapters."""
    return Models(data=list_models(service, caller.owner))


def list_models(service: Service, owner: str) -> list[Model]:
    born = int(service.started)
    found = [Model(id=name, created=born, owned_by="kaiffin", name=name) for name in service.bases]
    for job in service.studio.jobs.list(owner, kind="train", state="done", limit=200):
        name = job.request["name"] or job.request["config"]["subject"]["token"]
        found.append(Model(id=job.id, created=int(job.created), owned_by="you", name=name))
    for one in service.adapters.list(owner, 200):
        found.append(Model(id=one.id, created=int(one.created), owned_by="you", name=one.name))
    return found


@router.get("/models/{id}")
def model(id: str, caller: Reader, service: Served) -> Model:
    """One of them."""
    found = next((one for one in list_models(service, caller.owner) if one.id == id), None)
    if found is None:
        raise NotFound(f"there is no model {id[:100]!r}.", "GET v1/models lists them.")
    return found


@router.post("/images/generations", responses=sends("text/event-stream"))
async def generations(body: Wanted, request: Request, caller: Painter, service: Served) -> Response:
    """Pictures, as one answer or as a stream with partial ones."""
    asked = await run_in_threadpool(translated, service, caller, body)
    return await _made(service, caller, asked, body, request)


@router.post("/images/edits", responses=sends("text/event-stream"))
async def edits(
    body: Annotated[Edited, Form(media_type="multipart/form-data")], request: Request,
    caller: Painter, service: Served,
) -> Response:  # fmt: skip
    """A picture painted over: all of it at `strength`, or anew what is transparent in the mask."""
    given = [one for one in (body.image, *body.images) if one is not None]
    if len(given) != 1:
        raise Refused(400, f"{len(given)} pictures are not painted over at once.", "Send one.",
                      field="image")  # fmt: skip
    image = await uploaded(service, caller, given[0])
    mask = await uploaded(service, caller, body.mask, "clear") if body.mask else None
    strength = body.strength if body.strength is not None else 1.0 if mask else None
    start = {"image": image, "mask": mask, "strength": strength}
    asked = await run_in_threadpool(translated, service, caller, body, start)
    return await _made(service, caller, asked, body, request)


async def uploaded(service: Service, caller: Caller, file: UploadFile, kind: Kind = "photo") -> str:
    """The id of a picture that came in."""
    await run_in_threadpool(service.holdings.refuse, caller, file.size or 0)
    async with incoming(service, file) as path:
        return (await service.uploads.add(caller.owner, path, kind)).id


async def _made(
    service: Service, caller: Caller, asked: Generate, body: Wanted, request: Request
) -> Response:
    """Pictures, as one answer or as a stream."""
    seen = service.studio.events.last(caller.owner)
    job = await run_in_threadpool(asking.submit, service, caller, "generate", asked)
    if body.stream:
        events = _stream(service, caller, job, body, seen)
        headers = {"x-accel-buffering": "no"}
        return StreamingResponse(events, media_type="text/event-stream", headers=headers)
    done = await finished(service, caller, job, request)
    return JSONResponse(await run_in_threadpool(_answer, service, done, body, request))


def translated(
    service: Service, caller: Caller, body: Wanted, start: Mapping[str, Any] | None = None
) -> Generate:
    """OpenAI's words as ours. NotFound for a model that is none."""
    sample: dict[str, Any] = {"steps": body.steps or STEPS.get(body.quality or "")}
    sample |= {name: getattr(body, name) for name in SAMPLED}
    sample["size"] = size_of(body.size)
    source = source_of(service, caller.owner, body.model or next(iter(service.bases)), body.weights)
    given = {name: value for name, value in sample.items() if value is not None}
    return Generate(
        prompts=(body.prompt,), count=body.n or 1, seed=-1 if body.seed is None else body.seed,
        sample=Sampling.model_validate(given), preview_every=_every(body, given),
        start=way_in(start), **source,
    )  # fmt: skip


def way_in(given: Mapping[str, Any] | None) -> WayIn | None:
    """Of what was said."""
    said = {name: value for name, value in (given or {}).items() if value is not None}
    return WayIn.model_validate(said) if said else None


def _every(body: Wanted, given: dict[str, Any]) -> int:
    """Steps between partial pictures; 0 where there are none."""
    if not (body.stream and body.partial_images):
        return 0
    return max(1, given.get("steps", STEPS["medium"]) // (body.partial_images + 1))


def size_of(text: str | None) -> list[int] | None:
    """`1024x1024` as a pair; None for the base's own."""
    if text in (None, "auto", ""):
        return None
    width, _, height = str(text).partition("x")
    if not (width.isdecimal() and height.isdecimal() and int(width) <= SIDE >= int(height)):
        raise Refused(400, f"size {text!r} is none that is made here.",
                      f"Write WIDTHxHEIGHT, up to {SIDE}x{SIDE}.", field="size")  # fmt: skip
    return [int(width), int(height)]


def source_of(
    service: Service, owner: str, model: str, weights: str | None = None
) -> dict[str, Any]:
    """What a model's name stands for: a base, a run, or an adapter on the base that it was made
    for."""
    if model in service.bases:
        return {"base": model}
    with contextlib.suppress(NotFound):
        return {"run": asking.run_job(service, owner, model).id}
    try:
        base = service.adapters.get(owner, model).facts.get("base_name", "")
    except NotFound:
        raise Refused(404, f"there is no model {model[:100]!r}.", "GET v1/models lists them.",
                      field="model") from None  # fmt: skip
    known = base if base in service.bases else next(iter(service.bases))
    return {"base": known, "adapters": (Worn(adapter=model, weights=weights or "1"),)}


async def finished(
    service: Service, caller: Caller, job: Job, request: Request | None = None
) -> Job:
    """The job with its pictures. Cancelled where the caller goes away; UserError where it failed,
    429 where it takes longer than clients wait."""
    until = time.monotonic() + PATIENCE
    while not job.is_over and job.state != "held" and time.monotonic() < until:
        job = await asking.wait(service, caller.owner, job.id, LOOK_S)
        if request is not None and not job.is_over and await request.is_disconnected():
            await run_in_threadpool(service.studio.jobs.cancel, caller.owner, job.id)
            raise Refused(400, "the caller went away.")
    if job.state == "done":
        return job
    if not job.is_over and job.state != "held":
        await run_in_threadpool(service.studio.jobs.cancel, caller.owner, job.id)
        raise Refused(429, "the queue is longer than you wait.", "Ask again later.",
                      headers={"retry-after-ms": "60000", "retry-after": "60"})  # fmt: skip
    raise asking.failure(job)


def pictures(service: Service, job: Job) -> list[dict[str, Any]]:
    """The rows of what a job made, in their order."""
    query = "SELECT * FROM images WHERE job = ? ORDER BY number"
    return [dict(row) for row in service.studio.db.rows(query, (job.id,))]


def encoded(path: Path, kind: str = "png") -> str:
    """The picture in base64; other formats than PNG are made now, without a recipe."""
    data = path.read_bytes()
    if kind != "png":
        file = io.BytesIO()
        with Image.open(path) as image:
            image.convert("RGB").save(file, format=kind.upper(), quality=95)
        data = file.getvalue()
    return base64.b64encode(data).decode()


def _address(request: Request) -> str:
    """Where the caller has found the service."""
    headers = request.headers
    scheme = "https" if is_https(headers) else "http"
    return f"{scheme}://{headers['host']}{prefix_of(headers)}"


def _usage() -> dict[str, Any]:
    """Nothing is counted in tokens here; clients want the numbers to be there."""
    details = {"text_tokens": 0, "image_tokens": 0}
    return {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0,
            "input_tokens_details": details}  # fmt: skip


def _answer(service: Service, job: Job, body: Wanted, request: Request) -> dict[str, Any]:
    data = []
    for row in pictures(service, job):
        one: dict[str, Any] = {"seed": row["seed"], "id": row["id"]}
        if body.response_format == "url":
            one["url"] = f"{_address(request)}/api/v1/images/{row['id']}/file"
        else:
            path = service.studio.image(row["id"])
            one["b64_json"] = encoded(path, body.output_format or "png")
        data.append(one)
    return {"created": int(job.ended or time.time()), "data": data, "job": job.id,
            "output_format": body.output_format or "png", "usage": _usage()}  # fmt: skip


async def _stream(
    service: Service, caller: Caller, job: Job, body: Wanted, seen: int
) -> AsyncIterator[str]:
    """Partial pictures as they come, then each whole one. seen: the last event before the job."""
    kind = body.output_format or "png"
    about = {
        "created_at": int(job.created), "background": "opaque", "quality": body.quality or "auto",
        "output_format": kind,
    }  # fmt: skip
    try:
        async for path, place in _partials(service, job, seen):
            text = await run_in_threadpool(encoded, path, kind)
            yield _event(f"{_kind(body)}.partial_image", b64_json=text, partial_image_index=place,
                         size=body.size or "auto", **about)  # fmt: skip
        done = await finished(service, caller, job)
        for row in pictures(service, done):
            text = await run_in_threadpool(encoded, service.studio.image(row["id"]), kind)
            size = f"{row['width']}x{row['height']}"
            yield _event(f"{_kind(body)}.completed", b64_json=text, size=size, usage=_usage(),
                         seed=row["seed"], **about)  # fmt: skip
    except UserError as error:
        yield f"event: error\ndata: {bytes(answer(error, '/v1/').body).decode()}\n\n"
    yield "data: [DONE]\n\n"


def _kind(body: Wanted) -> str:
    return "image_edit" if isinstance(body, Edited) else "image_generation"


async def _partials(service: Service, job: Job, seen: int) -> AsyncIterator[tuple[Path, int]]:
    """Pictures in the making with their places in the stream, until the job is over."""
    place, until = 0, time.monotonic() + PATIENCE
    while time.monotonic() < until:
        for event in await service.studio.events.wait(job.owner, seen, LOOK_S):
            seen = event.id
            if event.data.get("job") != job.id:
                continue
            path = service.studio.partial(event.data["image"]) if event.what == "partial" else None
            if path is not None and path.is_file():
                yield path, place
                place += 1
        now = service.studio.jobs.get(job.owner, job.id)
        if now.is_over or now.state == "held":
            return


def _event(kind: str, **data: Any) -> str:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **data})}\n\n"
