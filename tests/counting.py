"""A story for jobs that counts, in a process that starts at once: it needs no torch."""

import time
from pathlib import Path
from typing import Any

from kaiffin.experiments.work.jobs import Job
from kaiffin.foundation.errors import Interrupted, RunError
from kaiffin.foundation.tell import SILENT, Tell


def do(job: Job, *, tell: Tell = SILENT) -> dict[str, Any]:
    """arguments: `to`, how far it counts; `wrong`: user, bug or part, how it fails, or swallowed,
    what it makes of a stop; `waits`, for a long time, once it has begun to count."""
    asked = job.arguments
    tell.note(f"counts to {asked['to']}")
    job.leave("count", {"done": 1})
    wrong = asked.get("wrong")
    if wrong == "user":
        raise RunError("no numbers.", "Bring some.")
    if wrong == "bug":
        raise ZeroDivisionError("out of order")
    if wrong == "stopped":
        raise Interrupted("stopped.", "", 15)
    try:
        for _ in range(6000 if asked.get("waits") else 0):
            time.sleep(0.1)  # Python hears of a stop between two calls
    except KeyboardInterrupt as stop:
        if wrong == "swallowed":
            raise ValueError("something of a library's own") from stop
        raise
    job.leave("count", {"done": asked["to"]})
    failed = {job.parts[-1]: "it was the last"} if wrong == "part" else {}
    return {"failed": failed, "sum": sum(range(asked["to"] + 1))}


def progress(job: Job) -> tuple[int, int | None]:
    return job.left("count").get("done", 0), job.arguments["to"]


def job(out: Path, name: str = "one", to: int = 3, **more: Any) -> Job:
    """A job of this story in two parts, written into its folder."""
    made = Job(out, name, f"{__name__}:do", {"to": to, **more}, ("left", "right"))
    made.write()
    return made
