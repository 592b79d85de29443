"""/api/v1/images: pictures that were made, small and whole, their recipes, votes. Torch-free."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, BackgroundTasks, Query
from fastapi.responses import FileResponse
from PIL import Image
from pydantic import BaseModel

from kaiffin.foundation.folder import explained
from kaiffin.pictures import png
from kaiffin.serve.asking import image_row
from kaiffin.serve.database import new_id
from kaiffin.serve.errors import without_paths
from kaiffin.serve.jobs import NotFound
from kaiffin.serve.requests import ID, Body
from kaiffin.serve.routes.common import Before, Limit, Page, ThingId, page, sends
from kaiffin.serve.service import Painter, Reader, Served, Service

router = APIRouter(prefix="/api/v1/images", tags=["images"])
MOST_ZIPPED = 200  # pictures in one file
THUMB = 256  # pixels of the longer side
FOR_EVER = {"cache-control": "private, max-age=31536000, immutable"}  # a picture never changes


class ShownImage(BaseModel):
    """vote: -1, 0 or 1."""

    id: str
    job: str
    created: float
    vote: int
    width: int
    height: int
    prompt: str
    seed: int


class Vote(Body):
    vote: Literal[-1, 0, 1]


@router.get("")
def images(
    caller: Reader, service: Served, limit: Limit = 50, before: Before = None,
    job: Annotated[str | None, Query(pattern=ID)] = None,
    search: Annotated[str, Query(max_length=200, description="a part of the prompt")] = "",
    liked: Annotated[bool, Query(description="favourites alone")] = False,
) -> Page[ShownImage]:  # fmt: skip
    """The newest first; of one job, if it is named."""
    where, values = ["owner = ?"], [caller.owner]
    if job:
        where.append("job = ?")
        values.append(job)
    if search:
        where.append("instr(lower(prompt), lower(?))")
        values.append(search)
    if liked:
        where.append("vote = 1")
    if before:
        image_row(service, caller.owner, before)
        where.append("number < (SELECT number FROM images WHERE id = ?)")
        values.append(before)
    query = f"SELECT * FROM images WHERE {' AND '.join(where)} ORDER BY number DESC LIMIT ?"
    rows = service.studio.db.rows(query, (*values, limit))
    return page([ShownImage(**dict(row)) for row in rows], limit)


@router.get("/zip", response_class=FileResponse, responses=sends("application/zip"))
def zipped(
    ids: Annotated[str, Query(max_length=17 * MOST_ZIPPED, description="joined by commas")],
    caller: Reader, service: Served, tasks: BackgroundTasks,
) -> FileResponse:  # fmt: skip
    """Several PNGs in one file."""
    found = {id: _file(service, caller.owner, id) for id in ids.split(",")}
    path = service.studio.folder("incoming") / f"{new_id()}.zip"
    tasks.add_task(path.unlink, missing_ok=True)
    with explained(path), zipfile.ZipFile(path, "w") as file:  # PNGs are no smaller in it
        for id, picture in found.items():
            file.write(picture, f"{id}.png")
    return FileResponse(path, media_type="application/zip", filename="kaiffin.zip")


@router.get("/{id}")
def image(id: ThingId, caller: Reader, service: Served) -> ShownImage:
    """One picture's facts."""
    return ShownImage(**image_row(service, caller.owner, id))


@router.get("/{id}/recipe")
def recipe(id: ThingId, caller: Reader, service: Served) -> dict[str, Any]:
    """All that is needed to make it again; adapters by name."""
    return without_paths(png.read(_file(service, caller.owner, id)))


@router.get("/{id}/file", response_class=FileResponse, responses=sends("image/png"))
def whole(id: ThingId, caller: Reader, service: Served) -> FileResponse:
    """The PNG, with its recipe inside."""
    path = _file(service, caller.owner, id)
    return FileResponse(path, media_type="image/png", headers=FOR_EVER)


@router.get("/{id}/thumb", response_class=FileResponse, responses=sends("image/jpeg"))
def thumb(id: ThingId, caller: Reader, service: Served) -> FileResponse:
    """A small JPEG of it."""
    source = _file(service, caller.owner, id)
    path = service.studio.path / "thumbs" / f"{id}.jpg"
    if not path.is_file():
        with Image.open(source) as found:
            small = found.convert("RGB")
        small.thumbnail((THUMB, THUMB), Image.Resampling.LANCZOS)
        small.save(path, format="JPEG", quality=90)
    return FileResponse(path, media_type="image/jpeg", headers=FOR_EVER)


@router.post("/{id}/vote")
def vote(id: ThingId, body: Vote, caller: Painter, service: Served) -> ShownImage:
    """Whether it is liked."""
    with service.studio.db.transaction() as writer:
        query = "UPDATE images SET vote = ? WHERE owner = ? AND id = ?"
        writer.execute(query, (body.vote, caller.owner, id))
    return ShownImage(**image_row(service, caller.owner, id))


@router.delete("/{id}", status_code=204)
def delete(id: ThingId, caller: Painter, service: Served) -> None:
    """For good."""
    path = service.studio.image(image_row(service, caller.owner, id)["id"])
    with service.studio.db.transaction() as writer:
        writer.execute("DELETE FROM images WHERE owner = ? AND id = ?", (caller.owner, id))
    path.unlink(missing_ok=True)
    (service.studio.path / "thumbs" / f"{id}.jpg").unlink(missing_ok=True)


def _file(service: Service, owner: str, id: str) -> Path:
    path = service.studio.image(image_row(service, owner, id)["id"])
    if not path.is_file():
        raise NotFound("the file of this picture is gone.", "Ask for the picture again.")
    return path
