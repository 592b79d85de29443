"""How a worker process comes into being: forked from a warm one, or as a fresh interpreter.

Torch-free.

A fresh interpreter imports the libraries for seconds before it works. On Linux a server has them
(multiprocessing's forkserver: one thread, nothing computed, no GPU touched) and is forked for each
worker. Elsewhere forks are unsafe or unknown. Either way a worker has a session of its own, so that
Ctrl-C reaches the parent alone, its output goes into its log, and its standard input ends when the
parent wants it to stop or is dead.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from types import ModuleType
from typing import Protocol

from kaiffin.experiments.work import workers

LIBRARIES = "kaiffin.experiments.work.libraries"
CAN_FORK = sys.platform == "linux"
_BIRTH = threading.Lock()
LOST = 255  # how multiprocessing says that the server died before the worker
if CAN_FORK:
    multiprocessing.get_context("forkserver").set_forkserver_preload([LIBRARIES])


class Worker(Protocol):
    """A worker process, as its parent sees it."""

    @property
    def pid(self) -> int: ...

    def poll(self) -> int | None:
        """Its exit code, minus the signal that ended it; None while it runs."""
        ...

    def stop(self) -> None:
        """Lets it save and end."""
        ...

    def wait(self) -> None: ...

    def kill(self) -> None: ...


def worker(arguments: Sequence[str], log: Path, environment: Mapping[str, str]) -> Worker:
    """A process that does `workers.main(arguments)` and sees these variables."""
    return (Forked if CAN_FORK else Fresh)(arguments, log, environment)


class Fresh:
    """An interpreter of its own."""

    def __init__(self, arguments: Sequence[str], log: Path, environment: Mapping[str, str]) -> None:
        command = [sys.executable, "-u", "-m", workers.__name__, *arguments]
        with log.open("ab") as file:
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=file, stderr=file, env=environment,
                start_new_session=True,
            )  # fmt: skip
        self.pid, self.poll, self.kill = self.process.pid, self.process.poll, self.process.kill

    def stop(self) -> None:
        if self.process.stdin:
            self.process.stdin.close()

    def wait(self) -> None:
        self.process.wait()


class Forked:
    """A fork of the server, which is started where there is none, or none any more."""

    def __init__(self, arguments: Sequence[str], log: Path, environment: Mapping[str, str]) -> None:
        context = multiprocessing.get_context("forkserver")
        theirs, self.input = context.Pipe(duplex=False)
        given = (list(arguments), log.absolute(), dict(environment), Path.cwd(), theirs)
        self.process = context.Process(target=_forked, args=given)
        with _without_main():
            self.process.start()
        theirs.close()

    @property
    def pid(self) -> int:
        return self.process.pid or 0

    def poll(self) -> int | None:
        code = self.process.exitcode
        if code == LOST:  # nobody would hear how it ends, and another is to do its job
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        return code

    def stop(self) -> None:
        self.input.close()

    def wait(self) -> None:
        self.process.join()

    def kill(self) -> None:
        self.process.kill()


@contextlib.contextmanager
def _without_main() -> Iterator[None]:
    """So that multiprocessing does not run the caller's script once more in the worker."""
    with _BIRTH:  # of several threads, one at a time
        main = sys.modules["__main__"]
        sys.modules["__main__"] = ModuleType("__main__")
        try:
            yield
        finally:
            sys.modules["__main__"] = main


def _forked(
    arguments: Sequence[str], log: Path, environment: Mapping[str, str], folder: Path,
    ends: Connection,
) -> None:  # fmt: skip
    """What a fresh interpreter does by itself; then as there."""
    os.setsid()
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    os.dup2(ends.fileno(), 0)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for number in (1, 2):
        os.dup2(output, number)
    sys.stdout, sys.stderr = (
        os.fdopen(number, "w", buffering=1, closefd=False) for number in (1, 2)
    )
    threads = environment.get("OMP_NUM_THREADS", "")
    if "torch" in sys.modules and threads.isdecimal():  # read when torch was imported
        sys.modules["torch"].set_num_threads(int(threads))
    sys.exit(workers.main(arguments))
