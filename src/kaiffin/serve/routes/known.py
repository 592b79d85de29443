"""/api/v1/bases/known: published bases that are not served, and how they get here. Torch-free."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel

from kaiffin.serve.service import Reader, Served
from kaiffin.stories.bases import KnownBase, bases

router = APIRouter(prefix="/api/v1/bases", tags=["bases"])
HOW = (
    "Whoever runs this service types these on its machine. The files come into the folder that"
    " HF_HOME names, else .cache/huggingface of that person's home. Without a network: fetch them"
    " on a machine that has one, and copy that folder."
)


class Absent(BaseModel):
    """about: size and licence; commands: in this order."""

    name: str
    about: str
    commands: list[str]


class Known(BaseModel):
    how: str
    bases: list[Absent]


@router.get("/known")
def known(caller: Reader, service: Served) -> Known:
    """Those with a short name that callers may not use yet."""
    absent = [one for one in bases() if one.published and one.name not in service.bases]
    return Known(how=HOW, bases=[_absent(one) for one in absent])


def _absent(one: KnownBase) -> Absent:
    said = one.published
    assert said is not None
    size = f"{(said.half or said.full) / 1e9:.1f} GB"
    get = [] if one.status.state in ("here", "half") else [f"kaiffin bases get {one.name}"]
    return Absent(
        name=one.name, about=" · ".join(filter(None, (size, said.licence, said.note))),
        commands=[*get, f"kaiffin serve --base {one.name}"],
    )  # fmt: skip
