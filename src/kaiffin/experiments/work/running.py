"""Jobs done in a place, with a line for all that happens. Torch-free.

A worker that dies is replaced, and its job goes on from its last checkpoint; after a few times it
counts as failed. The others go on.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections import Counter, deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path

from kaiffin.experiments.work.jobs import Ended, Job
from kaiffin.experiments.work.places import Place
from kaiffin.foundation.errors import Interrupted
from kaiffin.foundation.tell import SILENT, Tell

TRIES = 3  # of one job in one call, where its worker dies
GLANCE_S, STATUS_S = 0.5, 60.0  # between looks at the workers, and between lines about them


def run(todo: Sequence[Job], place: Place, log: Path, tell: Tell = SILENT) -> dict[str, str]:
    """Does the jobs, telling what happens; {part of a job: why it failed}.

    log: a file that keeps what is told, with the time. Raises Interrupted where it is stopped; what
    ran is saved then, and the same call goes on.
    """
    waiting, running, failed = deque(todo), dict[str, Job](), dict[str, str]()
    tries: Counter[str] = Counter()
    chronicle = Chronicle(todo, log, tell)
    with _saved_when_stopped(place):
        while waiting or running:
            while waiting and len(running) < place.slots:
                job = waiting.popleft()
                tries[job.name] += 1
                running[job.name] = job
                for what in ("worker", "result"):
                    job.file(what).unlink(missing_ok=True)
                place.start(job)
            for end in place.ended(GLANCE_S):
                job, count = running.pop(end.name), tries[end.name]
                if end.result is None and count < TRIES:
                    waiting.appendleft(job)
                    chronicle.lost(job, end.how, count + 1)
                    continue
                mine = _failures(job, end, count)
                chronicle.ended(job, mine, count)
                failed |= mine
            chronicle.glance(running.values())
    return failed


def _failures(job: Job, end: Ended, count: int) -> dict[str, str]:
    """Why parts of a job failed: all of them where its worker died `count` times."""
    if end.result is not None:
        return dict(end.result.get("failed", {}))
    reason = f"its worker died {count} times ({end.how}); see {job.log}."
    return dict.fromkeys(job.parts, reason)


class Terminated(KeyboardInterrupt):
    """SIGTERM; like Ctrl-C, no job may take it for its own failure."""


@contextlib.contextmanager
def _saved_when_stopped(place: Place) -> Iterator[None]:
    """Stops the place on Ctrl-C, SIGTERM and errors, and says how to go on."""

    def terminated(_number: int, _frame: object) -> None:
        raise Terminated

    main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, terminated) if main else None
    try:
        yield
    except BaseException as error:
        place.stop()
        if not isinstance(error, KeyboardInterrupt | Interrupted):
            raise
        number = signal.SIGTERM if isinstance(error, Terminated) else signal.SIGINT
        if isinstance(error, Interrupted):  # by what ran in this process
            number = error.exit_code - 128
        raise Interrupted(
            "stopped, and what was done is saved.",
            "The same command goes on.",
            number,
        ) from None
    finally:
        if main:
            signal.signal(signal.SIGTERM, before)


class Chronicle:
    """A line for each thing that happens, told and written into a log; the time left."""

    def __init__(self, todo: Sequence[Job], log: Path, tell: Tell) -> None:
        self.todo, self.log, self.tell = todo, log, tell
        self.seen: set[str] = set()
        self.through: set[str] = set()
        self.begun = self.spoken = time.monotonic()
        self.patience = 10.0
        self.before = sum(job.progress()[0] for job in todo)

    def glance(self, running: Collection[Job]) -> None:
        """Says which workers have begun since, and at times how far they are."""
        for job in running:
            note = job.left("worker")
            if note and f"{job.name} {note}" not in self.seen:
                self.seen.add(f"{job.name} {note}")
                self.say(f"{job.name}: begun by process {note['process']} on {note['host']}")
        if running and time.monotonic() - self.spoken > self.patience:
            self.patience = min(STATUS_S, 2 * self.patience)
            self.say(
                f"{len(self.through)} of {len(self.todo)} done; {_steps(running)}{self.left()}"
            )

    def lost(self, job: Job, how: str, number: int) -> None:
        done, steps = job.progress()
        self.say(
            f"{job.name}: its worker died at step {done} of {steps} ({how}); going on from the last"
            f" checkpoint, try {number} of {TRIES}; see {job.log}"
        )

    def ended(self, job: Job, failed: Mapping[str, str], tries: int) -> None:
        self.through.add(job.name)
        for part, reason in failed.items():
            self.say(f"failed: {part}: {reason}")
        if len(failed) < len(job.parts):
            more = f" in {tries} tries" if tries > 1 else ""
            self.say(
                f"{job.name}: done{more}, {len(self.through)} of {len(self.todo)}{self.left()}"
            )

    def say(self, line: str) -> None:
        self.tell.note(line)
        self.spoken = time.monotonic()
        self.log.parent.mkdir(exist_ok=True)
        with self.log.open("a", encoding="utf-8") as file:
            file.write(f"{datetime.now().astimezone().isoformat(timespec='seconds')}  {line}\n")

    def left(self) -> str:
        """The time left at the pace of the steps so far, all workers together; "" at the end."""
        progress = {job.name: job.progress() for job in self.todo}
        known = [steps for _, steps in progress.values() if steps]
        typical = sum(known) // max(1, len(known))
        remaining = sum(
            max(0, (steps or typical) - done)
            for name, (done, steps) in progress.items()
            if name not in self.through
        )
        gained = sum(done for done, _ in progress.values()) - self.before
        if not remaining or gained <= 0:
            return ""
        seconds = remaining / gained * (time.monotonic() - self.begun)
        return f"; about {timedelta(seconds=round(seconds))} left"


def _steps(running: Collection[Job]) -> str:
    """How far those are that have begun, in words."""
    begun = [(job.name, *job.progress()) for job in running if job.file("worker").is_file()]
    shown = [f"{name} at step {done}/{steps}" for name, done, steps in begun if done]
    starting = len(running) - len(shown)
    return ", ".join(shown + ([f"{starting} starting"] if starting else []))
