"""How many pictures are computed at once: measured, for each base and size. Torch-free.

Twice as many are tried as long as that made each of them cheaper by `GAIN` or more; where memory
does not suffice, never again. What was found is kept in a file, since a device stays what it is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kaiffin.foundation.errors import RunError
from kaiffin.foundation.folder import read_json, write_json

GAIN = 1.05
MOST = 64


class Batches:
    """key: what the measures are of, such as the base and the size of the pictures."""

    def __init__(self, file: Path) -> None:
        self.file = file
        try:
            self.known: dict[str, Any] = read_json(file)
        except RunError:
            self.known = {}
        self._warm: set[str] = set()

    def most(self, key: str) -> int:
        """The most to compute at once: the best so far, or the next to try."""
        costs, limit = self._of(key)
        size = 1
        while str(size) in costs and 2 * size <= limit:
            bigger = costs.get(str(2 * size))
            if bigger is not None and bigger * GAIN > costs[str(size)]:
                break
            size *= 2
        return size

    def took(self, key: str, size: int, seconds: float) -> None:
        """A batch of `size` took so long for one step. The first of a process warms up and says
        nothing; of several, the shortest counts."""
        if key not in self._warm:
            self._warm.add(key)
            return
        if size & (size - 1):
            return  # only powers of two are compared
        costs, limit = self._of(key)
        each = seconds / size
        if each < costs.get(str(size), float("inf")):
            is_new = str(size) not in costs
            costs[str(size)] = each
            self.known[key] = {"seconds": costs, "limit": limit}
            if is_new:
                write_json(self.file, self.known)

    def failed(self, key: str, size: int) -> None:
        """The memory did not suffice for so many."""
        costs, _ = self._of(key)
        self.known[key] = {"seconds": costs, "limit": max(1, size // 2)}
        write_json(self.file, self.known)

    def _of(self, key: str) -> tuple[dict[str, float], int]:
        found = self.known.get(key, {})
        return found.get("seconds", {}), found.get("limit", MOST)
