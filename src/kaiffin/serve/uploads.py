"""Pictures that were sent to be painted over: kept for a day; a job copies what it works with.

What is kept is a PNG of the pixels alone, written by the child that decodes strangers' photos.
Torch-free.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from fastapi.concurrency import run_in_threadpool

from kaiffin.serve.database import new_id
from kaiffin.serve.decoding import Decoder, Kind
from kaiffin.serve.jobs import NotFound
from kaiffin.serve.studio import Studio

KEPT_S = 86_400.0


@dataclass(frozen=True)
class Upload:
    """width, height: upright, as it came."""

    id: str
    bytes: int
    width: int
    height: int
    created: float


class Uploads:
    """All owners' in a data folder."""

    def __init__(self, studio: Studio, decoder: Decoder) -> None:
        self.studio, self.db, self.decoder = studio, studio.db, decoder

    async def add(self, owner: str, incoming: Path, kind: Kind = "photo") -> Upload:
        """Out of a file that came in. PhotoError for what is none."""
        id = new_id()
        place = self.studio.upload(id)
        looked = await self.decoder.plain(incoming, place, kind)
        size, now = place.stat().st_size, time.time()
        made = Upload(id, size, looked.width, looked.height, now)
        await run_in_threadpool(self._keep, owner, made)
        return made

    def _keep(self, owner: str, made: Upload) -> None:
        with self.db.transaction() as writer:
            writer.execute(
                "INSERT INTO uploads (id, owner, bytes, width, height, created)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (made.id, owner, made.bytes, made.width, made.height, made.created),
            )
            old = [row["id"] for row in writer.execute(
                "SELECT id FROM uploads WHERE created < ?", (made.created - KEPT_S,)
            )]  # fmt: skip
            writer.execute("DELETE FROM uploads WHERE created < ?", (made.created - KEPT_S,))
        for id in old:  # a job has a copy of its own
            self.studio.upload(id).unlink(missing_ok=True)

    def get(self, owner: str, id: str) -> Upload:
        """Raises NotFound."""
        query = "SELECT id, bytes, width, height, created FROM uploads WHERE owner = ? AND id = ?"
        rows = self.db.rows(query, (owner, id))
        if not rows:
            raise NotFound(f"there is no picture {id[:40]}.", "Send it again.")
        return Upload(**dict(rows[0]))
