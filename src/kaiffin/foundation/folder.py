"""Files written whole or not at all, and their hashes. Torch-free."""

from __future__ import annotations

import functools
import hashlib
import os
from pathlib import Path

from kaiffin.foundation.errors import RunError


def write_bytes(path: Path, content: bytes) -> None:
    """Whole or not at all, and on the disk when it returns."""
    partial = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise RunError(f"{path}: cannot be written ({error.strerror or error}).") from None


def file_sha256(path: Path) -> str:
    """Hex digest of a file, read once for as long as it stays as it is."""
    stat = path.stat()
    return _file_hash(path, stat.st_size, stat.st_mtime_ns)


@functools.lru_cache(maxsize=256)
def _file_hash(path: Path, size: int, mtime_ns: int) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


CHUNK = 1 << 22
