"""Where jobs run: one door for this process, processes side by side, GPUs and Ray. Torch-free.

    local                this process, one after another
    processes:2          so many worker processes
    gpus  gpus:0,2       one worker process for each GPU, or for these
    ray  ray:2           a Ray of its own on this machine, with so many CPUs
    ray://HOST:10001     a Ray cluster

All make the same files.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from kaiffin.experiments.work import jobs
from kaiffin.experiments.work.jobs import Ended, Job
from kaiffin.experiments.work.processes import Processes
from kaiffin.foundation.errors import ConfigError
from kaiffin.foundation.tell import SILENT, Tell


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

    def interrupt(self, name: str) -> None:
        """Lets the job of that name save and stop, if it runs; a second time, ends its worker."""
        ...

    def stop(self) -> None:
        """Lets every worker save and stop, and waits for them; interrupted, it ends them."""
        ...


@contextlib.contextmanager
def place(on: str, out: Path, tell: Tell = SILENT) -> Iterator[Place]:
    """The place that `--on` names for the jobs in `out`. Raises ConfigError for what is none."""
    kind, _, rest = on.partition(":")
    if on == "local":
        yield Local(tell)
    elif kind == "processes" and re.fullmatch(r"[1-9]\d*", rest):
        yield Processes([{}] * int(rest), out, tell)
    elif kind == "gpus" and re.fullmatch(r"|\d+(,\d+)*", rest):
        chosen = [int(number) for number in rest.split(",") if number]
        from kaiffin.foundation.runtime import visible

        variable, count = visible()
        names = gpus(chosen, count, os.environ.get(variable, ""))
        yield Processes([{variable: name} for name in names], out, tell)
    elif kind == "ray" and re.fullmatch(r"|[1-9]\d*|//\S+", rest):
        from kaiffin.experiments.work import cluster

        with cluster.connected(on if rest.startswith("//") else rest, out, tell) as ray:
            yield ray
    else:
        raise ConfigError(
            f"--on {on!r} is no place to run.",
            "Use local, processes:2, gpus, gpus:0,1, ray, ray:2 or ray://HOST:10001.",
        )


class Local:
    """This process: one job after another, each done before `start` returns."""

    slots = 1

    def __init__(self, tell: Tell = SILENT) -> None:
        self.tell = tell
        self.through: list[Ended] = []

    def start(self, job: Job) -> None:
        self.tell.note(f"{job.name}: {', '.join(job.parts)}")
        self.through.append(Ended(job.name, jobs.do(job, self.tell)))

    def ended(self, seconds: float) -> list[Ended]:
        through, self.through = self.through, []
        return through

    def interrupt(self, name: str) -> None:
        pass  # nothing runs here while somebody could call this

    def stop(self) -> None:
        pass  # what ran here was interrupted itself


def gpus(chosen: Sequence[int], count: int, visible: str) -> list[str]:
    """The chosen GPUs, or all, as the variable of `runtime.visible` names them.

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
