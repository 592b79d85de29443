"""Sweeps on worker processes and on a real Ray of this machine: killed, stopped, the same bytes."""

import contextlib
import importlib.util
import json
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import torch
import yaml
from conftest import grainy_photos

from kaiffin.cli.main import main
from kaiffin.experiments.work import running, workers
from kaiffin.experiments.work.cluster import OWN
from kaiffin.experiments.work.jobs import Job
from kaiffin.foundation.config import Config
from kaiffin.foundation.errors import ConfigError, RunError

CONFIG = {
    "subject": {"token": "kai", "noun": "thing"}, "sample": {"steps": 2},
    "train": {"steps": 30, "checkpoint_every": 3, "keep": 1, "tensorboard": False},
    "score": {"candidates": 1},
}  # fmt: skip
SWEEP = {
    "config": "base.yaml", "prompts": ["a {token}"], "count": 2,
    "trials": {"plain": {}, "guided": {"sample.guidance": 9}, "slow": {"train.lr": 1e-5}},
}  # fmt: skip


@pytest.fixture(scope="module")
def sweep(sd_path: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A sweep of three trials with two trainings; the command, but for --on."""
    folder = tmp_path_factory.mktemp("sweep")
    (folder / "photos").mkdir()
    grainy_photos(folder / "photos")
    config = CONFIG | {"base": {"name": str(sd_path), "device": "cpu"}}
    config["data"] = {"photos": str(folder / "photos"), "prior": {"weight": 0}}
    (folder / "base.yaml").write_text(yaml.safe_dump(config))
    (folder / "sweep.yaml").write_text(yaml.safe_dump(SWEEP, sort_keys=False))
    return ["sweep", str(folder / "sweep.yaml"), "--out", "out"]


@pytest.fixture(scope="module")
def local(sweep: list[str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What it makes in this process."""
    folder = tmp_path_factory.mktemp("local")
    with contextlib.chdir(folder):
        assert main(sweep) == 0
    return results(folder / "out")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working folder for each test: --out is the same for all, and in every picture's recipe."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def ctrl_c() -> Iterator[None]:
    """As at a terminal: what a shell starts in the background ignores SIGINT."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def results(out: Path) -> dict[str, bytes]:
    """Adapters, checkpoints, pictures, configs, numbers; of the metrics all but the times."""
    names = {"sweep.json", "made.json", "proof.json", "config.yaml"}
    found = {
        str(path.relative_to(out)): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.suffix in {".safetensors", ".png"} or path.name in names
    }
    for path in out.rglob("metrics.jsonl"):
        entries = [json.loads(line) for line in path.read_text().splitlines()]
        kept = [{k: v for k, v in one.items() if k != "seconds"} for one in entries]
        found[str(path.relative_to(out))] = json.dumps(kept).encode()
    return found


def at_first_checkpoint(run: Path, act: Callable[[int], None]) -> threading.Thread:
    """Waits for it in the background, then acts on the process that trains `run`."""

    def wait() -> None:
        until = time.monotonic() + 300
        while not list((run / "checkpoints").glob("step-*")):
            if time.monotonic() > until:
                return
            time.sleep(0.005)
        act(int((run / "lock.pid").read_text()))

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


def assert_same(made: dict[str, bytes], local: dict[str, bytes]) -> None:
    assert made.keys() == local.keys()
    assert [name for name in local if made[name] != local[name]] == []
    assert {"sweep.json", "sheet.png", "runs/slow-seed0/kai.safetensors"} <= set(local)


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


def job(out: Path) -> Job:
    config = Config()
    made = Job(out, "one-seed0", config, {"one-seed0": config.sample}, ("a kaiffin",), 1)
    made.write()
    return made


def test_a_worker_that_always_dies_is_given_up(tmp_path: Path) -> None:
    (tmp_path / "jobs").mkdir()
    one = job(tmp_path)
    place = workers.Processes([{"PYTHONHOME": str(tmp_path)}], tmp_path)  # Python does not start
    failed = running.run([one], place)
    reason = f"its worker died 3 times (exit code 1); see {one.log}."
    assert failed == {"one-seed0": reason}
    assert (tmp_path / "logs" / "sweep.log").read_text().count("try ") == 2


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="reads /proc")
def test_each_worker_sees_its_own_gpu(tmp_path: Path) -> None:
    (tmp_path / "jobs").mkdir()
    place = workers.Processes([{"CUDA_VISIBLE_DEVICES": gpu} for gpu in ("3", "5")], tmp_path)
    for name in ("one", "two"):
        place.start(Job(tmp_path, name, Config(), {}, (), 1))
    started = [process for _, process, _ in place.running.values()]
    try:
        seen = [psutil.Process(p.pid).environ()["CUDA_VISIBLE_DEVICES"] for p in started]
        assert seen == ["3", "5"]
    finally:
        for process in started:
            process.kill()
        place.stop()


def test_a_worker_that_does_not_see_the_folder_says_so(tmp_path: Path) -> None:
    (tmp_path / "jobs").mkdir()
    job(tmp_path)
    session = workers.open_session(tmp_path)
    assert workers.taken(tmp_path, "one-seed0", session).prompts == ("a kaiffin",)
    with pytest.raises(RunError, match="does not see the sweep's folder"):
        workers.taken(tmp_path / "elsewhere", "one-seed0", session)
    workers.open_session(tmp_path)  # another sweep's folder of the same name
    with pytest.raises(RunError, match="share them"):
        workers.taken(tmp_path, "one-seed0", session)


@pytest.mark.parametrize(
    "on",
    ["there", "processes", "processes:0", "processes:x", "gpus:a", "ray:0", "ray://", "local:2"],
)
def test_places_that_are_none(on: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is no place to run"):
        workers.place(on, tmp_path).__enter__()


def test_gpus_by_number_among_those_seen() -> None:
    assert workers.gpus([], 3, "") == ["0", "1", "2"]
    assert workers.gpus([2, 0], 3, "") == ["2", "0"]
    assert workers.gpus([1], 2, "4,GPU-1234") == ["GPU-1234"]
    for wrong in ([2], [1, 1]):
        with pytest.raises(ConfigError, match=f"{wrong[0]} is not there, or there twice.*0 to 1"):
            workers.gpus(wrong, 2, "4,5")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="torch finds no GPU on this machine"):
        workers.place("gpus", tmp_path).__enter__()


def test_without_ray(
    sweep: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)  # as Python marks what cannot be imported
    assert main([*sweep, "--on", "ray"]) == 2
    assert "Ray, which is not installed. Install it" in capsys.readouterr().err
