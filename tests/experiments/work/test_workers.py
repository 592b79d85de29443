"""A worker process: it does its job into its log, or says that it sees another folder."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import REPO
from counting import job

from kaiffin.experiments.work import workers
from kaiffin.foundation.errors import RunError


def start(out: Path, session: str) -> subprocess.Popen:
    paths = os.pathsep.join([str(REPO / "tests"), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, "-m", workers.__name__, str(out), "one", session],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": paths},
    )  # fmt: skip


def test_it_does_its_job_and_says_who_did(tmp_path: Path) -> None:
    made = job(tmp_path, to=4)
    worker = start(tmp_path, workers.open_session(tmp_path))
    assert worker.wait(60) == 0
    assert worker.stdout
    assert worker.stdout.read() == "counts to 4\n"
    assert made.left("result") == {"failed": {}, "sum": 10}
    assert made.left("worker") == {"host": socket.gethostname(), "process": worker.pid}


@pytest.mark.parametrize("how", ["its parent dies", "SIGTERM"])
def test_it_stops_when_it_is_to(how: str, tmp_path: Path) -> None:
    made = job(tmp_path, waits=True)
    worker = start(tmp_path, workers.open_session(tmp_path))
    while not made.left("count"):
        time.sleep(0.01)
    if how == "SIGTERM":
        worker.send_signal(signal.SIGTERM)
    elif worker.stdin:
        worker.stdin.close()
    assert worker.wait(60) == 128 + signal.SIGTERM
    assert made.left("result") == {}


def test_what_a_library_makes_of_a_stop_is_no_failure(tmp_path: Path) -> None:
    """Some turn every exception into one of their own, pydantic's serializer for one."""
    made = job(tmp_path, waits=True, wrong="swallowed")
    worker = start(tmp_path, workers.open_session(tmp_path))
    while not made.left("count"):
        time.sleep(0.01)
    assert worker.stdin
    worker.stdin.close()
    assert worker.wait(60) == 128 + signal.SIGTERM
    assert made.left("result") == {}


def test_a_worker_that_does_not_see_the_folder_says_so(tmp_path: Path) -> None:
    job(tmp_path)
    session = workers.open_session(tmp_path)
    assert workers.taken(tmp_path, "one", session).parts == ("left", "right")
    with pytest.raises(RunError, match="does not see the sweep's folder"):
        workers.taken(tmp_path / "elsewhere", "one", session)
    workers.open_session(tmp_path)  # another sweep's folder of the same name
    with pytest.raises(RunError, match="share them"):
        workers.taken(tmp_path, "one", session)
