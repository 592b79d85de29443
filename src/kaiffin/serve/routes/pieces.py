"""/api/v1/pieces: how a base reads a prompt. Torch-free."""

from __future__ import annotations

import math
from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, Field

from kaiffin.models.files import pieces
from kaiffin.serve.narrow import LONGEST, MANY
from kaiffin.serve.requests import BaseName, Body
from kaiffin.serve.service import Reader, Served

router = APIRouter(prefix="/api/v1", tags=["pieces"])
PART = 75  # of a part of a prompt, beside its begin and its end


class Texts(Body):
    base: BaseName
    texts: Annotated[tuple[Annotated[str, Field(max_length=LONGEST)], ...], Field(max_length=MANY)]


class Pieces(BaseModel):
    """pieces: tokens of the vocabulary; parts: in so many a prompt of that length is read."""

    pieces: int
    parts: int


@router.post("/pieces")
def count(body: Texts, caller: Reader, service: Served) -> list[Pieces]:
    """Of each text, by the base's own vocabulary."""
    service.check_base(body.base)
    found = [pieces.count(body.base, text) for text in body.texts]
    return [Pieces(pieces=n, parts=max(1, math.ceil(n / PART))) for n in found]
