"""`kaiffin`, or a script, in a process of its own that is born warm.

A fresh interpreter spends seconds on importing torch, transformers and diffusers. Here a server
that has imported them (multiprocessing's forkserver: one thread, nothing computed) is forked for
each call; what runs in the fork is the same `main`, with its own working folder, environment,
session and signal handlers. Tests of the interpreter's own start (`--help` without torch, other
numbers of threads) still start one.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import runpy
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

WARM = (
    "torch", "peft", "diffusers.models.autoencoders.autoencoder_kl",
    "diffusers.models.unets.unet_2d_condition", "transformers.models.clip.modeling_clip",
    "transformers.models.clip.tokenization_clip", "kaiffin.stories.train",
    "kaiffin.stories.generate", "kaiffin.stories.choose", "kaiffin.cli.main",
    "torch.utils.tensorboard", "diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion",
)  # fmt: skip
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(list(WARM))


@dataclass(frozen=True)
class Done:
    """As `subprocess.run` has it."""

    returncode: int
    stdout: str
    stderr: str


class Process:
    """A call that runs; its output is in files. The first word may be a script (`.py`)."""

    def __init__(
        self, arguments: Sequence[object], *, cwd: Path | None = None,
        env: Mapping[str, str] | None = None, before: Callable[[], None] | None = None,
    ) -> None:  # fmt: skip
        """env: what is set beside this process's own variables; before: called in the process
        first, a function of a module that the process can import."""
        self._folder = tempfile.TemporaryDirectory(prefix="fresh-")
        self._files = [Path(self._folder.name) / name for name in ("out", "err")]
        setting = (list(map(str, arguments)), self._files, str(cwd or Path.cwd()), dict(env or {}))
        self._process = _CONTEXT.Process(target=_run, args=(*setting, before))
        self._process.start()

    @property
    def pid(self) -> int:
        return self._process.pid or 0

    @property
    def said(self) -> str:
        """What it has printed so far."""
        return self._text(0)

    def poll(self) -> int | None:
        """The exit code, as `subprocess.Popen` has it; None while it runs."""
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill_group(self) -> None:
        """SIGKILL to it and to all that it started."""
        os.killpg(self.pid, signal.SIGKILL)

    def wait(self, timeout: float = 120) -> Done:
        """Its end; TimeoutError, and no process left, where that does not come."""
        self._process.join(timeout)
        code = self._process.exitcode
        if code is None:
            self.kill_group()
            raise TimeoutError(f"still running after {timeout} s: {self._text(1)[-2000:]}")
        return Done(code, self._text(0), self._text(1))

    def _text(self, number: int) -> str:
        path = self._files[number]
        return path.read_text(encoding="utf-8") if path.is_file() else ""


def run(arguments: Sequence[object], *, timeout: float = 120, **more: object) -> Done:
    """A call to its end."""
    return Process(arguments, **more).wait(timeout)  # ty: ignore[invalid-argument-type]


def _run(
    arguments: list[str], files: Sequence[Path], cwd: str, env: Mapping[str, str],
    before: Callable[[], None] | None,
) -> None:  # fmt: skip
    os.setsid()
    for number, path in enumerate(files, 1):
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(handle, number)
    sys.stdout, sys.stderr = (os.fdopen(os.dup(n), "w", buffering=1) for n in (1, 2))
    os.environ.update(env)
    os.chdir(cwd)
    if before:
        before()
    if arguments[0].endswith(".py"):
        sys.argv = arguments
        sys.path.insert(0, str(Path(arguments[0]).parent))
        runpy.run_path(arguments[0], run_name="__main__")
        return
    from kaiffin.cli import main

    sys.argv = ["kaiffin", *arguments]
    sys.exit(main(arguments))


def slow_saves() -> None:
    """Every save is slowed down, so that random kills often land in the middle of one."""
    import kaiffin.foundation.folder as folder

    whole = folder._write

    def slow(path: Path, data: bytes, sync: bool) -> None:
        whole(path, data[: len(data) // 2], sync)
        time.sleep(0.03)
        whole(path, data, sync)

    folder._write = slow


def four_threads() -> None:
    """As with OMP_NUM_THREADS=4."""
    import torch

    torch.set_num_threads(4)


def frees_at_once() -> None:
    """As with MALLOC_MMAP_THRESHOLD_=65536: glibc gives freed memory back, also what it has."""
    libc = ctypes.CDLL(None)
    m_mmap_threshold = -3  # malloc.h
    libc.mallopt(m_mmap_threshold, 65536)
    libc.malloc_trim(0)


def without_root() -> None:
    """Root may write and read everywhere; this gives those two rights up (capabilities(7))."""
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3, this process
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable, twice
    assert libc.capget(header, sets) == 0
    sets[0] &= ~(1 << 1 | 1 << 2)  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    assert libc.capset(header, sets) == 0
