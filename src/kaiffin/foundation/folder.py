"""Folders whose files are written whole or not at all; the one atomic writer. Torch-free.

A file is written aside, synced and renamed, so that a reader or a restart sees all of it or none.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import filelock

from kaiffin.foundation.errors import RunError

CHUNK = 1 << 22  # bytes that are hashed at a time


class Folder:
    """A folder on the disk, by its path; made when something is written into it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, name: str, data: bytes) -> Path:
        """One file below the folder, whole or not at all; raises RunError with the way out."""
        path = self.path / name
        write_bytes(path, data)
        return path

    def write_json(self, name: str, data: Mapping[str, Any]) -> Path:
        write_json(self.path / name, data)
        return self.path / name

    def read_json(self, name: str) -> dict[str, Any]:
        """The mapping in a JSON file, {} where there is none; RunError for what is no mapping."""
        return read_json(self.path / name)

    def folder(self, name: str) -> Path:
        """A folder below this one, made if absent."""
        folder = self.path / name
        with explained(folder):
            folder.mkdir(parents=True, exist_ok=True)
        return folder

    def in_use(self) -> bool:
        """Whether a process holds the lock of this folder, which must be there."""
        try:
            with self.lock():
                return False
        except RunError:
            return True

    @contextlib.contextmanager
    def lock(self, name: str = "lock") -> Iterator[None]:
        """Keeps other processes out of what goes by `name` (the training, unless another is given);
        the lock dies with the process that holds it."""
        holder = self.path / f"{name}.pid"
        lock = filelock.FileLock(self.path / name, timeout=0)
        with explained(self.path):
            try:
                lock.acquire()
            except filelock.Timeout:
                raise RunError(
                    f"{self.path}: is in use by process {_first_line(holder)}.",
                    "Wait for it or stop it.",
                ) from None
        try:
            self.write(holder.name, str(os.getpid()).encode())
            yield
        finally:
            holder.unlink(missing_ok=True)
            lock.release()


def write_bytes(path: Path, data: bytes, *, sync: bool = True) -> None:
    """The file at `path`, whole or not at all, its folder made where there is none.

    sync: on the disk when it returns; without, a power cut may lose it (not a killed process).
    Raises RunError with the way out where the file system refuses.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    with explained(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _write(partial, data, sync)
            os.replace(partial, path)
        except OSError:
            partial.unlink(missing_ok=True)
            raise


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """A mapping as a JSON file that people can read, whole or not at all."""
    write_bytes(path, (json.dumps(data, indent=2, ensure_ascii=False) + "\n").encode())


def read_json(path: Path) -> dict[str, Any]:
    """The mapping in a JSON file, {} where there is none; RunError for what is no mapping."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: cannot be read: {error}.") from None
    if not isinstance(found, dict):
        raise RunError(f"{path}: cannot be read: it holds no mapping.")
    return found


def write_folder(path: Path, files: Mapping[str, bytes]) -> None:
    """A folder with `files`, all of them or none: it appears by one rename, in place of an old one.

    Raises RunError with the way out where the file system refuses.
    """
    partial = path.with_name(f".{path.name}.part")
    with explained(path):
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        try:
            for name, data in files.items():
                _write(partial / name, data, sync=True)
            shutil.rmtree(path, ignore_errors=True)
            os.replace(partial, path)
        except OSError:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        _sync_folder(path.parent)


def _write(path: Path, data: bytes, sync: bool) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        if sync:
            os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    if os.name != "posix":  # Windows has no handle for a folder
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turns what the file system refuses at `path` into one line with the way out."""
    try:
        yield
    except OSError as error:
        ways = {
            errno.ENOSPC: "The disk is full: free some space; what was saved before is intact.",
            errno.EDQUOT: "The disk quota is used up; what was saved before is intact.",
            errno.EFBIG: "The file would exceed a size limit; what was saved before is intact.",
            errno.EACCES: "You have no right to write there: choose another --out.",
            errno.EPERM: "You have no right to write there: choose another --out.",
            errno.EROFS: "That file system is read-only: choose another --out.",
        }
        way = ways.get(error.errno or 0, "")
        raise RunError(f"{path}: cannot be written ({error.strerror or error}).", way) from None


def _first_line(path: Path) -> str:
    """The pid in the lock's note; the holder may not have written it yet."""
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return "(unknown)"


# --- hashes and names ---------------------------------------------------------------------------

# What Windows keeps for devices, whatever stands behind a dot.
DEVICES = {"con", "prn", "aux", "nul"}
DEVICES |= {f"{port}{number}" for port in ("com", "lpt") for number in "0123456789¹²³"}
LONGEST = 120  # bytes of a name: file systems take 255, and steps, seeds and endings follow


def file_name(text: str, otherwise: str = "subject", *, keep: str = "") -> str:
    """`text`, which anyone may have written, as files and folders may be called on any system:
    `<cheburashka>` is `cheburashka`, `../x` is `x`. The one way from a person's text to a name.

    Letters, digits, - and _ stay, and within the name the marks in `keep`; otherwise: the name
    where nothing is left.
    """
    safe = "".join(c if c.isalnum() or c in "-_" or c in keep else "_" for c in text)
    safe = safe.lstrip("-_. ").encode()[:LONGEST].decode(errors="ignore").rstrip("_. ")
    return f"_{safe}" if safe.partition(".")[0].lower() in DEVICES else safe or otherwise


def expanded(path: Path | str) -> Path:
    """`~` and `~name` as the home folders they mean, unless something here is called so."""
    path = Path(path)
    try:
        return path if path.exists() else path.expanduser()
    except (OSError, RuntimeError):  # no such user: it is a name like any other
        return path


def file_sha256(path: Path, start: int = 0) -> str:
    """Hex digest of a file from byte `start` on, read once for as long as it stays as it is."""
    stat = path.stat()
    return _file_hash(path, start, stat.st_size, stat.st_mtime_ns)


@functools.lru_cache(maxsize=256)
def _file_hash(path: Path, start: int, size: int, mtime_ns: int) -> str:
    return hash_of(path, start)


def hash_of(path: Path, start: int = 0, read: Callable[[int], object] | None = None) -> str:
    """The same, read now. read: hears of the bytes of each piece."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        file.seek(start)
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            if read:
                read(len(chunk))
    return digest.hexdigest()
