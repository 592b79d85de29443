"""Sweeps on a real Ray of this machine: a worker is killed, and the bytes are the same."""

import os
import signal
import sys
from pathlib import Path

import pytest
from swept import assert_same, at_first_checkpoint, results

from kaiffin.cli.main import main


@pytest.mark.slow  # two starts of Ray
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
    assert "--on ray needs the extra ray. Install it" in capsys.readouterr().err
