"""What the routes have in common: pages of lists, names, files that come in. Torch-free."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar

from fastapi import Path as InPath
from fastapi import Query, UploadFile
from fastapi.concurrency import run_in_threadpool

from kaiffin.foundation.errors import UserError
from kaiffin.foundation.folder import explained
from kaiffin.serve.database import new_id
from kaiffin.serve.errors import Failure, ForeignFailure
from kaiffin.serve.requests import ID
from kaiffin.serve.service import Service

T = TypeVar("T")
Responses = dict[int | str, dict[str, Any]]
ThingId = Annotated[str, InPath(max_length=32, description="an id that the service gave")]
Limit = Annotated[int, Query(ge=1, le=200, description="how many at most")]
Before = Annotated[
    str | None, Query(pattern=ID, description="the last one of the page before this")
]
# What any route may answer beside its success.
FAILURES: Responses = {
    status: {"model": Failure, "description": words}
    for status, words in {
        400: "what was sent cannot be taken", 401: "nobody knows the caller",
        403: "the key has not the scope, or the call comes from another site's page",
        404: "not there, or another's", 409: "not as things are now", 413: "too large",
        415: "of another type", 429: "above a quota", 507: "the disk is full",
    }.items()
}  # fmt: skip


FOREIGN_FAILURES: Responses = {
    status: {**words, "model": ForeignFailure} for status, words in FAILURES.items()
}


def sends(kind: str) -> Responses:
    """A route's description: it answers with a file of this type."""
    binary = {"schema": {"type": "string", "format": "binary"}}
    return {200: {"content": {kind: {} if kind == "text/event-stream" else binary}}}


@dataclass
class Page(Generic[T]):
    """Some of a list; next: what to give as `before` (or `after`) for more, null at its end."""

    items: list[T]
    next: str | None


def page(items: Sequence[T], limit: int) -> Page[T]:
    """items: each with an id, no more than `limit`."""
    last: Any = items[-1] if items else None
    return Page(list(items), last.id if len(items) == limit else None)


@contextlib.asynccontextmanager
async def incoming(service: Service, file: UploadFile) -> AsyncIterator[Path]:
    """The file on the disk under a new id, gone afterwards unless it was moved."""
    if not file.size:
        raise UserError("the file is empty.", "Send it again.")
    path = service.studio.folder("incoming") / new_id()

    def store() -> None:
        with explained(path), path.open("wb") as out:
            shutil.copyfileobj(file.file, out)

    try:
        await run_in_threadpool(store)
        yield path
    finally:
        path.unlink(missing_ok=True)


def shown_name(file: UploadFile) -> str:
    """What the sender called it, as text to show: no path, no marks that hide others."""
    name = (file.filename or "").replace("\\", "/").rpartition("/")[2]
    return "".join(c for c in name if c.isprintable())[:120]
