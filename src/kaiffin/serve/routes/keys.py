"""/api/v1/keys and /users: who may come in. Torch-free."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, Field

from kaiffin.foundation.schema import MOST
from kaiffin.serve.keys import SCOPES, Key, Quotas, Scope
from kaiffin.serve.requests import Body
from kaiffin.serve.routes.common import ThingId
from kaiffin.serve.service import Admin, Served

router = APIRouter(prefix="/api/v1", tags=["keys"])
Word = Annotated[str, Field(min_length=1, max_length=60, pattern=r"^[\w.@ -]+$")]
Most = Annotated[int | None, Field(ge=0, le=MOST * 1000)]


class NewKey(Body):
    """A key for a user, who is made where there is none of this name."""

    name: Word
    user: Word
    scopes: tuple[Scope, ...] = Field(SCOPES, min_length=1, max_length=4)
    pictures: Most = Field(None, description="a day")
    queued: Most = Field(None, description="jobs that are not over")
    bytes: Most = Field(None, description="of photos, adapters, pictures and runs")


class Shown(BaseModel):
    """A new key; its secret is shown this once."""

    key: Key
    secret: str


class User(BaseModel):
    id: str
    name: str
    created: float


@router.get("/keys")
def keys(caller: Admin, service: Served) -> list[Key]:
    """All keys, without their secrets."""
    return service.keys.every()


@router.post("/keys", status_code=201)
def add_key(body: NewKey, caller: Admin, service: Served) -> Shown:
    """Makes a key."""
    quotas = Quotas(body.pictures, body.queued, body.bytes)
    key, secret = service.keys.add(body.name, user=body.user, scopes=body.scopes, quotas=quotas)
    return Shown(key=key, secret=secret)


@router.delete("/keys/{id}")
def revoke_key(id: ThingId, caller: Admin, service: Served) -> Key:
    """From now on it opens nothing."""
    return service.keys.revoke(id)


@router.get("/users")
def users(caller: Admin, service: Served) -> list[User]:
    """Everyone who has or had a key."""
    return [User(**row) for row in service.keys.users()]
