"""Worker processes: each sees what it is to, and is replaced when it dies; Ctrl-C saves."""

import os
import signal
import time
from pathlib import Path

import psutil
import pytest
from conftest import REPO
from counting import job
from hearing import Heard
from swept import assert_same, at_first_checkpoint, results

from kaiffin.cli.main import main
from kaiffin.experiments.work.processes import Processes

FINDS_STORIES = {
    "PYTHONPATH": os.pathsep.join([str(REPO / "tests"), os.environ.get("PYTHONPATH", "")])
}


def test_processes_stopped_and_gone_on_with(
    sweep: list[str], local: dict[str, bytes], capsys: pytest.CaptureFixture
) -> None:
    """Ctrl-C lets both save; the same command goes on to the same files."""
    command, run, seen = [*sweep, "--on", "processes:2"], Path("out/runs/plain-seed0"), []

    def stop(process: int) -> None:
        seen.append(process)
        os.kill(os.getpid(), signal.SIGINT)

    at_first_checkpoint(run, stop)
    assert main(command) == 130
    assert "The same command goes on." in capsys.readouterr().err
    assert not psutil.pid_exists(seen[0])
    assert not (run / "kai.safetensors").exists()
    (step,) = (run / "checkpoints").iterdir()
    assert main(command) == 0
    log = Path("out/logs/plain-seed0.log").read_text()
    assert f"going on after step {int(step.name[5:])}" in log
    assert_same(results(Path("out")), local)


def test_each_worker_sees_its_own_gpu(tmp_path: Path) -> None:
    environments = [{"CUDA_VISIBLE_DEVICES": gpu, **FINDS_STORIES} for gpu in ("3", "5")]
    place = Processes(environments, tmp_path)
    made = [job(tmp_path, name, waits=True) for name in ("one", "two")]
    for one in made:
        place.start(one)
    while not all(one.left("count") for one in made):
        time.sleep(0.01)
    place.stop()
    assert [one.left("count")["CUDA_VISIBLE_DEVICES"] for one in made] == ["3", "5"]


def test_what_a_worker_says_is_in_its_log(tmp_path: Path) -> None:
    place = Processes([FINDS_STORIES], tmp_path)
    made = job(tmp_path, to=4, wrong="part")
    place.start(made)
    (end,) = place.ended(60)
    assert (end.name, end.result) == ("one", {"failed": {"right": "it was the last"}, "sum": 10})
    assert made.log.read_text() == "counts to 4\n"
    assert place.free == [FINDS_STORIES]


def test_a_worker_that_is_killed_has_no_result(tmp_path: Path) -> None:
    place = Processes([FINDS_STORIES], tmp_path)
    place.start(job(tmp_path, waits=True))
    ((_, process, _),) = place.running.values()
    process.kill()
    (end,) = place.ended(60)
    assert (end.result, end.how) == (None, "SIGKILL")


def test_a_stop_waits_for_all(tmp_path: Path) -> None:
    told = Heard()
    place = Processes([FINDS_STORIES] * 2, tmp_path, told)
    place.stop()
    assert told.notes == [], "nothing runs"
    made = [job(tmp_path, name, waits=True) for name in ("one", "two")]
    for one in made:
        place.start(one)
    while not all(one.left("count") for one in made):
        time.sleep(0.01)
    place.stop()
    assert told.notes[0].startswith("stopping: ")
    ended = {end.name: end.how for end in place.ended(0)}
    assert ended == {"one": "exit code 143", "two": "exit code 143"}


def test_one_is_interrupted_and_the_others_go_on(tmp_path: Path) -> None:
    place = Processes([FINDS_STORIES] * 2, tmp_path)
    place.interrupt("nobody")
    made = [job(tmp_path, name, waits=True) for name in ("one", "two")]
    for one in made:
        place.start(one)
    while not all(one.left("count") for one in made):
        time.sleep(0.01)
    place.interrupt("one")
    (end,) = place.ended(60)
    assert (end.name, end.result, end.how) == ("one", None, "exit code 143")
    (_, process, _) = place.running["two"]
    os.kill(process.pid, signal.SIGSTOP)  # it hears nothing
    place.interrupt("two")
    place.interrupt("two")
    (end,) = place.ended(60)
    assert (end.name, end.how) == ("two", "SIGKILL")
