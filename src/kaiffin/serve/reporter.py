"""How far a long job is, and what was said: a small file beside it, for the server. Torch-free."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

from kaiffin.experiments.work.jobs import Job as Work
from kaiffin.foundation.folder import write_bytes
from kaiffin.foundation.tell import Progress, Table, Tell
from kaiffin.serve.work import task

SPOKEN_S = 0.5  # between two words about progress
NOTES = 200  # that are kept of one worker


class Reporter(Tell):
    """Leaves beside the job how far it is and what was said; every word goes on to `tell`."""

    def __init__(self, work: Work, tell: Tell) -> None:
        self.file, self.tell, self.said = work.file("progress"), tell, task(work).said
        self.spoken, self.facts = 0.0, {"who": os.getpid(), "done": 0, "total": None, "what": ""}
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.tell.note(text)
        self.notes.append(self.said(text))
        self.say()

    def warning(self, text: str) -> None:
        self.tell.warning(text)
        self.notes.append(f"warning: {self.said(text)}")
        self.say()

    def table(self, table: Table) -> None:
        self.tell.table(table)

    def picture(self, path: Path, text: str = "") -> None:
        self.tell.picture(path, text)

    @contextlib.contextmanager
    def progress(self, text: str, total: int | None = None) -> Iterator[Progress]:
        wait = _Wait(self, text, total)
        wait.update(0)
        yield wait

    def say(self) -> None:
        self.spoken = time.monotonic()
        facts = {**self.facts, "notes": self.notes[:NOTES]}
        write_bytes(self.file, json.dumps(facts).encode(), sync=False)


class _Wait(Progress):
    """A wait that is told of at most every `SPOKEN_S`."""

    def __init__(self, reporter: Reporter, text: str, total: int | None) -> None:
        super().__init__(total)
        self.reporter, self.text = reporter, text

    def update(self, done: int, total: int | None = None, text: str = "") -> None:
        super().update(done, total, text)
        what = f"{self.text}: {text}" if text else self.text
        self.reporter.facts |= {"done": self.done, "total": self.total, "what": what}
        is_last = self.total is not None and self.done >= self.total
        if is_last or time.monotonic() - self.reporter.spoken >= SPOKEN_S:
            self.reporter.say()
