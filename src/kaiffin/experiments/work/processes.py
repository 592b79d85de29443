"""Worker processes of this machine, side by side."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from kaiffin.experiments.work import workers
from kaiffin.experiments.work.births import Worker, worker
from kaiffin.experiments.work.jobs import STOPPING, Ended, Job
from kaiffin.foundation.tell import SILENT, Tell


class Processes:
    """A process for each job, on its own.

    environments: what each of those that run at once sees beside this process's own variables.
    """

    def __init__(
        self, environments: Sequence[Mapping[str, str]], out: Path, tell: Tell = SILENT
    ) -> None:
        self.slots, self.free, self.tell = len(environments), list(environments), tell
        self.running: dict[str, tuple[Job, Worker, Mapping[str, str]]] = {}
        self.interrupted: set[str] = set()
        self.session = workers.open_session(out)
        threads = max(1, (os.cpu_count() or 1) // self.slots)
        self.shared = {"OMP_NUM_THREADS": str(threads), **os.environ}

    def start(self, job: Job) -> None:
        own = self.free.pop(0)
        job.log.parent.mkdir(exist_ok=True)
        process = worker([str(job.out), job.name, self.session], job.log, {**self.shared, **own})
        self.running[job.name] = job, process, own

    def ended(self, seconds: float) -> list[Ended]:
        until = time.monotonic() + seconds
        while True:
            through = [one for one in self.running.values() if one[1].poll() is not None]
            if through or time.monotonic() > until:
                return [self._collect(*one) for one in through]
            time.sleep(0.05)

    def _collect(self, job: Job, process: Worker, own: Mapping[str, str]) -> Ended:
        del self.running[job.name]
        self.interrupted.discard(job.name)
        self.free.append(own)
        process.stop()
        result, code = job.left("result"), process.poll() or 0
        if code == 0 and result:
            return Ended(job.name, result)
        return Ended(job.name, None, _death(code))

    def interrupt(self, name: str) -> None:
        if name not in self.running:
            return
        process = self.running[name][1]
        if name in self.interrupted:  # it was asked before, and did not hear
            process.kill()
        else:
            self.interrupted.add(name)
            process.stop()

    def stop(self) -> None:
        if self.running:
            self.tell.note(STOPPING)
        for _, process, _ in self.running.values():
            process.stop()
        try:
            for _, process, _ in self.running.values():
                process.wait()
        finally:  # an impatient second Ctrl-C
            for _, process, _ in self.running.values():
                process.kill()
                process.wait()


def _death(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
