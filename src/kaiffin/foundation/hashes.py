"""Hashes of large files, kept on the disk so that none is read twice to be named. Torch-free.

A note for each file, beside none of them: its size, its times and its inode with its hash, in
Kaiffin's cache folder under a name made from the file's path. A note is believed as long as the
file looks as it did. Each is written whole (see `folder`), so processes cannot spoil each other's.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import time
from collections.abc import Callable
from pathlib import Path

from kaiffin.foundation.errors import RunError
from kaiffin.foundation.folder import expanded, file_sha256, hash_of, read_json, write_json

WORTH = 16 * 2**20  # bytes from which on reading costs more than a note
SETTLED = 2.0  # seconds after which a file system's clock tells a later change from this one
SHA256 = re.compile(r"[0-9a-f]{64}")


def cache_folder() -> Path:
    """Where Kaiffin keeps what it can make again: `KAIFFIN_CACHE`, else below the user's cache."""
    if named := os.environ.get("KAIFFIN_CACHE"):
        return expanded(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kaiffin"


def kept_sha256(path: Path, read: Callable[[int], object] | None = None) -> str:
    """Hex digest of a file: the hub's own name for it, a note of it, or read and noted.

    read: hears of bytes that are read, now and then.
    """
    if name := _blob(path):
        return name
    if path.stat().st_size < WORTH:
        return file_sha256(path)
    note = cache_folder() / "hashes" / f"{_key(path)}.json"
    looks = _looks(path)
    with contextlib.suppress(RunError):  # a note that cannot be read is made again
        kept = read_json(note)
        known = kept.pop("sha256", None)
        if kept == looks and isinstance(known, str) and SHA256.fullmatch(known):
            return known
    found = hash_of(path, read=read)
    is_settled = time.time() - path.stat().st_mtime > SETTLED
    if is_settled and _looks(path) == looks:
        with contextlib.suppress(RunError):  # a cache that cannot be written costs time only
            write_json(note, looks | {"sha256": found})
    return found


def _key(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:32]


def _looks(path: Path) -> dict[str, int]:
    """What changes when a file does; `changed` also where its time is set back."""
    stat = path.stat()
    return {
        "size": stat.st_size, "modified": stat.st_mtime_ns, "changed": stat.st_ctime_ns,
        "inode": stat.st_ino,
    }  # fmt: skip


def _blob(path: Path) -> str:
    """The SHA-256 by which the hub's cache calls the file that `path` links to; "" where it does
    not. By the first link only: a blob may itself be one, to a file that goes by another hash."""
    try:
        target = path.parent / os.readlink(path)
    except (OSError, ValueError):
        return ""
    blobs = target.parent
    is_hub = blobs.name == "blobs" and (blobs.parent / "snapshots").is_dir() and target.is_file()
    return target.name if is_hub and SHA256.fullmatch(target.name) else ""
