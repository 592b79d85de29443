"""/api/v1/votes: which picture of a row is the better one, as people see it. Torch-free.

A vote of a comparison is no favourite: it holds for the pictures that stood side by side.
"""

from __future__ import annotations

import json
import time
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field, model_validator

from kaiffin.serve.asking import image_row
from kaiffin.serve.requests import Body, Id
from kaiffin.serve.service import Painter, Reader, Served

router = APIRouter(prefix="/api/v1/votes", tags=["votes"])
RIVALS = 6


class Vote(Body):
    """images: that stood side by side; won: one of them, null takes the vote back."""

    images: Annotated[tuple[Id, ...], Field(min_length=2, max_length=RIVALS)]
    won: Id | None

    @model_validator(mode="after")
    def _one_of_them(self) -> Vote:
        if len(set(self.images)) < len(self.images):
            raise ValueError("images: names one twice")
        if self.won is not None and self.won not in self.images:
            raise ValueError("won: is none of the images")
        return self


class Cast(BaseModel):
    images: list[str]
    won: str


@router.get("")
def votes(
    caller: Reader, service: Served,
    jobs: Annotated[str, Query(max_length=17 * RIVALS, description="joined by commas")],
) -> list[Cast]:  # fmt: skip
    """Those that a picture of one of these jobs has won."""
    ids = jobs.split(",")
    query = (
        "SELECT images, won FROM votes WHERE owner = ? AND won IN"
        f" (SELECT id FROM images WHERE owner = ? AND job IN ({','.join('?' * len(ids))}))"
    )
    rows = service.studio.db.rows(query, (caller.owner, caller.owner, *ids))
    return [Cast(images=json.loads(row["images"]), won=row["won"]) for row in rows]


@router.put("", status_code=204)
def cast(body: Vote, caller: Painter, service: Served) -> None:
    """One vote for these pictures, in place of the one before."""
    for id in body.images:
        image_row(service, caller.owner, id)
    images = json.dumps(sorted(body.images))
    with service.studio.db.transaction() as writer:
        writer.execute("DELETE FROM votes WHERE owner = ? AND images = ?", (caller.owner, images))
        if body.won:
            values = (caller.owner, images, body.won, time.time())
            writer.execute("INSERT INTO votes VALUES (?, ?, ?, ?)", values)
