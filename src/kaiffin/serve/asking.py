"""From what a caller asks for to a job: things looked up, quotas counted, the answer waited for.

Torch-free.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import math
import secrets
import time
from collections.abc import Iterator
from typing import Any

from kaiffin.foundation.errors import UserError
from kaiffin.serve.datasets import LIVE
from kaiffin.serve.jobs import Job, NotFound
from kaiffin.serve.keys import Caller, Scope
from kaiffin.serve.named import names_of
from kaiffin.serve.requests import KINDS, Asked, Kind
from kaiffin.serve.service import Service, require
from kaiffin.serve.studio import begun_from

NEEDED: dict[str, Scope] = {
    kind: "train" if kind in ("scan", "train", "sweep") else "generate" for kind in KINDS
}
WAIT_MOST = 300.0  # seconds that a request waits for its job


def submit(
    service: Service, caller: Caller, kind: Kind, asked: Asked, *, key: str | None = None
) -> Job:
    """The job, queued; the one before where `key` came before. NotFound for things that are not
    the caller's, 403 without the scope, 429 above a quota."""
    require(caller, NEEDED[kind])
    request = asked.frozen()
    check(service, caller.owner, request, drawn=kind not in ("report", "export"))
    request = _meant(service, caller.owner, kind, request, key)
    jobs = service.studio.jobs
    with service.studio.db.transaction() as writer:
        known = "SELECT 1 FROM jobs WHERE owner = ? AND key = ?"
        if key is None or not writer.execute(known, (caller.owner, key)).fetchone():
            live = jobs.count(caller.owner, *LIVE)
            service.keys.charge(caller, pictures(kind, request), live)
            service.holdings.refuse(caller, 1)  # what a job makes is not known before
        return jobs.submit(caller.owner, kind, request, key=key)


def _meant(
    service: Service, owner: str, kind: Kind, request: dict[str, Any], key: str | None
) -> dict[str, Any]:
    """With a seed where any will do, the same one for a request that is repeated, and with ids for
    the names in prompts."""
    if request.get("seed") == -1:
        chance = hashlib.sha256(f"{owner} {key}".encode()) if key else None
        seed = int.from_bytes(chance.digest()[:4]) if chance else secrets.randbelow(2**32)
        request = {**request, "seed": seed}
    if kind == "generate":
        request = {**request, "names": names_of(service, owner, request)}
    return request


def pictures(kind: str, request: dict[str, Any]) -> int:
    """How many a job makes that are asked for."""
    if kind == "generate":
        return len(request["prompts"]) * request["count"]
    if kind == "grid":
        values = (text.count("|" if "|" in text else ",") + 1 for text in request["axes"].values())
        return math.prod(values) * request["count"]
    if kind == "sweep":
        trials = math.prod(map(len, request["grid"].values())) * len(request["seeds"])
        return trials * len(request["prompts"]) * request["count"]
    return 0


def check(service: Service, owner: str, request: dict[str, Any], *, drawn: bool = False) -> None:
    """Everything that is named is there, and the caller's; drawn: with the bases of runs."""
    looks = {
        "dataset": lambda id: service.datasets.get(owner, id),
        "adapter": lambda id: service.adapters.get(owner, id),
        "run": lambda id: _check_run(service, owner, id, drawn),
        "image": lambda id: image_row(service, owner, id),
        "named": lambda id: _named(service, owner, id),
        "base": service.check_base,
        "picture": lambda id: picture(service, owner, id),
    }
    for what, id in named(request):
        looks[what](id)


def named(request: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What a frozen request names, as (kind of thing, id)."""
    places = {
        "dataset": ["dataset", "like"], "adapter": ["init_from", "adapter"], "run": ["run"],
        "base": ["base"],
    }  # fmt: skip
    for what, fields in places.items():
        yield from ((what, request[name]) for name in fields if request.get(name))
    for what, name in (("run", "runs"), ("image", "images"), ("adapter", "embeddings")):
        yield from ((what, id) for id in request.get(name) or ())
    yield from (("adapter", worn["adapter"]) for worn in request.get("adapters") or ())
    yield from (("named", id) for id in (request.get("names") or {}).values())
    yield from (("dataset", id) for id in (request.get("phase_datasets") or {}).values())
    yield from (("dataset", id) for id in request.get("subject_datasets") or ())
    yield from (("picture", id) for _, id in begun_from(request))
    if "config" in request:
        yield "base", request["config"]["base"]["name"]


def _check_run(service: Service, owner: str, id: str, drawn: bool) -> None:
    base = run_job(service, owner, id).request["config"]["base"]["name"]
    if drawn and base not in service.bases:
        raise UserError(
            f"base {base!r}, which this training was made with, is not served here any more.",
            "Ask whoever runs the service to put it back, or train again with another base.",
        )


def _named(service: Service, owner: str, id: str) -> None:
    """An adapter, an embedding or a run."""
    try:
        service.adapters.get(owner, id)
    except NotFound:
        run_job(service, owner, id)


def run_job(service: Service, owner: str, id: str) -> Job:
    """The training that made the run, whose id it has; NotFound where there is none."""
    try:
        job = service.studio.jobs.get(owner, id)
    except NotFound:
        job = None
    if job is None or job.kind != "train":
        raise NotFound(f"there is no run {id[:40]}.", "The list of runs has those that are yours.")
    return job


def image_row(service: Service, owner: str, id: str) -> dict[str, Any]:
    """A picture's row; NotFound where there is none."""
    query = "SELECT * FROM images WHERE owner = ? AND id = ?"
    rows = service.studio.db.rows(query, (owner, id))
    if not rows:
        raise NotFound(f"there is no picture {id[:40]}.", "The list of images has yours.")
    return dict(rows[0])


def picture(service: Service, owner: str, id: str) -> None:
    """NotFound where it is neither in the gallery nor an upload."""
    with contextlib.suppress(NotFound):
        image_row(service, owner, id)
        return
    service.uploads.get(owner, id)


async def wait(service: Service, owner: str, id: str, seconds: float) -> Job:
    """The job as it is once it is over, or after that time, or when the service ends."""
    until = time.monotonic() + min(seconds, WAIT_MOST)
    events = service.studio.events
    with events.listening(id) as flag:
        while True:
            flag.clear()
            job, left = service.studio.jobs.get(owner, id), until - time.monotonic()
            if job.is_over or job.state == "held" or left <= 0 or events.is_over:
                return job
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(flag.wait(), left)


def failure(job: Job) -> UserError:
    """Why a job that is over made nothing."""
    if job.state == "cancelled":
        return UserError("the job was cancelled.", "Ask again.")
    return UserError(job.problem or "the job failed.", job.way_out)
