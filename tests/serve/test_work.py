"""Jobs in real workers: kills, interruptions and pauses, and the bytes of undisturbed trainings."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest
from asked import open_studio, pictures, training
from hearing import Heard

from kaiffin.experiments.work.jobs import Job as Work
from kaiffin.experiments.work.processes import Processes
from kaiffin.foundation.run import Run
from kaiffin.serve.jobs import Job
from kaiffin.serve.kinds import KINDS
from kaiffin.serve.studio import Studio
from kaiffin.serve.supervisor import Supervisor
from kaiffin.serve.work import House, Task, picture_id, work

STEPS = 80


def until(condition: Callable[[], Any], seconds: float = 120) -> None:
    """Waits for it."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.01)


def asked(base: Path) -> dict[str, Any]:
    return training(base, steps=STEPS)


def result(run: Path) -> dict[str, bytes]:
    """What a training leaves that others use."""
    found = Run.open(run)
    names = [found.adapter_path, found.proof_path, *(path for _, path in found.candidates())]
    return {str(path.relative_to(run)): path.read_bytes() for path in names}


@pytest.fixture(scope="module")
def twin(sd_path: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The same training, undisturbed."""
    studio = open_studio(tmp_path_factory.mktemp("twin") / "studio")
    job = studio.jobs.submit("ann", "train", asked(sd_path))
    KINDS["train"](Task(job.id, "train", job.request, studio, House()), Heard())
    studio.close()
    return result(studio.run(job.id))


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[Studio]:
    made = open_studio(tmp_path / "studio")
    yield made
    made.close()


@pytest.fixture
def supervisor(studio: Studio) -> Iterator[Supervisor]:
    made = Supervisor(studio)
    made.start()
    yield made
    made.stop()


def trains(studio: Studio, job: Job, steps: int = 3) -> bool:
    path = Run(studio.run(job.id), None).metrics_path  # ty: ignore[invalid-argument-type]
    return path.is_file() and len(path.read_bytes().splitlines()) >= steps


def test_a_training_gives_way_to_pictures_and_ends_in_the_same_bytes(
    studio: Studio, supervisor: Supervisor, sd_path: Path, twin: dict[str, bytes]
) -> None:
    train = studio.jobs.submit("ann", "train", asked(sd_path))
    until(lambda: trains(studio, train))
    job = studio.jobs.submit("bob", "generate", pictures(sd_path, count=2))
    until(lambda: studio.jobs.find(job.id).is_over)
    assert studio.jobs.find(job.id).state == "done"
    assert studio.jobs.find(train.id).state == "queued", "the device is the painter's"
    until(lambda: studio.jobs.find(train.id).is_over)
    found = studio.jobs.find(train.id)
    assert (found.state, found.attempts) == ("done", 0)
    assert "going on after step" in (studio.work / "logs" / f"{train.id}.log").read_text()
    assert result(studio.run(train.id)) == twin
    assert studio.image(picture_id(job.id, 1)).is_file()


@pytest.mark.slow  # three servers
def test_a_pause_a_kill_and_another_server_change_no_byte(
    studio: Studio, sd_path: Path, twin: dict[str, bytes]
) -> None:
    first, second = Supervisor(studio), Supervisor(studio)
    first.start()
    train = studio.jobs.submit("ann", "train", asked(sd_path))
    until(lambda: trains(studio, train))
    studio.jobs.pause("ann", train.id)
    until(lambda: studio.jobs.find(train.id).state == "paused")
    run = Run.open(studio.run(train.id))
    assert not run.finished
    studio.jobs.resume("ann", train.id)
    until(lambda: trains(studio, train, saved(run) + 3))
    os.kill(int((run.path / "lock.pid").read_text()), signal.SIGKILL)
    until(lambda: studio.jobs.find(train.id).attempts == 1)
    until(lambda: trains(studio, train, saved(run) + 6))
    before = saved(run)
    first.stop()
    assert studio.jobs.find(train.id).state == "queued"
    assert saved(run) > before, "it was let save"
    second.start()
    until(lambda: studio.jobs.find(train.id).is_over)
    second.stop()
    assert studio.jobs.find(train.id).state == "done"
    assert result(run.path) == twin


def saved(run: Run) -> int:
    """The last step that can be gone on from."""
    return run.restart_points()[-1][0]


def test_a_worker_that_does_not_hear_its_stop_is_ended(
    studio: Studio, sd_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It hangs, and saves no more: what it saved before is gone on with."""
    monkeypatch.setattr("kaiffin.serve.supervisor.PATIENCE_S", 0.2)
    supervisor = Supervisor(studio)
    supervisor.start()
    train = studio.jobs.submit("ann", "train", asked(sd_path))
    until(lambda: trains(studio, train))
    process = psutil.Process(int((studio.run(train.id) / "lock.pid").read_text()))
    process.suspend()
    supervisor.stop()
    assert not process.is_running()
    found = studio.jobs.find(train.id)
    assert (found.state, found.attempts) == ("queued", 0)


def test_a_cancel_stops_the_worker_and_nothing_is_finished(
    studio: Studio, supervisor: Supervisor, sd_path: Path
) -> None:
    train = studio.jobs.submit("ann", "train", asked(sd_path))
    until(lambda: trains(studio, train))
    studio.jobs.cancel("ann", train.id)
    until(lambda: not supervisor.roster.workers)
    assert not Run.open(studio.run(train.id)).finished
    assert studio.jobs.find(train.id).state == "cancelled"


@pytest.mark.slow
def test_on_ray_a_training_gives_way_and_outlives_a_kill(
    tmp_path: Path, ray_folder: str, sd_path: Path, twin: dict[str, bytes]
) -> None:
    studio = open_studio(tmp_path / "studio")
    supervisor = Supervisor(studio, on="ray:1")
    supervisor.start()
    train = studio.jobs.submit("ann", "train", asked(sd_path))
    until(lambda: trains(studio, train))
    job = studio.jobs.submit("bob", "generate", pictures(sd_path))
    until(lambda: studio.jobs.find(job.id).is_over)
    assert studio.jobs.find(job.id).state == "done"
    run = Run.open(studio.run(train.id))
    until(lambda: trains(studio, train, saved(run) + 3))
    os.kill(int((run.path / "lock.pid").read_text()), signal.SIGKILL)
    until(lambda: studio.jobs.find(train.id).is_over)
    supervisor.stop()
    found = studio.jobs.find(train.id)
    studio.close()
    assert (found.state, found.attempts) == ("done", 1)
    assert result(run.path) == twin


@contextlib.contextmanager
def head(folder: str, ports: Mapping[str, int]) -> Iterator[None]:
    """A cluster of one machine, which at the end dies with all that runs on it."""
    command = [
        str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", "--num-cpus=1",
        "--node-ip-address=127.0.0.1", "--include-dashboard=false", f"--temp-dir={folder}",
        *(f"--{name}={port}" for name, port in ports.items()),
    ]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT):
        try:
            yield
        finally:
            for process in psutil.process_iter():
                with contextlib.suppress(psutil.Error):
                    is_here = process.environ().get("RAY_TMPDIR") == folder
                    if is_here and process.pid != os.getpid():
                        process.kill()


@pytest.mark.slow
def test_the_head_of_a_cluster_dies_and_comes_back(
    tmp_path: Path, ray_folder: str, sd_path: Path, twin: dict[str, bytes]
) -> None:
    """All jobs wait meanwhile, and go on to the same bytes."""
    ports = dict(zip(("port", "ray-client-server-port"), free_ports(2), strict=True))
    studio = open_studio(tmp_path / "studio")
    supervisor = Supervisor(studio, on=f"ray://127.0.0.1:{ports['ray-client-server-port']}")
    with head(ray_folder, ports):
        supervisor.start()
        train = studio.jobs.submit("ann", "train", asked(sd_path))
        until(lambda: trains(studio, train))
    scan = studio.jobs.submit("bob", "scan", asked(sd_path))
    until(lambda: studio.jobs.find(train.id).state == "queued")
    assert studio.jobs.find(scan.id).state == "queued"
    with head(ray_folder, ports):
        until(lambda: studio.jobs.find(train.id).is_over and studio.jobs.find(scan.id).is_over)
        supervisor.stop()
    found = studio.jobs.find(train.id)
    assert (found.state, found.attempts, studio.jobs.find(scan.id).state) == ("done", 0, "done")
    studio.close()
    assert result(studio.run(train.id)) == twin


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        bound = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [one.getsockname()[1] for one in bound]


def test_the_next_worker_waits_for_the_one_before(studio: Studio) -> None:
    """Whose server was killed: it may still be saving, or may just have come to its end."""
    import filelock

    job = studio.jobs.submit("ann", "report", {"runs": ["nothere000000000"]})
    made = work(studio, job, House())
    made.write()
    stage = Processes([{}], studio.work)
    with filelock.FileLock(made.file("lock")):
        stage.start(made)
        until(lambda: made.file("worker").is_file())
        assert stage.ended(0) == []
        made.leave("result", {"of": "the one before"})
    ended = []
    until(lambda: ended.extend(stage.ended(0)) or ended)
    assert ended[0].result == {"of": "the one before"}


def test_ids_of_pictures_are_ids_and_stay(studio: Studio) -> None:
    ids = {picture_id("a" * 16, number) for number in range(500)}
    assert len(ids) == 500
    assert all(studio.image(id).suffix == ".png" and len(id) == 16 for id in ids)
    assert picture_id("a" * 16, 3) == picture_id("a" * 16, 3) != picture_id("b" * 16, 3)


def test_a_job_is_the_same_after_its_file(studio: Studio) -> None:
    job = studio.jobs.submit("ann", "scan", training())
    made = work(studio, job, House(bases={"a": "b"}, judge="c"))
    made.write()
    assert Work.read(studio.work, job.id).arguments == made.arguments
