"""A job of the table as a worker has it, and what the operator decides for all. Torch-free."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kaiffin.experiments.work.jobs import Job as Work
from kaiffin.foundation.config import BaseConfig
from kaiffin.foundation.errors import UserError
from kaiffin.foundation.run import Run
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
    return Work(studio.work, job.id, "kaiffin.serve.kinds:do", arguments, (job.id,))


def task(work: Work) -> Task:
    """What `work` asks for."""
    asked = work.arguments
    studio = Studio(work.out.parent)
    return Task(asked["id"], asked["kind"], asked["request"], studio, House(**asked["house"]))
