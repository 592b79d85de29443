"""/api/v1/adapters: files in and out, and their export proof. Torch-free."""

from __future__ import annotations

from fastapi import APIRouter, UploadFile
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse

from kaiffin.foundation.folder import file_name
from kaiffin.serve.adapters import Adapter
from kaiffin.serve.asking import submit
from kaiffin.serve.requests import BaseName, Body, Export
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
from kaiffin.serve.routes.jobs import IdempotencyKey, ShownJob, shown
from kaiffin.serve.service import Painter, Reader, Served, Trainer

router = APIRouter(prefix="/api/v1/adapters", tags=["adapters"])


class Proof(Body):
    base: BaseName


@router.get("")
def adapters(
    caller: Reader, service: Served, limit: Limit = 50, before: Before = None
) -> Page[Adapter]:
    """Those that were imported, the newest first."""
    return page(service.adapters.list(caller.owner, limit, before), limit)


@router.post("", status_code=201)
async def import_adapter(file: UploadFile, caller: Trainer, service: Served) -> Adapter:
    """A .safetensors file of any layout."""
    await run_in_threadpool(service.holdings.refuse, caller, file.size or 0)
    async with incoming(service, file) as path:
        return await run_in_threadpool(service.adapters.add, caller.owner, path, shown_name(file))


@router.get("/{id}")
def adapter(id: ThingId, caller: Reader, service: Served) -> Adapter:
    """What its header says of it."""
    return service.adapters.get(caller.owner, id)


@router.get("/{id}/file", response_class=FileResponse, responses=sends("application/octet-stream"))
def download(id: ThingId, caller: Reader, service: Served) -> FileResponse:
    """The file as it came."""
    found = service.adapters.get(caller.owner, id)
    name = file_name(found.name.removesuffix(".safetensors"), "adapter", keep=".") + ".safetensors"
    path = service.studio.adapter(found.id)
    return FileResponse(path, media_type="application/octet-stream", filename=name)


@router.delete("/{id}", status_code=204)
def delete(id: ThingId, caller: Trainer, service: Served) -> None:
    """For good; a job that needs it fails."""
    service.adapters.delete(caller.owner, id)


@router.post("/{id}/verify", status_code=201)
def verify(
    id: ThingId, body: Proof, caller: Painter, service: Served,
    idempotency_key: IdempotencyKey = None,
) -> ShownJob:  # fmt: skip
    """Proves on a base that other programs read it to the same output: a job."""
    asked = Export(adapter=service.adapters.get(caller.owner, id).id, base=body.base)
    return shown(service, submit(service, caller, "export", asked, key=idempotency_key))
