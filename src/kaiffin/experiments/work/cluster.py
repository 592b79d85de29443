"""Jobs on Ray, on this machine or a cluster; the only door to Ray.

Ray says which machine does what, and nothing else: a task gets the name of a job and returns why it
failed. Photos, checkpoints and pictures go through the jobs' folder, which all machines share.
Who may reach a Ray cluster may run programs on it: connect to trusted ones only. A Ray of its own
listens on this machine alone.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kaiffin.experiments.work import jobs, workers
from kaiffin.experiments.work.jobs import STOPPING, Ended, Job, Result
from kaiffin.foundation.errors import Interrupted, RunError, UserError
from kaiffin.foundation.extras import needs
from kaiffin.foundation.tell import SILENT, Lines, Tell

STORE = 100 * 2**20  # bytes for Ray's objects: ours are a few words
PATIENCE_S = 600.0  # for a job to save when it is stopped


@contextlib.contextmanager
def connected(where: str, out: Path, tell: Tell = SILENT) -> Iterator[Cluster]:
    """where: `ray://HOST:PORT`, a number of CPUs for a Ray of its own, or "" for all of them."""
    is_own = not where.startswith("ray://")
    for name, value in (OWN if is_own else {}).items():
        os.environ.setdefault(name, value)
    with needs("ray", "--on ray"):
        import ray
    settings: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if is_own:
        settings |= {"include_dashboard": False, "object_store_memory": STORE}
        settings |= {"num_cpus": int(where) if where else None}
    try:
        with warnings.catch_warnings(action="ignore"):
            ray.init("local" if is_own else where, **settings)
    except (OSError, RuntimeError, ValueError) as error:
        ray.shutdown()
        raise UserError(
            f"--on {'ray' if is_own else where}: {str(error).rstrip('.')}.",
            "Is it running? It needs the versions of Python and Ray that are here.",
        ) from None
    try:
        yield Cluster(ray, out, tell)
    except ConnectionError as error:
        raise UserError(f"Ray is gone: {error}.", "The same command goes on.") from None
    finally:
        ray.shutdown()


# Of a Ray of its own, which would listen on the network, for anyone who asks, and put its workers
# behind everything else that runs.
OWN = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # the name misleads: loopback only, on Linux as well
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": secrets.token_hex(32),
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_worker_niceness": "0",
}


class Cluster:
    """Ray starts a job where a CPU is free, or a GPU if it can use one and the cluster has any.
    Each gets a fresh process."""

    def __init__(self, ray: Any, out: Path, tell: Tell = SILENT) -> None:
        self.ray, self.tell = ray, tell
        self.session = workers.open_session(out)
        # Tries are counted by `running`, not by Ray.
        self.task = ray.remote(max_retries=0, max_calls=1)(_work)
        self.running: dict[Any, Job] = {}
        self.interrupted: set[Any] = set()

    @property
    def slots(self) -> int:
        """One more than the cluster has room for, so that one which can grow sees the need."""
        resources = self.ray.cluster_resources()
        return int(resources.get("GPU") or resources.get("CPU", 0)) + 1

    def start(self, job: Job) -> None:
        gpus = self.ray.cluster_resources().get("GPU", 0) if job.device == "auto" else 0
        on_gpu = gpus or job.device not in ("auto", "cpu")
        task = self.task.options(num_cpus=1, num_gpus=1 if on_gpu else 0)
        reference = task.remote(os.getcwd(), str(job.out), job.name, self.session)
        self.running[reference] = job

    def ended(self, seconds: float) -> list[Ended]:
        through, _ = self.ray.wait(list(self.running), timeout=seconds)
        return [self._collect(reference) for reference in through]

    def _collect(self, reference: Any) -> Ended:
        job, wrong = self.running.pop(reference), self.ray.exceptions
        self.interrupted.discard(reference)
        try:
            result = self.ray.get(reference)
        except wrong.RayTaskError as error:  # raised by `_work`, here or there
            why = dict.fromkeys(job.parts, str(UserError(str(error.cause))))
            return Ended(job.name, {"failed": why})
        except wrong.RayError as error:
            return Ended(job.name, None, type(error).__name__)
        return Ended(job.name, result, "it was stopped")

    def interrupt(self, name: str) -> None:
        for reference, job in self.running.items():
            if job.name == name:
                self.ray.cancel(reference, force=reference in self.interrupted)
                self.interrupted.add(reference)

    def stop(self) -> None:
        if not self.running:
            return
        self.tell.note(STOPPING)
        for reference in self.running:
            self.ray.cancel(reference)
        self.ray.wait(list(self.running), num_returns=len(self.running), timeout=PATIENCE_S)


def _work(folder: str, out: str, name: str, session: str) -> Result | None:
    """Does a job in a process of Ray's; its result, or None where it was stopped."""
    try:
        os.chdir(folder)
    except OSError as error:
        raise RunError(
            f"{folder}: {error.strerror} on this worker.", "Share that folder."
        ) from None
    job = workers.taken(Path(out), name, session)
    job.log.parent.mkdir(exist_ok=True)
    with (
        job.log.open("a", encoding="utf-8", buffering=1) as log,
        contextlib.redirect_stdout(log),
        contextlib.redirect_stderr(log),
    ):
        try:
            return jobs.do(job, Lines(log))
        except Interrupted:
            return None
