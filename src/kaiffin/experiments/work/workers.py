"""A worker process: it does one job of a folder and speaks into its log. Torch-free until then.

`python -m kaiffin.experiments.work.workers OUT NAME SESSION` does the job NAME in OUT. When its
standard input ends (the parent wants it, or is dead), it saves and stops.
"""

from __future__ import annotations

import _thread
import os
import secrets
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from kaiffin.experiments.work import jobs
from kaiffin.experiments.work.jobs import Job
from kaiffin.foundation.errors import Interrupted, RunError
from kaiffin.foundation.folder import Folder
from kaiffin.foundation.tell import Lines

_told = threading.Event()  # to stop


def open_session(out: Path) -> str:
    """A word in the jobs' folder by which workers know that they see the same folder."""
    session = secrets.token_hex(8)
    Folder(out).write("jobs/session", session.encode())
    return session


def taken(out: Path, name: str, session: str) -> Job:
    """The job `name` in `out`, with a note of who does it.

    RunError where this machine does not see that folder.
    """
    host = socket.gethostname()
    try:
        found = (out / "jobs" / "session").read_text(encoding="utf-8")
    except OSError:
        found = ""
    if found != session:
        raise RunError(
            f"{host} does not see the sweep's folder {out.absolute()}.",
            "All workers need it and the folder of the command, under the same names: share them.",
        )
    job = Job.read(out, name)
    job.leave("worker", {"host": host, "process": os.getpid()})
    return job


def main(arguments: Sequence[str]) -> int:
    """A worker process; its exit code is 0 where the job has ended, well or not."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # outside of training, which saves
    threading.Thread(target=_stop_with_parent, daemon=True).start()
    try:
        job = taken(Path(arguments[0]), *arguments[1:])
        result = jobs.do(job, Lines(sys.stdout))
    except (KeyboardInterrupt, Interrupted):
        return 128 + signal.SIGTERM
    if _told.is_set() and (result.get("failed") or result.get("problem")):
        return 128 + signal.SIGTERM  # libraries make an error of their own of the interruption
    job.leave("result", result)
    return 0


def _stop_with_parent() -> None:
    """Waits for the end of standard input, then acts as if SIGTERM had come."""
    while os.read(0, 1):
        pass
    _told.set()
    _thread.interrupt_main(signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
