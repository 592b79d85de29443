"""What the routes work with: the data folder and all that is kept in it. Torch-free."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import Depends, Request

from kaiffin.foundation.errors import UserError, nearest
from kaiffin.models.files.embedded import EMBEDDED
from kaiffin.serve.adapters import Adapters
from kaiffin.serve.datasets import Datasets
from kaiffin.serve.decoding import Decoder
from kaiffin.serve.errors import Refused
from kaiffin.serve.holdings import Holdings
from kaiffin.serve.keys import Caller, Keys, Scope
from kaiffin.serve.planning import Planner
from kaiffin.serve.studio import Studio
from kaiffin.serve.uploads import Uploads


@dataclass
class Service:
    """bases: the names that callers may use; devices: what computes, as the workers' overseer says
    it; cookie: the name of a session's."""

    studio: Studio
    bases: Collection[str] = tuple(EMBEDDED)
    devices: Callable[[], list[dict[str, Any]]] = list
    cookie: str = "kaiffin"
    started: float = field(default_factory=time.time)

    def __post_init__(self) -> None:
        self.keys, self.decoder = Keys(self.studio.db), Decoder()
        self.uploads = Uploads(self.studio, self.decoder)
        self.planner = Planner(self.studio.work / "plans")
        self.datasets = Datasets(self.studio, self.decoder)
        self.adapters, self.holdings = Adapters(self.studio), Holdings(self.studio)

    def check_base(self, name: str) -> None:
        """UserError for a base that is not on the operator's list."""
        if name not in self.bases:
            raise UserError(f"base {name!r} is not served here.", nearest(name, self.bases))


async def _service(request: Request) -> Service:
    return request.app.state.service


Served = Annotated[Service, Depends(_service)]


class Needs:
    """The dependency that lets in who has one of these scopes. Every route has one."""

    def __init__(self, *scopes: Scope) -> None:
        self.scopes = scopes

    async def __call__(self, request: Request) -> Caller:
        caller: Caller | None = request.state.caller
        if caller is None:
            raise Refused(401, "who is calling is not known.", "Send a key.")
        require(caller, *self.scopes)
        return caller


def require(caller: Caller, *scopes: Scope) -> None:
    """403 for who has none of them."""
    if not caller.scopes & set(scopes):
        raise Refused(403, f"this key has not the scope {' or '.join(scopes)}.",
                      "Use a key that has it, or ask the operator for one.")  # fmt: skip


Reader = Annotated[Caller, Depends(Needs("read"))]
Painter = Annotated[Caller, Depends(Needs("generate"))]
Trainer = Annotated[Caller, Depends(Needs("train"))]
Asker = Annotated[Caller, Depends(Needs("generate", "train"))]
Admin = Annotated[Caller, Depends(Needs("admin"))]
