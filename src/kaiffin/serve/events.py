"""What happened, by owner and in order: read again from any place, or waited for. Torch-free.

Every event has a number that only grows, over restarts as well, so that a page that was closed asks
for what came after the last one it saw. Of progress only the newest of each job is kept.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from kaiffin.serve.database import Database

KEPT = 20_000  # events of all owners; who was away for longer asks for the jobs instead


@dataclass(frozen=True)
class Event:
    """what: `job` (its state has changed), `progress`, `note`, `picture`, ...; data: as JSON;
    at: seconds since 1970."""

    id: int
    owner: str
    what: str
    data: Mapping[str, Any]
    at: float


class Events:
    """The log of all owners' events."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self.is_over = False  # the service ends: nobody waits for more
        self.heard: list[Callable[[], None]] = []  # called after each event, from any thread
        self._waiting: set[tuple[str, asyncio.AbstractEventLoop, asyncio.Event]] = set()

    def add(self, owner: str, what: str, data: Mapping[str, Any], *, about: str = "") -> int:
        """The number of the new event. about: the job; where `what` is `progress`, its older one
        goes. Part of the transaction that is under way, if one is."""
        with self.db.transaction() as writer:
            if what == "progress":
                writer.execute("DELETE FROM events WHERE about = ? AND what = 'progress'", (about,))
            cursor = writer.execute(
                "INSERT INTO events (owner, what, about, data, at) VALUES (?, ?, ?, ?, ?)",
                (owner, what, about, json.dumps(data), time.time()),
            )
            self.db.afterwards(lambda: self._wake(owner, about))
            return int(cursor.lastrowid or 0)

    def since(self, owner: str, id: int, limit: int = 1000) -> list[Event]:
        """The owner's events after the one with the number `id`, oldest first."""
        rows = self.db.rows(
            "SELECT * FROM events WHERE owner = ? AND id > ? ORDER BY id LIMIT ?",
            (owner, id, limit),
        )
        return [
            Event(row["id"], row["owner"], row["what"], json.loads(row["data"]), row["at"])
            for row in rows
        ]

    def last(self, owner: str) -> int:
        """The number of the owner's newest event, 0 where there is none."""
        rows = self.db.rows("SELECT MAX(id) AS id FROM events WHERE owner = ?", (owner,))
        return rows[0]["id"] or 0

    async def wait(self, owner: str, id: int, seconds: float, *, limit: int = 1000) -> list[Event]:
        """As `since`; where there is nothing, waits for it, but no longer than that."""
        with self.listening(owner) as flag:
            found = self.since(owner, id, limit)
            if not found:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(flag.wait(), seconds)
                found = self.since(owner, id, limit)
            return found

    @contextlib.contextmanager
    def listening(self, whom: str) -> Iterator[asyncio.Event]:
        """A flag that is set by each event of an owner, or about a job, while the block runs."""
        waiter = (whom, asyncio.get_running_loop(), asyncio.Event())
        self._waiting.add(waiter)
        try:
            yield waiter[2]
        finally:
            self._waiting.discard(waiter)

    def end(self) -> None:
        """Lets go of all who wait."""
        self.is_over = True
        self._wake()

    def _wake(self, *whom: str) -> None:
        for call in self.heard:
            call()
        for one, loop, flag in tuple(self._waiting):
            if one in whom or self.is_over:
                with contextlib.suppress(RuntimeError):  # its loop has ended
                    loop.call_soon_threadsafe(flag.set)

    def trim(self, keep: int = KEPT) -> None:
        """Forgets all but the newest."""
        with self.db.transaction() as writer:
            writer.execute(
                "DELETE FROM events WHERE id <= (SELECT MAX(id) FROM events) - ?", (keep,)
            )
