"""A run folder: the only module that knows its layout. Torch-free.

    config.yaml  manifest.json  metrics.jsonl  lock  README.md  report.html  <token>.safetensors
    checkpoints/step-00000500/{adapter.safetensors, optimizer.safetensors, state.json}
    candidates/<token>-step-00000500.safetensors  best.safetensors  choice.json  evaluation/
    data/  cache/  previews/  images/  tensorboard/

Every file is written aside, synced and renamed, so that a reader or a restart sees all of it or
none. A checkpoint is one folder that appears by one rename; the old ones go last.
"""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import filelock

from kaiffin.foundation.config import Config
from kaiffin.foundation.errors import RunError
from kaiffin.foundation.settings import dump, load

PREFIX = "step-"


class Run:
    """One training: a folder. Make it with `create` or `open`."""

    def __init__(self, path: Path, config: Config) -> None:
        self.path = path
        self.config = config

    # --- making and opening -----------------------------------------------------------------

    @classmethod
    def create(cls, path: Path, config: Config) -> Run:
        """A new run at `path`. A folder in which nothing has been trained yet is taken over."""
        run = cls(path, config)
        if run.latest_checkpoint() or run.finished:
            raise RunError(
                f"{path}: holds a run already.",
                f"Go on with `kaiffin resume {path}`, or choose another --out.",
            )
        if path.is_dir() and any(path.iterdir()) and not run.config_path.is_file():
            raise RunError(f"{path}: is a folder with other things in it.", "Choose another --out.")
        with _explained(path):
            path.mkdir(parents=True, exist_ok=True)
        run.save_config(config)
        return run

    @classmethod
    def open(cls, path: Path) -> Run:
        """The run at `path`; raises `RunError` if there is none."""
        if not (path / "config.yaml").is_file():
            raise RunError(
                f"{path}: is no run folder (no config.yaml).", "Name a folder that train has made."
            )
        return cls(path, load(path / "config.yaml"))

    def save_config(self, config: Config) -> None:
        """Replaces the config, as when `preset` has filled what was left open."""
        self.config = config
        self.write("config.yaml", dump(config).encode())

    @contextlib.contextmanager
    def lock(self, name: str = "lock") -> Iterator[None]:
        """Keeps other processes out of what goes by `name` (the training, unless another is given);
        the lock dies with the process that holds it."""
        holder = self.path / f"{name}.pid"
        lock = filelock.FileLock(self.path / name, timeout=0)
        with _explained(self.path):
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

    # --- names ------------------------------------------------------------------------------

    @property
    def config_path(self) -> Path:
        return self.path / "config.yaml"

    @property
    def adapter_path(self) -> Path:
        return self.path / f"{file_name(self.config.subject.token)}.safetensors"

    def part_path(self, part: str) -> Path:
        """`<token>-<part>.safetensors`: the adapter of one phase, or the embedding."""
        return self.adapter_path.with_name(f"{self.adapter_path.stem}-{part}.safetensors")

    @property
    def best_path(self) -> Path:
        """The candidate that `choose` recommends."""
        return self.path / "best.safetensors"

    @property
    def metrics_path(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def card_path(self) -> Path:
        return self.path / "README.md"

    @property
    def report_path(self) -> Path:
        return self.path / "report.html"

    @property
    def finished(self) -> bool:
        return self.adapter_path.is_file()

    def folder(self, name: str) -> Path:
        """`data`, `cache`, `previews`, `images` or `tensorboard`, made if absent."""
        folder = self.path / name
        with _explained(folder):
            folder.mkdir(parents=True, exist_ok=True)
        return folder

    # --- writing ----------------------------------------------------------------------------

    def write(self, name: str, data: bytes) -> Path:
        """Writes one file below the run, whole or not at all."""
        path = self.path / name
        partial = path.with_name(f".{path.name}.part")
        with _explained(path):
            try:
                _write_synced(partial, data)
                os.replace(partial, path)
            except OSError:
                partial.unlink(missing_ok=True)
                raise
        return path

    def write_json(self, name: str, data: Mapping[str, Any]) -> Path:
        return self.write(name, (json.dumps(data, indent=2, ensure_ascii=False) + "\n").encode())

    def read_json(self, name: str) -> dict[str, Any]:
        """The content of a JSON file of this run, or {} where there is none."""
        try:
            return json.loads((self.path / name).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise RunError(f"{self.path / name}: cannot be read: {error}.") from None

    # --- metrics ----------------------------------------------------------------------------

    def metrics(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl with a step and a finite loss; torn lines are left out."""
        path, found = self.metrics_path, []
        for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
            with contextlib.suppress(ValueError, KeyError, TypeError):
                entry = json.loads(line)
                if math.isfinite(entry["loss"]) and entry["step"] > 0:
                    found.append(entry)
        return found

    # --- candidates -------------------------------------------------------------------------

    def candidate_path(self, step: int) -> Path:
        """The adapter as it was after `step`, ready for use."""
        name = f"{self.adapter_path.stem}-{PREFIX}{step:08d}.safetensors"
        return self.path / "candidates" / name

    def candidates(self) -> list[tuple[int, Path]]:
        """Adapters kept along the way as (step, file), oldest first; the last is the final one."""
        found = (self.path / "candidates").glob(f"*-{PREFIX}*.safetensors")
        return sorted((int(path.stem.rpartition(PREFIX)[2]), path) for path in found)

    # --- checkpoints ------------------------------------------------------------------------

    def checkpoints(self) -> list[tuple[int, Path]]:
        """Complete checkpoints as (step, folder), oldest first."""
        folder = self.path / "checkpoints"
        names = folder.iterdir() if folder.is_dir() else ()
        found = [path for path in names if path.name.startswith(PREFIX)]
        return sorted((int(path.name.removeprefix(PREFIX)), path) for path in found)

    def latest_checkpoint(self) -> Path | None:
        every = self.checkpoints()
        return every[-1][1] if every else None

    def new_checkpoint(self, step: int, files: Mapping[str, bytes], keep: int) -> Path:
        """Writes a checkpoint by one rename, then removes all but the newest `keep`."""
        final = self.path / "checkpoints" / f"{PREFIX}{step:08d}"
        partial = final.with_name(f".{final.name}.part")
        with _explained(final):
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            try:
                for name, data in files.items():
                    _write_synced(partial / name, data)
                shutil.rmtree(final, ignore_errors=True)
                os.replace(partial, final)
            except OSError:
                shutil.rmtree(partial, ignore_errors=True)
                raise
            _sync_folder(final.parent)
        for _, old in self.checkpoints()[:-keep]:
            # Renamed first: a kill in the middle of removing must not leave half a checkpoint.
            doomed = old.with_name(f".{old.name}.old")
            os.replace(old, doomed)
            shutil.rmtree(doomed, ignore_errors=True)
        return final

    def clean(self) -> None:
        """Removes what a killed process left half-written."""
        for folder in (self.path, self.path / "checkpoints", self.path / "candidates"):
            for path in folder.glob(".*.part") if folder.is_dir() else ():
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink()
        for path in (self.path / "checkpoints").glob(".*.old"):
            shutil.rmtree(path, ignore_errors=True)

    def truncate_metrics(self, step: int) -> None:
        """Drops the lines after `step`, which a resumed training will write again."""
        if not self.metrics_path.is_file():
            return
        kept = []
        for line in self.metrics_path.read_text(encoding="utf-8").splitlines():
            with contextlib.suppress(ValueError, KeyError, TypeError):
                if json.loads(line)["step"] <= step:
                    kept.append(line + "\n")
        self.write("metrics.jsonl", "".join(kept).encode())


def file_name(token: str) -> str:
    """The subject's word as a file may be called: `<cheburashka>` is `cheburashka`."""
    safe = "".join(c if c.isalnum() or c in "-_" else "_" for c in token)
    return safe.strip("_") or "subject"


def free_name(path: Path) -> Path:
    """`path`, or the first of path-2, path-3, ... in which nothing has been trained."""
    candidate, number = path, 1
    while (candidate / "checkpoints").is_dir() or any(candidate.glob("*.safetensors")):
        number += 1
        candidate = path.with_name(f"{path.name}-{number}")
    return candidate


def _first_line(path: Path) -> str:
    """The pid in the lock's note; the holder may not have written it yet."""
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return "(unknown)"


def _write_synced(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
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
def _explained(path: Path) -> Iterator[None]:
    """Turns what the file system refuses into one line with the way out."""
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
