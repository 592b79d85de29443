"""How many bytes a user keeps in the data folder, for the quota of a key. Torch-free."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator

from kaiffin.serve.errors import over_quota
from kaiffin.serve.jobs import OVER
from kaiffin.serve.keys import Caller
from kaiffin.serve.studio import Studio


class Holdings:
    """Photos and adapters by their rows, what jobs made by its files; of a job that is over they
    are looked at once."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        self._seen: dict[str, tuple[tuple[float, int], int]] = {}

    def refuse(self, caller: Caller, more: int) -> None:
        """429 where the caller would keep more than the key may."""
        quota = caller.quotas.bytes
        if quota is not None and self.bytes(caller.owner) + more > quota:
            raise over_quota(f"{quota:,} bytes are what this key may keep.",
                             "Delete photos, adapters, pictures or runs first.")  # fmt: skip

    def bytes(self, owner: str) -> int:
        """Of photos and adapters as they came, pictures, runs, and what other jobs made."""
        sent = self.studio.db.rows(
            "SELECT (SELECT IFNULL(SUM(p.bytes), 0) FROM photos p JOIN datasets d"
            " ON d.id = p.dataset WHERE d.owner = ?1)"
            " + (SELECT IFNULL(SUM(bytes), 0) FROM adapters WHERE owner = ?1)"
            " + (SELECT IFNULL(SUM(bytes), 0) FROM uploads WHERE owner = ?1) AS bytes",
            (owner,),
        )
        jobs = self.studio.db.rows(
            "SELECT j.id, j.state, j.ended, COUNT(i.id) AS pictures FROM jobs j"
            " LEFT JOIN images i ON i.job = j.id WHERE j.owner = ? GROUP BY j.number",
            (owner,),
        )
        return sent[0]["bytes"] + sum(map(self._of, jobs))

    def _of(self, job: sqlite3.Row) -> int:
        """What a job made; `ended` and the number of its pictures say whether that is as it was."""
        looks = (job["ended"] or 0.0, job["pictures"])
        seen = self._seen.get(job["id"])
        if seen and seen[0] == looks:
            return seen[1]
        found = sum(self._sizes(job["id"]))
        if job["state"] in OVER:
            self._seen[job["id"]] = looks, found
        return found

    def _sizes(self, job: str) -> Iterator[int]:
        for folder in (self.studio.run(job), self.studio.made(job)):
            for at, _, names in os.walk(folder):
                yield from (_size(os.path.join(at, name)) for name in names)
        for row in self.studio.db.rows("SELECT id FROM images WHERE job = ?", (job,)):
            yield _size(self.studio.image(row["id"]))


def _size(path: str | os.PathLike[str]) -> int:
    """0 for what is gone by now, and for another name of a photo, which counts once."""
    try:
        stat = os.stat(path)
    except OSError:
        return 0
    return stat.st_size if stat.st_nlink == 1 else 0
