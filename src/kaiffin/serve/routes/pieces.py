"""/api/v1/pieces: how a base reads prompts. Torch-free."""

from __future__ import annotations

import math
from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, Field

from kaiffin.foundation.tell import SILENT
from kaiffin.models.files import pieces
from kaiffin.serve.narrow import LONGEST
from kaiffin.serve.requests import BaseName, Body
from kaiffin.serve.service import Reader, Served

router = APIRouter(prefix="/api/v1", tags=["pieces"])
PART = 75  # of a part of a prompt, beside its begin and its end
TYPED = 100_000  # characters that somebody may paste, and be told that they are too many


class Texts(Body):
    base: BaseName
    texts: Annotated[tuple[Annotated[str, Field(max_length=TYPED)], ...], Field(max_length=1000)]


class Pieces(BaseModel):
    """pieces: tokens of the longest text; parts: in so many it is read; said: that in words, "" for
    nothing."""

    pieces: int
    parts: int
    said: str


@router.post("/pieces")
def count(body: Texts, caller: Reader, service: Served) -> Pieces:
    """Of the longest text, by the base's own vocabulary."""
    service.check_base(body.base)
    most = max((pieces.count(body.base, text, SILENT) for text in body.texts), default=0)
    parts = max(1, math.ceil(most / PART))
    longest = max(map(len, body.texts), default=0)
    return Pieces(pieces=most, parts=parts, said=_said(most, parts, longest))


def _said(most: int, parts: int, longest: int) -> str:
    if longest > LONGEST:
        return (
            f"{longest:,} characters in one line, {LONGEST:,} at most can be drawn: shorten it, or"
            " break it into lines; each is a prompt."
        )
    if parts > 1:
        return (
            f"Length {most}, more than {PART}: it is read in {parts} parts, and the later ones"
            " count less. Say first what matters most."
        )
    return f"Length {most} of {PART}; rare words count more." if most else ""
