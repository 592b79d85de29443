"""/api/v1/events: one stream for all of a user's jobs, live or from any place on. Torch-free."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import Response
from pydantic import BaseModel
from sse_starlette import EventSourceResponse, ServerSentEvent

from kaiffin.serve import asking
from kaiffin.serve.errors import without_paths
from kaiffin.serve.events import Event
from kaiffin.serve.routes.common import sends
from kaiffin.serve.service import Reader, Served, Service

router = APIRouter(prefix="/api/v1/events", tags=["events"])
WAIT_S = 10.0  # between looks at whether the caller is still let in
STREAM: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}
}
Since = Annotated[int, Query(ge=0, le=2**62, description="the last one that was seen")]


class ShownEvent(BaseModel):
    """what: `job` for a new state, `progress`, `note`, `picture`; at: seconds since 1970."""

    id: int
    what: str
    data: dict[str, Any]
    at: float


class Some(BaseModel):
    """Events in order; next: what to give as `since` for more."""

    items: list[ShownEvent]
    next: int


@router.get("", response_class=EventSourceResponse, responses=sends("text/event-stream"))
async def events(
    request: Request, caller: Reader, service: Served, since: Annotated[int | None, Query(
        ge=0, le=2**62, description="the last one that was seen; default: only what comes")] = None,
    last_event_id: Annotated[str | None, Header(max_length=30)] = None,
) -> Response:  # fmt: skip
    """A stream; after a break it goes on behind `Last-Event-ID`."""
    given = last_event_id or ""
    seen = min(int(given), 2**62) if given.isdecimal() else since
    if seen is None:
        seen = service.studio.events.last(caller.owner)
    is_in = request.scope["state"]["is_in"]
    return EventSourceResponse(_stream(service, caller.owner, seen, is_in), ping=15)


async def _stream(
    service: Service, owner: str, seen: int, is_in: Any
) -> AsyncIterator[ServerSentEvent]:
    yield ServerSentEvent(comment="kaiffin")  # so that proxies pass the head on at once
    while is_in():
        for event in await service.studio.events.wait(owner, seen, WAIT_S):
            seen = event.id
            data = json.dumps({**without_paths(dict(event.data)), "at": event.at})
            yield ServerSentEvent(data=data, event=event.what, id=str(event.id))


@router.get("/page")
async def some(
    caller: Reader, service: Served, since: Since = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
    wait: Annotated[float, Query(ge=0, le=asking.WAIT_MOST)] = 0,
) -> Some:  # fmt: skip
    """The same by polling."""
    log = service.studio.events
    found = (
        await log.wait(caller.owner, since, min(wait, asking.WAIT_MOST))
        if wait
        else log.since(caller.owner, since, limit)
    )
    items = [_shown(event) for event in found[:limit]]
    return Some(items=items, next=items[-1].id if items else since)


def _shown(event: Event) -> ShownEvent:
    return ShownEvent(
        id=event.id, what=event.what, data=without_paths(dict(event.data)), at=event.at
    )
