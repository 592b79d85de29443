"""/api/v1/uploads: pictures to be painted over. Torch-free."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, UploadFile
from fastapi.concurrency import run_in_threadpool

from kaiffin.serve.decoding import Kind
from kaiffin.serve.routes.common import incoming
from kaiffin.serve.service import Painter, Served
from kaiffin.serve.uploads import Upload

router = APIRouter(prefix="/api/v1/uploads", tags=["images"])


@router.post("", status_code=201)
async def upload(
    file: UploadFile, caller: Painter, service: Served,
    kind: Annotated[Kind, Query(description="or a mask, and how it is one")] = "photo",
) -> Upload:  # fmt: skip
    """A photo or a mask of any format that Kaiffin reads; kept for a day."""
    await run_in_threadpool(service.holdings.refuse, caller, file.size or 0)
    async with incoming(service, file) as path:
        return await service.uploads.add(caller.owner, path, kind)
