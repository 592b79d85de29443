"""/api/v1/datasets: photos one by one, captions, crops, the contact sheet. Torch-free."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Query, UploadFile
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse
from pydantic import Field

from kaiffin.foundation.run import CONTACT_SHEET
from kaiffin.serve.datasets import Dataset, Photo
from kaiffin.serve.example import make as make_example
from kaiffin.serve.jobs import Conflict, NotFound
from kaiffin.serve.requests import ID, LONGEST, Body, Name
from kaiffin.serve.routes.common import (
    Before,
    Limit,
    Page,
    ThingId,
    incoming,
    page,
    sends,
    shown_name,
)
from kaiffin.serve.service import Reader, Served, Trainer

router = APIRouter(prefix="/api/v1/datasets", tags=["datasets"])
Caption = Annotated[str, Field(max_length=LONGEST)]
Side = Annotated[int, Field(ge=0, le=100_000)]
Word = Annotated[str, Field(max_length=80, description="of the subject: what prompts call it")]


class NewDataset(Body):
    name: Name = ""
    subject: Word = ""
    noun: Word = ""
    example: bool = Field(False, description="six drawn photos of Kaiffin, a puffin, to try with")


class Renamed(Body):
    """What is left out stays."""

    name: Name | None = None
    subject: Word | None = None
    noun: Word | None = None


class Crop(Body):
    """A part of the upright photo, in pixels."""

    left: Side
    top: Side
    width: Annotated[int, Field(ge=16, le=100_000)]
    height: Annotated[int, Field(ge=16, le=100_000)]


class Change(Body):
    """What is left out stays; a crop of null is the whole photo."""

    caption: Caption | None = None
    crop: Crop | None = None
    left_out: bool | None = Field(None, description="not trained on, but kept")


@router.get("")
def datasets(
    caller: Reader, service: Served, limit: Limit = 50, before: Before = None
) -> Page[Dataset]:
    """The newest first."""
    return page(service.datasets.list(caller.owner, limit, before), limit)


@router.post("", status_code=201)
async def create(body: NewDataset, caller: Trainer, service: Served) -> Dataset:
    """An empty one, or an example."""
    if body.example:
        return await make_example(service.datasets, caller.owner)
    make = service.datasets.create
    return await run_in_threadpool(make, caller.owner, body.name, body.subject, body.noun)


@router.get("/{id}")
def dataset(id: ThingId, caller: Reader, service: Served) -> Dataset:
    """One dataset."""
    return service.datasets.get(caller.owner, id)


@router.patch("/{id}")
def rename(id: ThingId, body: Renamed, caller: Trainer, service: Served) -> Dataset:
    """Another name, word or noun."""
    return service.datasets.rename(caller.owner, id, body.model_dump(exclude_none=True))


@router.delete("/{id}", status_code=204)
def delete(id: ThingId, caller: Trainer, service: Served) -> None:
    """With its photos; not while a job works with it."""
    service.datasets.delete(caller.owner, id)


@router.get("/{id}/photos")
def photos(
    id: ThingId, caller: Reader, service: Served, limit: Limit = 50,
    after: Annotated[str | None, Query(pattern=ID)] = None,
) -> Page[Photo]:  # fmt: skip
    """In the order in which they came."""
    found = service.datasets.photos(caller.owner, id, limit, after)
    return page(found, limit)


@router.post("/{id}/photos", status_code=201)
async def add_photo(
    id: ThingId, file: UploadFile, caller: Trainer, service: Served,
    caption: Annotated[str, Form(max_length=LONGEST)] = "",
) -> Photo:  # fmt: skip
    """One photo of any format that Kaiffin reads; the same bytes again are the same photo."""
    service.datasets.get(caller.owner, id)
    await run_in_threadpool(service.holdings.refuse, caller, file.size or 0)
    async with incoming(service, file) as path:
        return await service.datasets.add(caller.owner, id, path, shown_name(file), caption)


@router.get("/{id}/photos/{photo}")
def photo(id: ThingId, photo: ThingId, caller: Reader, service: Served) -> Photo:
    """One photo's facts."""
    return service.datasets.photo(caller.owner, id, photo)


@router.patch("/{id}/photos/{photo}")
async def change_photo(
    id: ThingId, photo: ThingId, body: Change, caller: Trainer, service: Served
) -> Photo:
    """Another caption or crop; left out, or put back."""
    before = service.datasets.photo(caller.owner, id, photo)
    given = body.model_fields_set
    if body.left_out is not None:
        before = await run_in_threadpool(service.datasets.leave_out, before, body.left_out)
    return await service.datasets.change(
        before,
        caption=(body.caption or "") if "caption" in given else None,
        crop=body.crop.model_dump() if body.crop else None,
        uncrop="crop" in given and body.crop is None,
    )


@router.delete("/{id}/photos/{photo}", status_code=204)
def delete_photo(id: ThingId, photo: ThingId, caller: Trainer, service: Served) -> None:
    """Not while a job works with the dataset."""
    found = service.datasets.photo(caller.owner, id, photo)
    service.datasets.remove(caller.owner, found)


@router.get(
    "/{id}/photos/{photo}/shown", response_class=FileResponse, responses=sends("image/jpeg")
)
def shown_photo(
    id: ThingId, photo: ThingId, caller: Reader, service: Served, thumb: bool = False
) -> FileResponse:
    """The photo as a JPEG of our own making, without places or anything else of its EXIF."""
    found = service.datasets.photo(caller.owner, id, photo)
    path = service.datasets.picture(found, thumb=thumb)
    if not path.is_file():
        raise NotFound("the picture of this photo is not there.", "Send the photo again.")
    return FileResponse(path, media_type="image/jpeg")


@router.get("/{id}/sheet", response_class=FileResponse, responses=sends("image/png"))
def sheet(id: ThingId, caller: Reader, service: Served) -> FileResponse:
    """The contact sheet of the newest scan."""
    service.datasets.get(caller.owner, id)
    for job in service.studio.jobs.list(caller.owner, kind="scan", state="done", limit=200):
        path = service.studio.made(job.id) / CONTACT_SHEET
        if job.request["dataset"] == id and path.is_file():
            return FileResponse(path, media_type="image/png")
    raise Conflict("these photos have not been scanned yet.", "Ask for a scan first.")
