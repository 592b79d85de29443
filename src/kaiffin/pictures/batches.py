"""How many pictures are computed at once: measured, for each base and size. Torch-free.

The best size so far is used, and those up to `AHEAD` times as large are tried, `TRIES` times each
since a machine may be busy meanwhile: what is best is not always on the way to it. Where memory
does not suffice, never again. What was found is kept in a file, since a device stays what it is.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kaiffin.foundation.errors import RunError
from kaiffin.foundation.folder import read_json, write_json
from kaiffin.foundation.hashes import cache_folder
from kaiffin.foundation.schema import Together
from kaiffin.foundation.tell import Tell

if TYPE_CHECKING:
    from kaiffin.models.base import ModelFamily


NEAR = 1.02  # the cheapest costs hardly less: the smaller batch is sooner done
AHEAD = 4
TRIES = 3
MOST = 64


def open_batches(asked: Together, tell: Tell) -> int | Batches:
    """What `--batch-size` says; for `auto` what this user's pictures have taught so far."""
    if asked != "auto":
        return asked
    file = cache_folder() / "batches.json"
    tell.note(
        "note: --batch-size auto: the first batches of a base and a size are tries of 1, 2, 4 and"
        f" so on; how long they took is kept in {file}"
    )
    return Batches(file)


def kind_of(family: ModelFamily, size: tuple[int, int], parts: int = 0) -> str:
    """What measures are of: pictures of that size, in so many regions, of this base here."""
    place = f"{family.revision[:12]} {family.device.type} {family.dtype}"
    return f"{place} {size[0]}x{size[1]}" + (f" in {parts} parts" if parts else "")


class Batches:
    """key: what the measures are of, such as the base and the size of the pictures."""

    def __init__(self, file: Path) -> None:
        self.file = file
        try:
            self.known: dict[str, Any] = read_json(file)
        except RunError:
            self.known = {}
        self._warm: set[str] = set()

    def most(self, key: str, waiting: int = MOST) -> int:
        """The most to compute at once: the best so far, or the next to try where so many wait."""
        tries, limit = self._of(key)
        best = self._best(tries)
        size = 1
        while size <= min(limit, waiting, AHEAD * best):
            if len(tries.get(str(size), ())) < TRIES:
                return size
            size *= 2
        return best

    @staticmethod
    def _best(tries: dict[str, list[float]]) -> int:
        """The smallest size that is about as cheap as any."""
        costs = {int(size): min(own) for size, own in tries.items()}
        cheapest = min(costs.values(), default=0.0)
        return min((size for size, cost in costs.items() if cost <= cheapest * NEAR), default=1)

    def took(self, key: str, size: int, seconds: float) -> None:
        """A batch of `size` took so long for one step. The first of a process warms up and says
        nothing; of several, the shortest counts."""
        if key not in self._warm:
            self._warm.add(key)
            return
        tries, limit = self._of(key)
        own = tries.get(str(size), [])
        if size & (size - 1) == 0 and len(own) < TRIES:  # only powers of two are compared
            self._keep(key, {**tries, str(size): [*own, seconds / size]}, limit)

    def failed(self, key: str, size: int) -> None:
        """The memory did not suffice for so many."""
        tries, _ = self._of(key)
        limit = max(1, size // 2)
        self._keep(key, {n: own for n, own in tries.items() if int(n) <= limit}, limit)

    def _keep(self, key: str, tries: dict[str, list[float]], limit: int) -> None:
        self.known[key] = {"tries": tries, "limit": limit}
        with contextlib.suppress(RunError):  # a note that cannot be written costs time only
            write_json(self.file, self.known)

    def _of(self, key: str) -> tuple[dict[str, list[float]], int]:
        found = self.known.get(key, {})
        return found.get("tries", {}), found.get("limit", MOST)
