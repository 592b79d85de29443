"""/api/v1/bases/known: the published bases, and how one that is not here gets here. Torch-free."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel

from kaiffin.serve.service import Reader, Served
from kaiffin.stories.bases import bases

router = APIRouter(prefix="/api/v1/bases", tags=["bases"])


class Known(BaseModel):
    """here: whole on this machine, in half precision at least; served: callers may name it; bytes:
    of its weights, the smaller set where there are two; commands: for whoever runs the service, in
    this order."""

    name: str
    here: bool
    served: bool
    bytes: int
    licence: str
    note: str
    commands: list[str]


@router.get("/known")
def known(caller: Reader, service: Served) -> list[Known]:
    """Those with a short name, whether they are here or not."""
    found = []
    for one in bases():
        if one.published is None:
            continue
        here, served = one.status.state in ("here", "half"), one.name in service.bases
        commands = [] if here else [f"kaiffin bases get {one.name}"]
        found.append(Known(
            name=one.name, here=here, served=served, licence=one.published.licence,
            bytes=one.published.half or one.published.full, note=one.published.note,
            commands=commands if served else [*commands, f"kaiffin serve --base {one.name}"],
        ))  # fmt: skip
    return found
