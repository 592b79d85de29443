"""`kaiffin resume` after kill -9 ends in the same file, byte for byte."""

import random
import signal
import time
from pathlib import Path

import fresh
import pytest
from conftest import FEW

from kaiffin.foundation.run import Run


def train_call(folder: Path, base: Path, out: Path, steps: int) -> list[str]:
    return [
        "train", str(folder), "--base", str(base), "--class", "thing", "--steps", str(steps),
        "--out", str(out), "--train.checkpoint_every", "3", "--train.keep", "2",
        "--data.flip", "true", "--data.crops", "random", "--data.rotate", "9", "--data.upscale",
        "true", "--data.shuffle_tags", "true", "--data.variants", "3",
        "--data.caption_dropout", "0.2", "--adapter.dropout", "0.1",
        "--adapter.rank", "2", "--adapter.min_rank", "1", "--adapter.text_encoder", "true",
        "--train.warmup", "2",
        "--data.prior.weight", "0.3", "--data.prior.num_images", "2", "--data.prior.steps", "2",
        "--train.tensorboard", "false", "--train.accumulate", "2", "--train.batch_size", "1",
        "--score.candidates", "3", "--adapter.targets", FEW,
    ]  # fmt: skip


def lines(run: Path) -> int:
    path = run / "metrics.jsonl"
    return path.read_bytes().count(b"\n") if path.is_file() else 0


def killed_until_done(call: list[str], run: Path, kills: int, rng: random.Random) -> int:
    """Starts, kills -9 some steps later and resumes, `kills` times; then lets it finish."""
    happened = 0
    for attempt in range(kills):
        words = call if attempt == 0 else ["resume", str(run)]
        process = fresh.Process(words, before=fresh.slow_saves)
        goal, deadline = lines(run) + rng.randint(1, 5), time.time() + 60
        while process.poll() is None and time.time() < deadline and lines(run) < goal:
            time.sleep(0.005)
        time.sleep(rng.random() * 0.12)  # into the step or the saving that follows
        if process.poll() is None:
            process.kill_group()
            happened += 1
        process.wait()
    resumed = fresh.run(["resume", str(run)])
    assert resumed.returncode == 0, resumed.stderr
    return happened


def metrics(run: Path) -> list[dict]:
    import json

    found = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in entry.items() if k != "seconds"} for entry in found]


def check(folder: Path, base: Path, tmp_path: Path, steps: int, kills: int) -> None:
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    assert fresh.run(train_call(folder, base, whole, steps)).returncode == 0
    rng = random.Random(kills)
    assert killed_until_done(train_call(folder, base, torn, steps), torn, kills, rng) >= 2
    adapters = [next(run.glob("*.safetensors")).read_bytes() for run in (whole, torn)]
    assert adapters[0] == adapters[1]
    assert metrics(whole) == metrics(torn)
    assert not list(torn.rglob("*.part"))
    assert len(Run.open(torn).restart_points()) == 2


def test_killed_at_random_points(folder: Path, sd_path: Path, tmp_path: Path) -> None:
    check(folder, sd_path, tmp_path, steps=15, kills=3)


@pytest.mark.slow
def test_killed_many_times(folder: Path, sd_path: Path, tmp_path: Path) -> None:
    check(folder, sd_path, tmp_path, steps=60, kills=20)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_says_how_to_go_on(
    number: signal.Signals, folder: Path, sd_path: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    call = train_call(folder, sd_path, run, 400)
    process = fresh.Process(call)
    deadline = time.time() + 60
    while lines(run) < 2 and time.time() < deadline:
        time.sleep(0.01)
    process.send_signal(number)
    done = process.wait(60)
    assert done.returncode == 128 + number
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("kaiffin: ")]
    assert f"kaiffin resume {run}" in line
    assert "Traceback" not in done.stderr
    (step, _) = Run.open(run).restart_points()[-1]
    assert f"after step {step} of 400" in line
    assert lines(run) == step
