"""Large files from the hub into its cache: where a download was cut it goes on. Torch-free.

The client begins every file anew in a file of its own, which it deletes or leaves behind. Here
bytes gather in `blobs/<sha256>.incomplete` until they are the file: sizes and hashes are those of
the hub's listing, so that nothing needs to be asked and any mirror will do.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import filelock

from kaiffin.foundation.errors import MissingWeightsError
from kaiffin.foundation.folder import file_sha256
from kaiffin.foundation.tell import Progress, Tell, size_text
from kaiffin.models.files import hub, kept
from kaiffin.models.files.kept import Entry, Kept
from kaiffin.models.files.published import Source

TRIES = 3  # without a byte more
ENDING = ".incomplete"
MB = 1_000_000
PATIENCE = 0.5  # seconds in silence, before another process's download


@dataclass
class Pace:
    """How far a download is. Told in MB: a count of bytes is no reading."""

    progress: Progress
    total: int
    done: int = 0  # bytes, those of earlier calls as well
    fresh: int = 0  # bytes of this call
    started: float = field(default_factory=time.monotonic)

    def step(self, amount: int) -> None:
        self.done += amount
        self.fresh += max(0, amount)
        self.tell()

    def tell(self) -> None:
        rate = self.fresh / MB / max(1e-3, time.monotonic() - self.started)
        total = -(-self.total // MB)
        self.progress.update(min(self.done // MB, total), total, f"{rate:.1f} MB/s")


def fetch(source: Source, into: Kept, wanted: Mapping[str, Entry], *, tell: Tell) -> None:
    """Brings every file of `wanted` (by name, with size and hash) into the cache.

    Raises MissingWeightsError where the disk is too small, the network fails or what came is not
    what the hub lists; what is whole, or has begun, stays.
    """
    blobs = into.store / "blobs"
    with hub.explained(source):
        blobs.mkdir(parents=True, exist_ok=True)
        begun = {name: _adopt(into, entry, tell) for name, entry in wanted.items()}
        refuse_full(into.store, sum(e.size - begun[n] for n, e in wanted.items()), source)
        total = sum(entry.size for entry in wanted.values())
        with tell.progress(f"taking {source.name}, MB:", -(-total // MB)) as progress:
            pace = Pace(progress, total)
            for name, entry in wanted.items():
                with _alone(into, entry, tell):
                    _one(source, into, name, entry, pace)
            pace.tell()


def refuse_full(folder: Path, needed: int, source: Source) -> None:
    """MissingWeightsError where the disk that holds `folder` has less than `needed` bytes free."""
    free = free_bytes(folder)
    if needed > free:
        raise MissingWeightsError(
            f"{source.repo} needs {size_text(needed)}, and the disk of {folder.parent} has"
            f" {size_text(free)} free.",
            "Free some space, or set HF_HOME to a folder on another disk.",
        )


def free_bytes(folder: Path) -> int:
    """Of the disk on which `folder` is, or will be."""
    return shutil.disk_usage(next(p for p in (folder, *folder.parents) if p.exists())).free


def _one(source: Source, into: Kept, name: str, entry: Entry, pace: Pace) -> None:
    """One file, under its lock."""
    blob, pointer = into.store / "blobs" / entry.sha256, into.folder / name
    if not (blob.is_file() and blob.stat().st_size == entry.size):
        kept.remove(blob)
        part = blob.with_name(blob.name + ENDING)
        pace.done += _size(part)
        _whole(source, hub.url(source, into.commit, name), part, entry, pace)
        os.replace(part, blob)
    else:
        pace.done += entry.size
    _link(pointer, blob)


def _whole(source: Source, url: str, part: Path, entry: Entry, pace: Pace) -> None:
    """Downloads the rest of `part`; what was begun wrongly is begun anew, once."""
    for _ in range(2):
        _download(url, part, entry, pace.step)
        if file_sha256(part) == entry.sha256:
            return
        pace.step(-_size(part))
        part.unlink()
    raise MissingWeightsError(
        f"{source.repo}: {part.name.removesuffix(ENDING)[:10]} comes damaged: its hash is not the"
        " one that the hub lists.",
        "Run the same command again; if a mirror is set by HF_ENDPOINT, unset it.",
    )


def _download(url: str, part: Path, entry: Entry, step: Callable[[int], None]) -> None:
    """Goes on until the file has its size. Raises what the client raises when nothing comes."""
    from huggingface_hub.errors import HfHubHTTPError, HTTPError
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers

    headers = build_hf_headers() | {"Accept-Encoding": "identity"}
    failures = 0
    while True:
        start = _size(part)
        if start > entry.size:
            part.unlink()
            step(-start)
            start = 0
        try:
            with part.open("ab") as file, hub.quiet():
                http_get(
                    url, file, resume_size=start, headers=headers, expected_size=entry.size,
                    tqdm_class=hub.bar(step),
                )  # fmt: skip
            return
        except HfHubHTTPError:
            raise  # the hub has answered
        except (HTTPError, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise  # of the disk
            failures = 0 if _size(part) > start else failures + 1
            if failures == TRIES:
                raise


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _link(pointer: Path, blob: Path) -> None:
    """The file by its name in the repository, as the client has it: a link, or where there are
    none the file itself."""
    from huggingface_hub.file_download import are_symlinks_supported

    pointer.parent.mkdir(parents=True, exist_ok=True)
    pointer.unlink(missing_ok=True)  # a link to nothing, a truncated copy
    if are_symlinks_supported(blob.parents[2]):
        pointer.symlink_to(os.path.relpath(blob, pointer.parent))
    else:
        os.replace(blob, pointer)


# --- what was begun -----------------------------------------------------------------------------


@contextlib.contextmanager
def _alone(into: Kept, entry: Entry, tell: Tell) -> Iterator[None]:
    """Under the client's own lock of this file: no two programs load it at once."""
    from huggingface_hub.utils import WeakFileLock

    path = into.store.parent / ".locks" / into.store.name / f"{entry.sha256}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(WeakFileLock(path, timeout=PATIENCE))
        except filelock.Timeout:
            tell.note(f"waiting for another process, which is taking {into.store.name}")
            stack.enter_context(WeakFileLock(path))
        yield


def _adopt(into: Kept, entry: Entry, tell: Tell) -> int:
    """Bytes of a file that are here already: of earlier calls, or left behind by a client that was
    killed. What others have left is taken over under the lock; its hash will tell what it is."""
    blob = into.store / "blobs" / entry.sha256
    part = blob.with_name(blob.name + ENDING)
    with _alone(into, entry, tell):
        orphans = sorted(blob.parent.glob(f"{blob.name}.*{ENDING}"), key=_size)
        if orphans and _size(orphans[-1]) > _size(part):
            os.replace(orphans.pop(), part)
        for orphan in orphans:
            orphan.unlink()
    return _size(blob) if _size(blob) == entry.size else _size(part)
