"""Sweeps on a real Ray of this machine: a worker is killed, and the bytes are the same."""

import importlib.util
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from swept import assert_same, at_first_checkpoint, results

from kaiffin.cli.main import main
from kaiffin.experiments.work.cluster import OWN


@pytest.fixture
def ray_folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A folder for Ray's files, which all of its processes know and none outlives."""
    if not importlib.util.find_spec("ray"):  # importing it would fix its settings
        pytest.skip("Ray, an extra, is not installed")
    folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # sockets want a short name
    for name, value in {**OWN, "RAY_TMPDIR": folder}.items():
        monkeypatch.setenv(name, value)
    yield folder
    until = time.monotonic() + 30
    while (left := processes_of(folder)) and time.monotonic() < until:
        time.sleep(0.1)
    shutil.rmtree(folder, ignore_errors=True)
    assert left == []


def processes_of(folder: str) -> list[str]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get("RAY_TMPDIR") == folder:
                found.append(process.name())
        except psutil.Error:
            pass  # gone meanwhile, or another user's
    return found


def test_ray_loses_nothing_when_a_worker_is_killed(
    sweep: list[str], local: dict[str, bytes], ray_folder: str, capsys: pytest.CaptureFixture
) -> None:
    run = Path("out/runs/plain-seed0")
    killer = at_first_checkpoint(run, lambda process: os.kill(process, signal.SIGKILL))
    assert main([*sweep, "--on", "ray:2"]) == 0
    killer.join()
    said = " ".join(capsys.readouterr().out.split())
    assert "plain-seed0: its worker died at step" in said
    assert "plain-seed0: done in 2 tries" in said
    assert "going on after step" in Path("out/logs/plain-seed0.log").read_text()
    assert_same(results(Path("out")), local)


def test_without_ray(
    sweep: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)  # as Python marks what cannot be imported
    assert main([*sweep, "--on", "ray"]) == 2
    assert "Ray, which is not installed. Install it" in capsys.readouterr().err
