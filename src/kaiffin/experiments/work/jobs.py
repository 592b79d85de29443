"""One unit of work: a story, what it is given, and a folder that all workers see. Torch-free.

A job is a file in that folder, so that any process, here or on another machine, can do it. What it
makes lies in the folder as well. Done again, it goes on where it stopped; so a worker that dies
loses nothing but what it had not saved. Who can write into the folder may say which function of
which module is called: it is to be trusted as the program is.
"""

from __future__ import annotations

import importlib
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kaiffin.foundation.errors import Interrupted, RunError, UserError
from kaiffin.foundation.folder import Folder
from kaiffin.foundation.tell import SILENT, Tell

Result = Mapping[str, Any]  # as JSON; `failed` in it says of a part why it failed
STOPPING = "stopping: what runs saves where it is (Ctrl-C again: at once)"


@dataclass(frozen=True)
class Job:
    """out: the folder; name: of the job in it; parts: what it makes, each of which may fail alone.

    story: `module:function`, called as `function(job, tell=...)`, which answers with a `Result`; a
    function `progress(job)` in its module says how far it is. arguments: what the story is given,
    as JSON. device: where it computes, as `base.device` has it.
    """

    out: Path
    name: str
    story: str
    arguments: Mapping[str, Any]
    parts: tuple[str, ...]
    device: str = "auto"

    @property
    def log(self) -> Path:
        """What its worker says, where that is another process."""
        return self.out / "logs" / f"{self.name}.log"

    def file(self, what: str) -> Path:
        """What its worker leaves beside the job: `worker`, who it is, or `result`."""
        return self.out / "jobs" / f"{self.name}.{what}.json"

    def left(self, what: str) -> dict[str, Any]:
        """What such a file says; {} where there is none that can be read."""
        try:
            return Folder(self.out).read_json(f"jobs/{self.name}.{what}.json")
        except RunError:
            return {}

    def leave(self, what: str, facts: Mapping[str, Any]) -> None:
        Folder(self.out).write_json(f"jobs/{self.name}.{what}.json", facts)

    def write(self) -> None:
        facts = {
            "story": self.story, "arguments": self.arguments, "parts": self.parts,
            "device": self.device,
        }  # fmt: skip
        Folder(self.out).write_json(f"jobs/{self.name}.json", facts)

    @classmethod
    def read(cls, out: Path, name: str) -> Job:
        """The job written before; RunError where there is none."""
        try:
            facts = Folder(out).read_json(f"jobs/{name}.json")
            story, arguments, parts = facts["story"], facts["arguments"], tuple(facts["parts"])
        except (RunError, KeyError):
            path = out / "jobs" / f"{name}.json"
            raise RunError(f"{path}: is not there or no job.", "Start the sweep again.") from None
        return cls(out, name, story, arguments, parts, facts.get("device", "auto"))

    def progress(self) -> tuple[int, int | None]:
        """Steps that are done, and of how many; None where that is not known yet."""
        count = _named(self.story, "progress")
        return count(self) if count else (0, None)


@dataclass(frozen=True)
class Ended:
    """A job that its worker is through with.

    result: what its story answered, None where the worker died; how: in which way it died.
    """

    name: str
    result: Result | None
    how: str = ""


def do(job: Job, tell: Tell = SILENT) -> Result:
    """Tells the job's story; whatever goes wrong in it is in the result.

    Raises Interrupted where it was stopped; all is saved then.
    """
    try:
        story = _named(job.story)
        if story is None:
            raise RunError(f"{job.story}: is no story.", "All workers need the same Kaiffin.")
        return story(job, tell=tell)
    except Interrupted:
        raise
    except Exception as error:
        return {"failed": dict.fromkeys(job.parts, reason(error, tell))}


def reason(error: Exception, tell: Tell) -> str:
    """One line. What is no UserError is a bug: one job's must not end the others, so its
    traceback goes to whoever listens."""
    if isinstance(error, UserError):
        return str(error)
    tell.note("".join(traceback.format_exception(error)).rstrip())
    return str(UserError(f"{type(error).__name__}: {error}"))


def _named(story: str, function: str = "") -> Callable[..., Any] | None:
    """A function of the story's module: the story itself, or another; None where there is none."""
    module, _, name = story.partition(":")
    return getattr(importlib.import_module(module), function or name, None)
