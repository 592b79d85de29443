"""Where a sweep's trainings run: one door for this process, processes side by side, GPUs and Ray.

    local                this process, one after another
    processes:2          so many worker processes
    gpus  gpus:0,2       one worker process for each GPU, or for these
    ray  ray:2           a Ray of its own on this machine, with so many CPUs
    ray://HOST:10001     a Ray cluster

All make the same files.

`python -m kaiffin.experiments.workers OUT NAME SESSION` is a worker process: it does one job of the
sweep in OUT. When its standard input ends (the parent wants it, or is dead), it saves and stops.
"""

from __future__ import annotations

import _thread
import contextlib
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from kaiffin.experiments.work import jobs
from kaiffin.experiments.work.jobs import Job
from kaiffin.foundation.config import Config
from kaiffin.foundation.errors import ConfigError, Interrupted, RunError
from kaiffin.foundation.run import Run
from kaiffin.foundation.tell import console


@dataclass(frozen=True)
class Ended:
    """A job that its worker is through with.

    failed: why, by trial; None where the worker died; how: in which way it died.
    """

    name: str
    failed: Mapping[str, str] | None
    how: str = ""


class Place(Protocol):
    """Where jobs are done."""

    @property
    def slots(self) -> int:
        """How many jobs it takes at once."""
        ...

    def start(self, job: Job) -> None: ...

    def ended(self, seconds: float) -> list[Ended]:
        """Those that ended since; waits for one, but no longer than that."""
        ...

    def stop(self) -> None:
        """Lets every worker save and stop, and waits for them; interrupted, it ends them."""
        ...


@contextlib.contextmanager
def place(on: str, out: Path) -> Iterator[Place]:
    """The place that `--on` names for the sweep in `out`. Raises ConfigError for what is none."""
    kind, _, rest = on.partition(":")
    if on == "local":
        yield Local()
    elif kind == "processes" and re.fullmatch(r"[1-9]\d*", rest):
        yield Processes([{}] * int(rest), out)
    elif kind == "gpus" and re.fullmatch(r"|\d+(,\d+)*", rest):
        chosen = [int(number) for number in rest.split(",") if number]
        import torch

        count = torch.cuda.device_count()  # asks the driver, without taking memory
        names = gpus(chosen, count, os.environ.get("CUDA_VISIBLE_DEVICES", ""))
        yield Processes([{"CUDA_VISIBLE_DEVICES": name} for name in names], out)
    elif kind == "ray" and re.fullmatch(r"|[1-9]\d*|//\S+", rest):
        from kaiffin.experiments.work import cluster

        with cluster.connected(on if rest.startswith("//") else rest, out) as ray:
            yield ray
    else:
        raise ConfigError(
            f"--on {on!r} is no place to run.",
            "Use local, processes:2, gpus, gpus:0,1, ray, ray:2 or ray://HOST:10001.",
        )


class Local:
    """This process: one job after another."""

    slots = 1

    def __init__(self) -> None:
        self.through: list[Ended] = []

    def start(self, job: Job) -> None:
        console.print(f"{job.name}: {', '.join(job.trials)}", markup=False)
        self.through.append(Ended(job.name, jobs.do(job)))

    def ended(self, seconds: float) -> list[Ended]:
        through, self.through = self.through, []
        return through

    def stop(self) -> None:
        pass  # what ran here was interrupted itself


class Processes:
    """Worker processes side by side, a fresh one for each job.

    environments: what each of them sees beside this process's own variables.
    """

    def __init__(self, environments: Sequence[Mapping[str, str]], out: Path) -> None:
        self.slots, self.free = len(environments), list(environments)
        self.running: dict[str, tuple[Job, subprocess.Popen, Mapping[str, str]]] = {}
        self.session = open_session(out)
        threads = max(1, (os.cpu_count() or 1) // self.slots)
        self.shared = {"OMP_NUM_THREADS": str(threads), **os.environ}

    def start(self, job: Job) -> None:
        own = self.free.pop(0)
        job.file("result").unlink(missing_ok=True)
        job.log.parent.mkdir(exist_ok=True)
        command = [sys.executable, "-u", "-m", __name__, str(job.out), job.name, self.session]
        with job.log.open("ab") as log:
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=log, stderr=log, env={**self.shared, **own},
                start_new_session=True,  # so that Ctrl-C reaches the parent alone
            )  # fmt: skip
        self.running[job.name] = job, process, own

    def ended(self, seconds: float) -> list[Ended]:
        until = time.monotonic() + seconds
        while True:
            through = [one for one in self.running.values() if one[1].poll() is not None]
            if through or time.monotonic() > until:
                return [self._collect(*one) for one in through]
            time.sleep(0.05)

    def _collect(self, job: Job, process: subprocess.Popen, own: Mapping[str, str]) -> Ended:
        del self.running[job.name]
        self.free.append(own)
        if process.stdin:
            process.stdin.close()
        result = jobs.read_json(job.file("result"))
        if process.returncode == 0 and result:
            return Ended(job.name, result["failed"])
        return Ended(job.name, None, _death(process.returncode))

    def stop(self) -> None:
        if self.running:
            console.print("stopping: the trainings save where they are (Ctrl-C again: at once)")
        for _, process, _ in self.running.values():
            if process.stdin:
                process.stdin.close()
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


def gpus(chosen: Sequence[int], count: int, visible: str) -> list[str]:
    """The chosen GPUs, or all, as CUDA_VISIBLE_DEVICES names them.

    count: how many this process sees; visible: that variable here. ConfigError for one that is not
    there.
    """
    if not count:
        raise ConfigError(
            "--on gpus: torch finds no GPU on this machine.", "Use --on local or --on processes:2."
        )
    names = [name for name in visible.split(",") if name][:count] or list(map(str, range(count)))
    wrong = [number for number in chosen if number >= count or chosen.count(number) > 1]
    if wrong:
        raise ConfigError(
            f"--on gpus:{','.join(map(str, chosen))}: {wrong[0]} is not there, or there twice.",
            f"The GPUs here are 0 to {count - 1}.",
        )
    return [names[number] for number in chosen] or names


# --- what a worker does -------------------------------------------------------------------------


def open_session(out: Path) -> str:
    """A word in the sweep's folder by which workers know that they see the same folder."""
    session = secrets.token_hex(8)
    Run(out, Config()).write("jobs/session", session.encode())
    return session


def taken(out: Path, name: str, session: str) -> Job:
    """The job `name` of the sweep in `out`, with a note of who does it.

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
    note = {"host": host, "process": os.getpid()}
    Run(out, job.config).write_json(f"jobs/{name}.worker.json", note)
    return job


def main(arguments: Sequence[str]) -> int:
    """A worker process; its exit code is 0 where the job has ended, well or not."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # outside of training, which saves
    threading.Thread(target=_stop_with_parent, daemon=True).start()
    try:
        job = taken(Path(arguments[0]), *arguments[1:])
        result = {"failed": jobs.do(job)}
    except (KeyboardInterrupt, Interrupted):
        return 128 + signal.SIGTERM
    Run(job.out, job.config).write_json(f"jobs/{job.name}.result.json", result)
    return 0


def _stop_with_parent() -> None:
    """Waits for the end of standard input, then acts as if SIGTERM had come."""
    while os.read(0, 1):
        pass
    _thread.interrupt_main(signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
