"""A place whose workers are processes that are born warm (see tests/fresh.py); else as `Processes`:
a closed pipe, not a signal, tells a worker to save and stop, and so does the end of its parent."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from fresh import _CONTEXT

from kaiffin.experiments.work import workers
from kaiffin.experiments.work.jobs import Ended, Job
from kaiffin.experiments.work.processes import _death


class Warm:
    """slots: how many at once."""

    def __init__(self, out: Path, slots: int = 1) -> None:
        self.slots, self.session = slots, workers.open_session(out)
        self.running: dict[str, tuple[Job, Any, Connection]] = {}
        self.begun: list[str] = []

    def start(self, job: Job) -> None:
        job.log.parent.mkdir(exist_ok=True)
        ours, theirs = _CONTEXT.Pipe()
        words = [str(job.out), job.name, self.session]
        process = _CONTEXT.Process(target=_work, args=(theirs, words, str(job.log)))
        process.start()
        theirs.close()
        self.running[job.name] = job, process, ours
        self.begun.append(job.name)

    def ended(self, seconds: float) -> list[Ended]:
        found = []
        for name, (job, process, pipe) in list(self.running.items()):
            if process.exitcode is not None:
                del self.running[name]
                pipe.close()
                result = job.left("result") if process.exitcode == 0 else {}
                how = "" if result else _death(process.exitcode)
                found.append(Ended(name, result or None, how))
        return found

    def interrupt(self, name: str) -> None:
        _, process, pipe = self.running[name]
        process.kill() if pipe.closed else pipe.close()

    def stop(self) -> None:
        for _, process, pipe in self.running.values():
            pipe.close()
            process.join()


@contextlib.contextmanager
def place(on: str, out: Path, tell: Any = None) -> Iterator[Warm]:
    """In place of `places.place`: processes:N."""
    made = Warm(out, int(on.partition(":")[2]))
    try:
        yield made
    finally:
        made.stop()


def share_parent() -> None:
    """In a process that was born warm itself: its workers are born by the same parent, which is
    warm already."""
    forkserver._forkserver.ensure_running = lambda: None  # ty: ignore[invalid-assignment]


def _work(pipe: Connection, words: list[str], log: str) -> None:
    os.setsid()
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(pipe.fileno(), 0)
    pipe.close()
    for number in (1, 2):
        os.dup2(handle, number)
    sys.stdout, sys.stderr = (os.fdopen(os.dup(n), "w", buffering=1) for n in (1, 2))
    sys.exit(workers.main(words))


def until(condition: Any, seconds: float = 120) -> None:
    """Waits for it."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.01)
