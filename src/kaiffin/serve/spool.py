"""The folder between the server and one painter: jobs in, pictures out. Torch-free.

    in/<order>-<job>.json     a job to paint          in/<job>.cancel    no longer wanted
    out/<job>.<n>.json        a picture is there      out/<job>.<n>.partial.json   as it is by now
    out/<job>.<n>.note.json   what was said of its prompts and its adapters
    out/<job>.end.json        all of them, or why not
    now.json                  the jobs of which pictures are being computed

Every file appears whole. What is in `out` is taken away by the server once it is in the database.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from kaiffin.foundation.errors import RunError
from kaiffin.foundation.folder import explained, read_json, write_bytes


class Spool:
    """path: work/paint/<name of the painter>."""

    def __init__(self, path: Path) -> None:
        self.into, self.out, self.now = path / "in", path / "out", path / "now.json"

    def make(self) -> None:
        for folder in (self.into, self.out):
            with explained(folder):
                folder.mkdir(parents=True, exist_ok=True)

    # --- the server's side ----------------------------------------------------------------------

    def give(self, number: int, id: str, arguments: Mapping[str, Any]) -> None:
        """number: grows from job to job."""
        (self.into / f"{id}.cancel").unlink(missing_ok=True)  # it was given and taken back before
        _write(self.into / f"{number:010d}-{id}.json", arguments)

    def cancel(self, id: str) -> None:
        _write(self.into / f"{id}.cancel", {})

    def news(self) -> Iterator[tuple[Path, str, str, dict[str, Any]]]:
        """(file, job, which: a number, `n.partial`, `n.note` or `end`, what it says), pictures in
        front of ends."""
        for name in sorted(_names(self.out), key=lambda name: (".end." in name, name)):
            if name.startswith(".") or not name.endswith(".json"):
                continue
            id, _, which = name.removesuffix(".json").partition(".")
            with contextlib.suppress(RunError):
                yield self.out / name, id, which, read_json(self.out / name)

    def computing(self) -> list[str]:
        """The jobs of which pictures were being computed at last."""
        with contextlib.suppress(RunError):
            return list(read_json(self.now).get("jobs", ()))
        return []

    # --- the painter's side ---------------------------------------------------------------------

    def taken(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """(id, arguments) of jobs that are new, in their order."""
        for name in sorted(_names(self.into)):
            if name.endswith(".json") and not name.startswith("."):
                path = self.into / name
                arguments = read_json(path)
                path.unlink(missing_ok=True)
                yield name.removesuffix(".json").partition("-")[2], arguments

    def cancelled(self) -> set[str]:
        """The jobs that are no longer wanted."""
        names = (name for name in _names(self.into) if name.endswith(".cancel"))
        return {name.removesuffix(".cancel") for name in names if not name.startswith(".")}

    def compute(self, jobs: Collection[str]) -> None:
        _write(self.now, {"jobs": sorted(jobs)})

    def say(self, id: str, which: str, facts: Mapping[str, Any]) -> None:
        _write(self.out / f"{id}.{which}.json", facts)


def _write(path: Path, facts: Mapping[str, Any]) -> None:
    write_bytes(path, json.dumps(facts).encode(), sync=False)


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []
