"""A run folder: whole files or none, one user at a time, the old checkpoint goes last."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from kaiffin.foundation.config import Config
from kaiffin.foundation.errors import RunError
from kaiffin.foundation.run import Run, free_name


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run.create(tmp_path / "run", Config())


def test_create_and_open(run: Run) -> None:
    assert Run.open(run.path).config == run.config
    Run.create(run.path, Config())  # nothing has been trained in it yet
    run.new_restart_point(1, {"a": b"x"}, keep=1)
    with pytest.raises(RunError, match="kaiffin resume"):
        Run.create(run.path, Config())
    with pytest.raises(RunError, match="no run folder"):
        Run.open(run.path / "cache")


def test_begun_anew_it_forgets_what_it_was_begun_with(run: Run) -> None:
    run.write_json("beginning.json", {"id": "x"})
    assert run.beginning() == {"id": "x"}
    assert Run.create(run.path, Config()).beginning() == {}


def test_a_finished_run_is_opened_again_but_for_its_candidates(run: Run) -> None:
    for path in (run.adapter_path, run.proof_path, run.candidate_path(4)):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"")
    run.reopen()
    assert not run.finished
    assert not run.proof_path.exists()
    assert [step for step, _ in run.candidates()] == [4]


def test_a_folder_of_something_else_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(RunError, match="other things"):
        Run.create(tmp_path, Config())


def test_what_a_create_leaves_that_was_killed_is_taken_over(tmp_path: Path) -> None:
    """It had made the folder and its lock, and had not written the config yet."""
    for name in ("lock", "lock.pid", ".config.yaml.77.part"):
        (tmp_path / name).write_bytes(b"")
    assert Run.create(tmp_path, Config()).config_path.is_file()


def test_checkpoints_are_kept_and_pruned(run: Run) -> None:
    for step in (10, 20, 30, 40):
        run.new_restart_point(step, {"a.txt": str(step).encode()}, keep=2)
    assert [step for step, _ in run.restart_points()] == [30, 40]
    latest = run.latest_restart_point()
    assert latest is not None
    assert (latest / "a.txt").read_text() == "40"
    assert not list((run.path / "checkpoints").glob(".*"))


def test_what_a_kill_leaves_is_ignored_and_cleaned(run: Run) -> None:
    run.new_restart_point(10, {"a": b"x"}, keep=2)
    torn = run.path / "checkpoints" / ".step-00000020.part"
    torn.mkdir()
    (torn / "a").write_bytes(b"half")
    torn_files = [".config.yaml.part", "cache/28/.28c6.1.part", "data-2/.manifest.json.1.part",
                  "previews/.step.png.1.part", "candidates/.a.1.part"]  # fmt: skip
    in_the_making = ["cache/scores/28/.28c6.1.part", "images/.a.png.1.part"]
    for name in (*torn_files, *in_the_making):
        (run.path / name).parent.mkdir(parents=True, exist_ok=True)
        (run.path / name).write_bytes(b"half")
    assert [step for step, _ in run.restart_points()] == [10]
    run.clean()
    assert not torn.exists()
    left = {path.relative_to(run.path).as_posix() for path in run.path.rglob(".*.part")}
    assert left == set(in_the_making)
    assert [step for step, _ in run.restart_points()] == [10]


def test_metrics_are_cut_to_the_step_resumed_from(run: Run) -> None:
    lines = [json.dumps({"step": step}) for step in (1, 2, 3)]
    run.metrics_path.write_text("\n".join(lines) + '\n{"step": 4, "lo')
    run.truncate_metrics(2)
    assert run.metrics_path.read_text() == '{"step": 1}\n{"step": 2}\n'


LOCKER = """
import sys, time
from pathlib import Path
from kaiffin.foundation.run import Run
with Run.open(Path(sys.argv[1])).lock():
    print("locked", flush=True)
    time.sleep(60)
"""


def test_a_run_in_use_is_locked_and_a_kill_frees_it(run: Run) -> None:
    other = subprocess.Popen(
        [sys.executable, "-c", LOCKER, str(run.path)], stdout=subprocess.PIPE, text=True
    )
    assert other.stdout is not None
    try:
        assert other.stdout.readline() == "locked\n"
        with pytest.raises(RunError, match=f"in use by process {other.pid}"), run.lock():
            pytest.fail("two processes hold one run")
    finally:
        other.kill()
        other.wait()
    with run.lock():
        assert (run.path / "lock.pid").read_text() == str(os.getpid())


FILLER = """
import resource, sys
from pathlib import Path
from kaiffin.foundation.errors import RunError
from kaiffin.foundation.run import Run
run = Run.open(Path(sys.argv[1]))
import signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
try:
    run.new_restart_point(20, {"small": b"x", "big": b"y" * 10_000}, keep=1)
except RunError as error:
    print(error)
"""


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="no file size limits here")
def test_a_disk_that_takes_no_more_costs_nothing_saved_before(run: Run) -> None:
    """A file size limit stops the write in the middle, as a full disk does."""
    run.new_restart_point(10, {"a": b"good"}, keep=1)
    done = subprocess.run(
        [sys.executable, "-c", FILLER, str(run.path)], capture_output=True, text=True, check=True
    )
    assert "cannot be written" in done.stdout
    assert "what was saved before is intact" in done.stdout
    assert [step for step, _ in run.restart_points()] == [10]
    assert not list((run.path / "checkpoints").glob(".*"))


def test_names_are_never_taken_twice(tmp_path: Path) -> None:
    assert free_name(tmp_path / "k") == tmp_path / "k"
    (tmp_path / "k" / "checkpoints").mkdir(parents=True)
    assert free_name(tmp_path / "k") == tmp_path / "k-2"


def test_only_the_run_spells_the_names_of_its_files(run: Run) -> None:
    names = {
        "manifest_path": "manifest.json", "proof_path": "proof.json", "choice_path": "choice.json",
        "photos_manifest": "data/manifest.json", "evaluation": "evaluation", "cache": "cache",
        "images": "images", "previews": "previews", "best_path": "best.safetensors",
        "beginning_path": "beginning.json",
    }  # fmt: skip
    assert {name: getattr(run, name) for name in names} == {
        name: run.path / path for name, path in names.items()
    }
    assert run.photos_folder() == run.path / "data"
    assert run.photos_folder(2) == run.path / "data-2"
