"""Who works at what, and what is best done next; decisions only, no worker is touched. Torch-free.

A place has room for so many workers. Each either does one long job or paints: a painter has one
base loaded and takes job after job. Pictures may stop a training, within a budget of time.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kaiffin.experiments.work.jobs import Job as Work
from kaiffin.foundation.config import BaseConfig
from kaiffin.serve import turns
from kaiffin.serve.jobs import Job
from kaiffin.serve.spool import Spool
from kaiffin.serve.turns import Budget

AT_ONCE = 64  # pictures that a painter has at hand
OVERTAKEN = 32  # times that a job waits for others whose base is warm
LINGER_S = 2.0  # that a painter stays where others want its place: more may come
YIELDING = ("train", "sweep", "choose", "compare", "grid")  # what goes on where it stopped


@dataclass(eq=False)
class Worker:
    """given: the jobs that a painter has, with their pictures, oldest first; interrupted, since:
    when it was told to stop, and when it last had nothing to do; said: its last words."""

    work: Work
    base: str = ""
    spool: Spool | None = None
    kind: str = "generate"
    given: dict[str, int] = field(default_factory=dict)
    interrupted: float | None = None
    since: float = field(default_factory=time.monotonic)
    said: Mapping[str, Any] = field(default_factory=dict)
    first: int | None = None
    alone: bool = False

    @property
    def name(self) -> str:
        return self.work.name

    @property
    def paints(self) -> bool:
        return self.spool is not None

    @property
    def pictures(self) -> int:
        return sum(self.given.values())

    @property
    def has_moved(self) -> bool:
        """Whether a long job came further with this worker."""
        return self.first is not None and self.said.get("done", 0) > self.first

    def hear(self, said: Mapping[str, Any]) -> None:
        self.said = said
        self.first = said["done"] if self.first is None else self.first

    def drop(self, id: str) -> None:
        """That job is through."""
        self.given.pop(id, None)
        if not self.given:
            self.since, self.alone = time.monotonic(), False

    def blamed(self) -> list[str]:
        """The jobs that a painter was at when it died: the others only stood by."""
        at = [id for id in self.spool.computing() if id in self.given] if self.spool else []
        return at or list(self.given)[:1]


@dataclass(frozen=True)
class Plan:
    """One thing to do: stop a worker, start a painter with that base, or begin a long job."""

    stop: Worker | None = None
    paint: str | None = None
    begin: Job | None = None


Pictures = Sequence[tuple[Job, str]]  # jobs that wait to be painted, each with its base


class Roster:
    """room: how many workers there may be; served: when each owner was, as a number that grows."""

    def __init__(self, share: float) -> None:
        self.workers: dict[str, Worker] = {}
        self.room, self.budget = 1, Budget(share)
        self.served: dict[str, int] = {}
        self.overtaken: Counter[str] = Counter()
        self.displaced: set[str] = set()  # long jobs that pictures have stopped, until they move on
        self._number, self._then = 0, time.monotonic()

    # --- what is known --------------------------------------------------------------------------

    @property
    def all(self) -> list[Worker]:
        return list(self.workers.values())

    @property
    def painters(self) -> list[Worker]:
        return [worker for worker in self.all if worker.paints]

    @property
    def long(self) -> list[Worker]:
        return [worker for worker in self.all if not worker.paints]

    @property
    def ids(self) -> set[str]:
        """All jobs that are at a worker."""
        given = {id for worker in self.painters for id in worker.given}
        return given | {worker.name for worker in self.long}

    @property
    def is_full(self) -> bool:
        return len(self.workers) >= self.room

    def next_number(self) -> int:
        self._number += 1
        return self._number

    def in_turn(self, jobs: Sequence[Job]) -> list[Job]:
        """Fairly; long jobs that pictures have stopped come first."""
        order = turns.in_turn(jobs, self.served)
        return sorted(order, key=lambda job: job.id not in self.displaced)

    def join(self, worker: Worker, owner: str = "") -> None:
        self.workers[worker.name] = worker
        if owner:
            self.served[owner] = self.next_number()

    def leave(self, name: str) -> None:
        self.workers.pop(name, None)

    def give(self, worker: Worker, job: Job, pictures: int) -> None:
        worker.given[job.id] = pictures
        worker.alone = job.attempts > 0
        self.served[job.owner] = self.next_number()
        self.overtaken.pop(job.id, None)

    # --- time -----------------------------------------------------------------------------------

    def pass_time(self, now: float, long_waits: bool) -> None:
        """Counts the time since the last call, by who had the device."""
        for worker in self.long:
            if worker.has_moved:
                self.displaced.discard(worker.name)
        waits = long_waits and self.is_full and bool(self.painters)
        self.budget.pass_time(now - self._then, taken=waits or bool(self.displaced))
        self._then = now

    # --- what is to be done ---------------------------------------------------------------------

    def hand_over(self, pictures: Pictures, long_waits: bool) -> Iterator[tuple[Job, Worker]]:
        """Jobs for painters that have their base. The caller gives each before it asks on."""
        if long_waits and self.is_full and self.budget.is_spent:
            return
        for worker in self.painters:
            passed: list[str] = []
            for job, base in pictures:
                if job.id in self.ids:
                    continue
                if base != worker.base:
                    if self.overtaken[job.id] >= OVERTAKEN and not self._painter_of(base):
                        break
                    passed.append(job.id)
                elif self._takes(worker, job):
                    self.overtaken.update(passed)
                    yield job, worker
                else:
                    break

    def _takes(self, worker: Worker, job: Job) -> bool:
        """A job beside which a worker has died is painted alone."""
        if worker.interrupted is not None or worker.alone or (job.attempts and worker.given):
            return False
        return worker.pictures < AT_ONCE

    def _painter_of(self, base: str) -> bool:
        return any(one.base == base and one.interrupted is None for one in self.painters)

    def plan(self, pictures: Pictures, long: Sequence[Job], now: float) -> Plan:
        """The next thing to do, for jobs that no worker has taken yet, in their order."""
        long = [job for job in long if job.id not in self.workers]
        base = next((base for _, base in pictures if not self._painter_of(base)), None)
        if not self.is_full:
            return self._fill(base, pictures, long)
        if any(worker.interrupted is not None for worker in self.all):
            return Plan()  # one is making room
        idle = [one for one in self.painters if not one.given]
        if base is not None and idle:
            return Plan(stop=idle[0])
        if long and (gone := [one for one in idle if now - one.since >= self._linger]):
            return Plan(stop=gone[0])
        if base is not None and self.budget.suffices and (worker := self._yielding()):
            self.displaced.add(worker.name)
            return Plan(stop=worker)
        return Plan()

    @property
    def _linger(self) -> float:
        return 0.0 if self.budget.is_spent else LINGER_S

    def _fill(self, base: str | None, pictures: Pictures, long: Sequence[Job]) -> Plan:
        """For a place that is free."""
        if base is not None and not (long and self.budget.is_spent):
            return Plan(paint=base)
        if long:
            return Plan(begin=long[0])
        busy = [base for _, base in pictures if self._are_full(base)]
        return Plan(paint=busy[0]) if busy else Plan()

    def _are_full(self, base: str) -> bool:
        own = [one for one in self.painters if one.base == base]
        return all(one.pictures >= AT_ONCE or one.alone for one in own)

    def _yielding(self) -> Worker | None:
        """The newest long job that can stop and go on, but none that has only just gone on."""
        able = [one for one in self.long if one.kind in YIELDING and one.name not in self.displaced]
        return max(able, key=lambda one: one.since, default=None)

    def facts(self, on: str) -> list[dict[str, Any]]:
        """For people: each place of the workers, and the share of pictures."""
        found: list[dict[str, Any]] = [{"on": on, "does": worker.kind, "jobs": list(worker.given)
                  if worker.paints else [worker.name], "base": _name(worker.base),
                  "stopping": worker.interrupted is not None} for worker in self.all]  # fmt: skip
        free = {"on": on, "does": None, "jobs": [], "base": None, "stopping": False}
        found += [dict(free) for _ in range(self.room - len(found))]
        share = {"share": self.budget.share, "painting_left_s": round(max(0, self.budget.seconds))}
        return [one | share for one in found]


def _name(base: str) -> str | None:
    return BaseConfig.model_validate_json(base).name if base else None
