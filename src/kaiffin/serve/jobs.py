"""The table of jobs: what was asked, by whom, and how it stands. Torch-free.

    queued -> running -> done | failed | cancelled
              running -> pausing -> paused -> queued
              running -> queued (its worker died, or made room), the third death: held

Each change is one transaction with the event that tells it, so that what a caller was told is on
the disk. Who asks for a job names its owner; another's is not there.
"""

from __future__ import annotations

import builtins
import json
import sqlite3
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from kaiffin.foundation.errors import UserError
from kaiffin.serve.database import Database, new_id
from kaiffin.serve.events import Events

State = Literal[
    "queued", "running", "pausing", "paused", "done", "failed", "cancelled", "held",
]  # fmt: skip
Lane = Literal["paint", "long"]  # by a painter, which does many at once; or by its own worker
KINDS = (
    "generate", "scan", "train", "choose", "rank", "compare", "grid", "sweep", "report", "export",
)  # fmt: skip
OVER = ("done", "failed", "cancelled")
TRIES = 3  # workers that may die of one job


class NotFound(UserError):
    """What is not there, or is another's."""


class Conflict(UserError):
    """What cannot be done to a thing as it is now."""


@dataclass(frozen=True)
class Job:
    """request: as JSON, frozen when it was submitted; attempts: how many workers died of it;
    progress: `done`, `total` (None while unknown) and `what` is waited for; result: what its story
    answered; problem, way_out: why it failed, or is held; created, begun, ended, heartbeat: seconds
    since 1970, the last when its worker was last seen; number: its place in the order of arrival.
    """

    id: str
    owner: str
    kind: str
    request: Mapping[str, Any]
    state: State
    attempts: int
    progress: Mapping[str, Any]
    result: Mapping[str, Any] | None
    problem: str
    way_out: str
    created: float
    begun: float | None
    ended: float | None
    number: int
    worker: str
    heartbeat: float | None

    @property
    def is_over(self) -> bool:
        return self.state in OVER

    @property
    def facts(self) -> dict[str, Any]:
        """What an event says of it."""
        return {
            "job": self.id, "kind": self.kind, "state": self.state, "attempts": self.attempts,
            "progress": dict(self.progress), "result": self.result, "problem": self.problem,
            "way_out": self.way_out,
        }  # fmt: skip


class Jobs:
    """All jobs of a data folder. freeze: keeps what a new one names as it is now."""

    def __init__(
        self, db: Database, events: Events, freeze: Callable[[Job], None] = lambda job: None
    ) -> None:
        self.db, self.events, self.freeze = db, events, freeze

    # --- what their owners do -------------------------------------------------------------------

    def submit(
        self, owner: str, kind: str, request: Mapping[str, Any], *, key: str | None = None
    ) -> Job:
        """A new job, queued; the one that was submitted before with the same key.

        key: a word of the caller's for this submission, so that it may be repeated. Conflict where
        the key came with another request.
        """
        if kind not in KINDS:
            raise UserError(f"{kind!r} is no kind of job.", f"There are {', '.join(KINDS)}.")
        text = json.dumps(request, sort_keys=True)
        with self.db.transaction() as writer:
            if key is not None and (before := self._of_key(writer, owner, key)):
                if (before.kind, json.dumps(before.request, sort_keys=True)) != (kind, text):
                    raise Conflict(
                        f"the idempotency key {key!r} came with another request before.",
                        "Take a new key for a new request.",
                    )
                return before
            id = new_id()
            writer.execute(
                "INSERT INTO jobs (id, owner, kind, lane, request, state, created, key)"
                " VALUES (?, ?, ?, ?, ?, 'queued', ?, ?)",
                (id, owner, kind, _lane(kind, request), text, time.time(), key),
            )
            job = self._told(writer, id)
            self.freeze(job)
            return job

    def _of_key(self, writer: sqlite3.Connection, owner: str, key: str) -> Job | None:
        query = "SELECT * FROM jobs WHERE owner = ? AND key = ?"
        row = writer.execute(query, (owner, key)).fetchone()
        return _job(row) if row else None

    def get(self, owner: str, id: str) -> Job:
        """Raises NotFound."""
        rows = self.db.rows("SELECT * FROM jobs WHERE id = ? AND owner = ?", (id, owner))
        if not rows:
            raise _unknown(id)
        return _job(rows[0])

    def list(
        self, owner: str, *, state: str | None = None, kind: str | None = None, limit: int = 50,
        before: str | None = None,
    ) -> builtins.list[Job]:  # fmt: skip
        """The owner's newest first. before: the id of the last one of the page before this."""
        wanted: dict[str, Any] = {"owner = ?": owner}
        if state:
            wanted["state = ?"] = state
        if kind:
            wanted["kind = ?"] = kind
        if before:
            wanted["number < ?"] = self.get(owner, before).number
        query = f"SELECT * FROM jobs WHERE {' AND '.join(wanted)} ORDER BY number DESC LIMIT ?"
        return [_job(row) for row in self.db.rows(query, (*wanted.values(), limit))]

    def count(self, owner: str | None = None, *states: str) -> int:
        """How many the owner has, or all have, in these states (default: in any)."""
        wanted, values = ["1"], builtins.list[Any]()
        if states:
            wanted.append(f"state IN ({_marks(states)})")
            values += states
        if owner is not None:
            wanted.append("owner = ?")
            values.append(owner)
        query = f"SELECT COUNT(*) AS count FROM jobs WHERE {' AND '.join(wanted)}"
        return self.db.rows(query, values)[0]["count"]

    def ahead(self, job: Job) -> int:
        """How many that wait came before it; owners take turns, so some of them may come later."""
        if job.state != "queued":
            return 0
        query = "SELECT COUNT(*) AS count FROM jobs WHERE state = 'queued' AND number < ?"
        return self.db.rows(query, (job.number,))[0]["count"]

    def cancel(self, owner: str, id: str) -> Job:
        """Ends it, wherever it is; again: nothing more. Its worker stops within a step."""
        live = ("queued", "running", "pausing", "paused", "held")
        return self._turn(owner, id, dict.fromkeys(live, "cancelled"), stays=("cancelled",))

    def pause(self, owner: str, id: str) -> Job:
        """Keeps a queued one back; lets a running one save and stop."""
        turns = {"queued": "paused", "running": "pausing"}
        return self._turn(owner, id, turns, stays=("pausing", "paused"))

    def resume(self, owner: str, id: str) -> Job:
        """Undoes `pause`."""
        turns = {"paused": "queued", "pausing": "running"}
        return self._turn(owner, id, turns, stays=("queued", "running"))

    def retry(self, owner: str, id: str) -> Job:
        """Once more for one that is held, failed or cancelled; a training goes on."""
        turns = dict.fromkeys(("held", "failed", "cancelled"), "queued")
        return self._turn(owner, id, turns, stays=("queued", "running"), attempts=0)

    def _turn(
        self, owner: str, id: str, turns: Mapping[str, str], *, stays: Collection[str],
        **values: Any,
    ) -> Job:  # fmt: skip
        with self.db.transaction() as writer:
            query = "SELECT * FROM jobs WHERE id = ? AND owner = ?"
            row = writer.execute(query, (id, owner)).fetchone()
            if row is None:
                raise _unknown(id)
            state = row["state"]
            if state in stays:
                return _job(row)
            if state not in turns:
                raise Conflict(f"job {id} is {state}.", f"This is for one that is {_or(turns)}.")
            return self._set(writer, id, turns[state], **values)

    # --- what the supervisor does ---------------------------------------------------------------

    def find(self, id: str) -> Job:
        """Whoever it belongs to."""
        rows = self.db.rows("SELECT * FROM jobs WHERE id = ?", (id,))
        if not rows:
            raise _unknown(id)
        return _job(rows[0])

    def first(self, lane: Lane, limit: int = 32) -> builtins.list[Job]:
        """The oldest `limit` queued ones of each owner."""
        owners = "SELECT DISTINCT owner FROM jobs WHERE state = 'queued' AND lane = ?"
        query = (
            "SELECT * FROM jobs WHERE state = 'queued' AND lane = ? AND owner = ?"
            " ORDER BY number LIMIT ?"
        )
        return [
            _job(row)
            for owner in self.db.rows(owners, (lane,))
            for row in self.db.rows(query, (lane, owner["owner"], limit))
        ]

    def of_ids(self, ids: Collection[str]) -> builtins.list[Job]:
        query = f"SELECT * FROM jobs WHERE id IN ({_marks(ids)})"
        return [_job(row) for row in self.db.rows(query, tuple(ids))]

    def in_state(self, *states: str) -> builtins.list[Job]:
        query = f"SELECT * FROM jobs WHERE state IN ({_marks(states)}) ORDER BY number"
        return [_job(row) for row in self.db.rows(query, states)]

    def begin(self, ids: Iterable[str], worker: str) -> builtins.list[Job]:
        """Those of them that were still queued, running now."""
        with self.db.transaction() as writer:
            return [
                self._set(writer, id, "running", worker=worker)
                for id in ids
                if self._state(writer, id) == "queued"
            ]

    def advance(self, id: str, done: int, total: int | None, what: str) -> None:
        """How far a running one is."""
        with self.db.transaction() as writer:
            row = writer.execute(
                "UPDATE jobs SET done = ?, total = ?, what = ?, heartbeat = ?"
                " WHERE id = ? AND state IN ('running', 'pausing') RETURNING owner",
                (done, total, what, time.time(), id),
            ).fetchone()
            if row:
                facts = {"job": id, "done": done, "total": total, "what": what}
                self.events.add(row["owner"], "progress", facts, about=id)

    def finish(self, id: str, result: Mapping[str, Any]) -> None:
        """It is done, unless it was cancelled meanwhile."""
        self._end(id, "done", result=json.dumps(result))

    def fail(self, id: str, problem: str, way_out: str = "") -> None:
        """It cannot be done as it was asked."""
        self._end(id, "failed", problem=problem, way_out=way_out)

    def _end(self, id: str, state: State, **values: Any) -> None:
        with self.db.transaction() as writer:
            if self._state(writer, id) in ("running", "pausing"):
                self._set(writer, id, state, **values)

    def put_back(self, id: str) -> None:
        """Its worker has stopped, as it was told to: the job waits, or is paused."""
        with self.db.transaction() as writer:
            state = self._state(writer, id)
            if state in ("running", "pausing"):
                self._set(writer, id, "queued" if state == "running" else "paused")

    def died(self, id: str, how: str) -> None:
        """Its worker died of it, or beside it: once more, and after `TRIES` no more."""
        with self.db.transaction() as writer:
            state = self._state(writer, id)
            if state not in ("running", "pausing"):
                return
            row = writer.execute("SELECT attempts FROM jobs WHERE id = ?", (id,)).fetchone()
            attempts = row["attempts"] + 1
            if attempts < TRIES:
                after = "queued" if state == "running" else "paused"
                self._set(writer, id, after, attempts=attempts)
                return
            self._set(
                writer, id, "held", attempts=attempts,
                problem=f"its worker died {attempts} times (the last time: {how}).",
                way_out="Retry it once the reason is gone; smaller pictures or batches need less"
                " memory.",
            )  # fmt: skip

    def _state(self, writer: sqlite3.Connection, id: str) -> str:
        row = writer.execute("SELECT state FROM jobs WHERE id = ?", (id,)).fetchone()
        return row["state"] if row else ""

    def _set(self, writer: sqlite3.Connection, id: str, state: str, **values: Any) -> Job:
        """Into another state; what the state means for the other columns follows."""
        now = time.time()
        values |= {"state": state, "ended": now if state in OVER else None}
        if state == "running":
            row = writer.execute("SELECT begun FROM jobs WHERE id = ?", (id,)).fetchone()
            values |= {"begun": row["begun"] or now, "heartbeat": now}
        if state in ("queued", "running"):
            values |= {"problem": "", "way_out": ""}
        names = ", ".join(f"{name} = ?" for name in values)
        writer.execute(f"UPDATE jobs SET {names} WHERE id = ?", (*values.values(), id))
        return self._told(writer, id)

    def _told(self, writer: sqlite3.Connection, id: str) -> Job:
        """The job as it is now, which its owner hears of."""
        job = _job(writer.execute("SELECT * FROM jobs WHERE id = ?", (id,)).fetchone())
        self.events.add(job.owner, "job", job.facts, about=id)
        return job


def _lane(kind: str, request: Mapping[str, Any]) -> Lane:
    """Pictures of which the best are chosen need judges, which painters have not."""
    return "paint" if kind == "generate" and not request.get("best") else "long"


def _job(row: sqlite3.Row) -> Job:
    return Job(
        id=row["id"], owner=row["owner"], kind=row["kind"], request=json.loads(row["request"]),
        state=row["state"], attempts=row["attempts"],
        progress={"done": row["done"], "total": row["total"], "what": row["what"]},
        result=json.loads(row["result"]) if row["result"] else None, problem=row["problem"],
        way_out=row["way_out"], created=row["created"], begun=row["begun"], ended=row["ended"],
        number=row["number"], worker=row["worker"], heartbeat=row["heartbeat"],
    )  # fmt: skip


def _unknown(id: str) -> NotFound:
    return NotFound(f"there is no job {id}.", "The list of jobs has those that are yours.")


def _marks(values: Collection[str]) -> str:
    return ", ".join("?" * len(values))


def _or(words: Iterable[str]) -> str:
    *first, last = words
    return f"{', '.join(first)} or {last}" if first else last
