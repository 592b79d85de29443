"""What each kind of job does: a frozen request becomes a story's call, in a worker. Torch-free
until then.

Ids become folders of the data folder here, and what a story answers becomes JSON. A job that is
done again goes on where it stopped.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock

from kaiffin.experiments.work.jobs import Job as Work
from kaiffin.experiments.work.jobs import Result
from kaiffin.foundation.config import BaseConfig
from kaiffin.foundation.errors import Interrupted, UserError
from kaiffin.foundation.folder import write_bytes
from kaiffin.foundation.run import Run
from kaiffin.foundation.tell import SILENT, Progress, Table, Tell
from kaiffin.serve.database import LETTERS
from kaiffin.serve.jobs import Job
from kaiffin.serve.studio import Studio

SPOKEN_S = 0.5  # between two words about progress
NOTES = 200  # that are kept of one worker
SUCCESSION_S = 120.0  # for a worker whose server died to save and stop


@dataclass(frozen=True)
class House:
    """What the operator decides for all jobs. bases: what is loaded for each name that callers
    use; judge, identity_judge: who scores pictures of bases that are no miniatures."""

    bases: Mapping[str, str] = dataclasses.field(default_factory=dict)
    judge: str | None = None
    identity_judge: str | None = None

    def base(self, name: str) -> str:
        return self.bases.get(name, name)

    def without_places(self, studio: Studio, text: str) -> str:
        """A text for callers: no folder of this machine, and bases by the names that they know."""
        text = re.sub(re.escape(str(studio.path)) + r"/(?:[\w.-]+/)*", "", text)
        for name, real in self.bases.items():
            text = text.replace(real, name) if real != name else text
        return text


@dataclass(frozen=True)
class Task:
    """A job as a worker has it."""

    id: str
    kind: str
    request: Mapping[str, Any]
    studio: Studio
    house: House

    @property
    def made(self) -> Path:
        """The folder of what it makes."""
        return self.studio.made(self.id)

    def said(self, text: str) -> str:
        """As the job's owner may read it."""
        return self.house.without_places(self.studio, text)


def pictures(job: Job) -> int:
    """How many a job of pictures asks for."""
    return len(job.request["prompts"]) * job.request["count"]


def picture_ids(job: Job) -> list[str]:
    """Their ids."""
    return [picture_id(job.id, number) for number in range(pictures(job))]


def picture_id(job: str, number: int) -> str:
    """The same in every try, so that none is there twice."""
    digest = int.from_bytes(hashlib.sha256(f"{job} {number}".encode()).digest(), "big")
    return "".join(LETTERS[digest // 36**place % 36] for place in range(16))


def base_of(studio: Studio, house: House, job: Job) -> str:
    """The base that a job's pictures are made with, as a word; "" where that cannot be known."""
    run = job.request.get("run")
    try:
        base = Run.open(studio.run(run)).config.base if run else None
    except UserError:
        return ""  # whoever paints it will say why it cannot be
    return (base or BaseConfig(name=house.base(job.request["base"]))).model_dump_json()


def work(studio: Studio, job: Job, house: House) -> Work:
    """The job for a worker, as a file of the folder that all of them see."""
    arguments = {
        "id": job.id, "kind": job.kind, "request": dict(job.request),
        "house": dataclasses.asdict(house),
    }  # fmt: skip
    return Work(studio.work, job.id, f"{__name__}:do", arguments, (job.id,))


def task(work: Work) -> Task:
    """What `work` asks for."""
    asked = work.arguments
    studio = Studio(work.out.parent)
    return Task(asked["id"], asked["kind"], asked["request"], studio, House(**asked["house"]))


def do(work: Work, *, tell: Tell = SILENT) -> Result:
    """Tells the job's story; a `problem` with its `way_out` is a result, too.

    Raises Interrupted where it was stopped; all is saved then.
    """
    lock = filelock.FileLock(work.file("lock"), timeout=SUCCESSION_S)
    try:
        with lock:  # the worker before may still be saving
            if before := work.left("result"):
                return before
            from kaiffin.serve import kinds

            asked = task(work)
            result = kinds.KINDS[asked.kind](asked, Reporter(work, tell))
            result = json.loads(asked.said(json.dumps(result)))
            work.leave("result", result)  # before the next one looks for it
            return result
    except filelock.Timeout:
        return {"problem": f"another worker is still at it, after {SUCCESSION_S:.0f} s.",
                "way_out": "Retry it when that one has stopped."}  # fmt: skip
    except UserError as error:
        if isinstance(error, Interrupted):
            raise
        said = task(work).said
        return {"problem": said(error.message), "way_out": said(error.fix)}


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
