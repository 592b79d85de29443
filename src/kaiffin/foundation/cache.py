"""What the frozen towers say, computed once: latents and text states, keyed by content.

A key names everything that decides the value (photo bytes, crop, mirroring, VAE), so an entry can
never belong to another picture, whatever order, folder or file name it came from.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load as from_bytes
from safetensors.torch import save as to_bytes
from torch import Tensor

from kaiffin.foundation.errors import RunError
from kaiffin.foundation.folder import write_bytes

MEMORY = 512 * 2**20  # bytes of entries kept in memory; the rest is read from disk again


def content_key(*parts: object) -> str:
    """SHA-256 (hex) of the parts."""
    return hashlib.sha256("\x1f".join(str(part) for part in parts).encode()).hexdigest()


class TensorCache:
    """Tensors by key: in memory while they fit, and on disk where a folder is given."""

    def __init__(self, folder: Path | None, memory: int = MEMORY) -> None:
        self.folder = folder
        self.memory = memory
        self._entries: OrderedDict[str, dict[str, Tensor]] = OrderedDict()
        self._bytes = 0

    def get(self, key: str, compute: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        """The entry of `key`, computed and stored when there is none. CPU tensors."""
        found = self.find(key)
        return self.put(key, compute()) if found is None else found

    def find(self, key: str) -> dict[str, Tensor] | None:
        """The entry of `key`, or None."""
        if key in self._entries:
            self._entries.move_to_end(key)
            return self._entries[key]
        entry = self._read(key)
        if entry is not None:
            self._remember(key, entry)
        return entry

    def put(self, key: str, value: dict[str, Tensor]) -> dict[str, Tensor]:
        """Stores `value` and returns it as CPU tensors."""
        entry = {name: tensor.detach().cpu().contiguous() for name, tensor in value.items()}
        self._write(key, entry)
        self._remember(key, entry)
        return entry

    def _remember(self, key: str, entry: dict[str, Tensor]) -> None:
        self._entries[key] = entry
        self._bytes += _size(entry)
        while self._bytes > self.memory and len(self._entries) > 1:
            _, oldest = self._entries.popitem(last=False)
            self._bytes -= _size(oldest)

    def _path(self, key: str) -> Path | None:
        return self.folder / key[:2] / f"{key}.safetensors" if self.folder else None

    def _read(self, key: str) -> dict[str, Tensor] | None:
        path = self._path(key)
        if path is None or not path.is_file():
            return None
        try:
            return from_bytes(path.read_bytes())
        except (OSError, SafetensorError):
            return None  # damaged: computed again and replaced

    def _write(self, key: str, entry: dict[str, Tensor]) -> None:
        path = self._path(key)
        if path is None:
            return
        # A cache that cannot be written (a full disk) costs speed, not the training.
        with contextlib.suppress(RunError):
            write_bytes(path, to_bytes(entry), sync=False)


def _size(entry: dict[str, Tensor]) -> int:
    return sum(value.nbytes for value in entry.values())
