"""Workers of both births: what they see, how they are stopped, and how they die."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing import forkserver
from pathlib import Path

import psutil
import pytest
from conftest import REPO
from counting import job

from kaiffin.experiments.work import births, workers
from kaiffin.experiments.work.jobs import Job

FORKS = pytest.mark.skipif(not births.CAN_FORK, reason="workers are not forked here")
Start = Callable[..., births.Worker]


@pytest.fixture(params=["Fresh", pytest.param("Forked", marks=FORKS)])
def start(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Start]:
    """Starts a worker for a job; none is left afterwards."""
    if request.param == "Forked":  # by a server of its own, without libraries
        server = forkserver.ForkServer()
        monkeypatch.setattr(forkserver, "connect_to_new_process", server.connect_to_new_process)
        monkeypatch.setattr(forkserver, "ensure_running", server.ensure_running)
    session, started = workers.open_session(tmp_path), []
    paths = os.pathsep.join([str(REPO / "tests"), os.environ.get("PYTHONPATH", "")])

    def begin(made: Job, **more: str) -> births.Worker:
        made.log.parent.mkdir(exist_ok=True)
        seen = {**os.environ, "PYTHONPATH": paths, **more}
        born = getattr(births, request.param)
        started.append(born([str(made.out), made.name, session], made.log, seen))
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.wait()
    if request.param == "Forked":
        server._stop()


def begun(made: Job) -> dict:
    until = time.monotonic() + 60
    while not made.left("count"):
        assert time.monotonic() < until, made.log.read_text()
        time.sleep(0.01)
    return made.left("count")


def test_it_sees_its_variables_and_folder_and_speaks_into_its_log(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = job(tmp_path, waits=True)
    made.log.parent.mkdir()
    made.log.write_text("before\n")
    monkeypatch.chdir(tmp_path / "jobs")
    process = start(made, OMP_NUM_THREADS="3")
    seen = begun(made)
    assert (seen["OMP_NUM_THREADS"], seen["folder"]) == ("3", str(tmp_path / "jobs"))
    assert seen["session"] == process.pid == made.left("worker")["process"], "Ctrl-C is ours alone"
    assert made.log.read_text() == "before\ncounts to 3\n"


def test_it_saves_and_ends_when_it_is_to(start: Start, tmp_path: Path) -> None:
    made = job(tmp_path, waits=True)
    process = start(made)
    begun(made)
    assert process.poll() is None
    process.stop()
    process.wait()
    assert process.poll() == 128 + signal.SIGTERM
    assert made.left("result") == {}


def test_how_it_ended_is_known(start: Start, tmp_path: Path) -> None:
    ends = {"well": {}, "dead": {"wrong": "dead"}, "killed": {"waits": True}}
    made = {name: job(tmp_path, name, **more) for name, more in ends.items()}
    started = {name: start(one) for name, one in made.items()}
    begun(made["killed"])
    os.kill(started["killed"].pid, signal.SIGKILL)
    for process in started.values():
        process.wait()
    assert {name: p.poll() for name, p in started.items()} == {
        "well": 0, "dead": 1, "killed": -signal.SIGKILL
    }  # fmt: skip
    assert made["well"].left("result") == {"failed": {}, "sum": 6}


PARENT = """
import os, sys, time
import multiprocessing
from pathlib import Path
from kaiffin.experiments.work import births
if births.CAN_FORK:
    multiprocessing.get_context("forkserver").set_forkserver_preload([])  # starts at once
kept = births.worker(sys.argv[2:], Path(sys.argv[1]), dict(os.environ))
time.sleep(600)
"""


def test_it_ends_where_its_parent_was_killed(tmp_path: Path) -> None:
    made = job(tmp_path, waits=True)
    made.log.parent.mkdir()
    words = [made.log, made.out, made.name, workers.open_session(tmp_path)]
    paths = os.pathsep.join([str(REPO / "tests"), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": paths}
    parent = subprocess.Popen([sys.executable, "-c", PARENT, *map(str, words)], env=environment)
    try:
        begun(made)
        process = psutil.Process(made.left("worker")["process"])
    finally:
        parent.kill()
        parent.wait()
    process.wait(60)
    assert made.left("result") == {}


@pytest.mark.parametrize("start", [pytest.param("Forked", marks=FORKS)], indirect=True)
def test_where_the_server_dies_its_workers_do_and_the_next_is_born(
    start: Start, tmp_path: Path
) -> None:
    """So that no two do the same job."""
    made = [job(tmp_path, "one", waits=True), job(tmp_path, "two")]
    process = start(made[0])
    begun(made[0])
    worker = psutil.Process(process.pid)
    worker.parent().kill()
    while process.poll() is None:
        time.sleep(0.01)
    assert process.poll() == births.LOST
    assert psutil.wait_procs([worker], 60)[1] == []
    after = start(made[1])
    after.wait()
    assert after.poll() == 0
    assert made[1].left("result") == {"failed": {}, "sum": 6}


@FORKS
def test_the_script_that_wants_a_worker_is_not_run_again_by_it(tmp_path: Path) -> None:
    """A script of a user's need not hide what it does from its own workers."""
    script = tmp_path / "script.py"
    script.write_text(
        "from pathlib import Path\n"
        "from multiprocessing import get_context\n"
        "from kaiffin.experiments.work import births\n"
        "get_context('forkserver').set_forkserver_preload([])\n"  # it need not be warm
        "print('once')\n"
        "worker = births.Forked(['nowhere', 'x', 'y'], Path('log'), {})\n"
        "worker.wait()\n"
    )
    done = subprocess.run(
        [sys.executable, script], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout == "once\n"
    assert "bootstrapping" not in (tmp_path / "log").read_text() + done.stderr
    assert "sweep's folder" in (tmp_path / "log").read_text(), "it came to its work"
