"""One training on two processes: the same as on one, gone on with on any number, ended together."""

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import fresh
import psutil
import pytest
from conftest import FEW, grainy_photos
from hearing import Heard
from safetensors.torch import load_file

from kaiffin.data.dataset import Dataset
from kaiffin.data.prepare import prepare
from kaiffin.foundation.config import Config
from kaiffin.foundation.errors import ConfigError, PhotoError
from kaiffin.foundation.run import Run
from kaiffin.foundation.settings import build, override
from kaiffin.foundation.tell import Progress
from kaiffin.miniature.world.vocabulary import SIDE
from kaiffin.stories import plan, train
from kaiffin.train.crew import Crew

STEPS, HALF = 12, 6
GIVEN = {
    "subject.noun": "thing", "train.steps": STEPS, "train.checkpoint_every": 3, "train.keep": 9,
    "train.batch_size": 2, "train.lr": 1e-4, "data.flip": True, "data.caption_dropout": 0.2,
    "adapter.rank": 2, "adapter.targets": FEW, "adapter.text_encoder": True,
    "adapter.dropout": 0.1, "data.prior.weight": 0.3, "data.prior.num_images": 2,
    "data.prior.steps": 1, "train.tensorboard": False, "score.candidates": 1,
    "train.objective.keep": 0.5, "train.objective.timesteps": "falling", "train.noises": 2,
}  # fmt: skip


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    grainy_photos(folder, 4, SIDE)
    return folder


def given(photos: Path, base: Path | str, **more: object) -> Config:
    named = {name.replace("__", "."): value for name, value in more.items()}
    where = {"data.photos": str(photos), "base.name": str(base)}
    return build(override({}, {**GIVEN, **where, **named}))


def words(photos: Path, base: Path | str, out: Path, **more: object) -> list[str]:
    """The same for the command line."""
    named = {**GIVEN, **{name.replace("__", "."): value for name, value in more.items()}}
    flags = [word for n, value in named.items() for word in (f"--{n}", str(value).lower())]
    targets = flags.index(FEW.lower())
    flags[targets] = FEW
    return ["train", str(photos), "--base", str(base), "--out", str(out), *flags]


@pytest.fixture(scope="module")
def one(photos: Path, sd_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train.train(given(photos, sd_path), tmp_path_factory.mktemp("one") / "run").run


@pytest.fixture(scope="module")
def two(photos: Path, sd_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("two") / "run"
    done = fresh.run([*words(photos, sd_path, out), "--devices", "2"])
    assert done.returncode == 0, done.stderr
    assert "on 2 processes, one cpu each" in done.stdout
    return Run.open(out)


def apart(one: Run, other: Run, step: int = STEPS) -> float:
    """The largest difference of two adapters' weights after `step`."""
    weights, others = (_weights(run, step) for run in (one, other))
    assert weights.keys() == others.keys()
    return max((weights[name] - others[name]).abs().max().item() for name in weights)


def _weights(run: Run, step: int) -> Mapping:
    (path,) = [path for at, path in run.restart_points() if at == step]
    return load_file(path / "adapter.safetensors")


def back_at_half(run: Run, to: Path) -> Run:
    """A copy of a run as it was after HALF of its steps."""
    copy = Run.open(Path(shutil.copytree(run.path, to / "run")))
    copy.reopen()
    for step, path in copy.restart_points():
        if step > HALF:
            shutil.rmtree(path)
    return copy


def test_two_processes_learn_what_one_learns(one: Run, two: Run) -> None:
    learnt = _weights(one, STEPS)
    assert max(v.abs().max() for n, v in learnt.items() if "lora_up" in n) > 3e-4
    assert apart(one, two) <= 1e-6
    for mine, theirs in zip(one.metrics(), two.metrics(), strict=True):
        for what in ("loss", "prior_loss", "grad_norm"):
            assert theirs[what] == pytest.approx(mine[what], rel=1e-4)


@pytest.mark.slow  # two trainings
def test_a_run_goes_on_to_the_same_bits_on_as_many(two: Run, tmp_path: Path) -> None:
    copy = back_at_half(two, tmp_path)
    train.resume(copy.path, devices=2)
    assert copy.adapter_path.read_bytes() == two.adapter_path.read_bytes()


@pytest.mark.slow  # processes that start and import, several times
def test_a_run_goes_on_on_another_number(one: Run, tmp_path: Path) -> None:
    copy = back_at_half(one, tmp_path)
    train.resume(copy.path, devices=2)
    assert 0 < apart(one, copy) <= 1e-6


@pytest.mark.slow  # processes that start and import, several times
def test_torchrun_shares_whole_batches_of_the_miniature(photos: Path, tmp_path: Path) -> None:
    more = {
        "train__batch_size": 1, "train__accumulate": 2, "train__steps": 4, "adapter__dropout": 0.2,
        "data__prior__weight": 0.0, "adapter__text_encoder": False,
    }  # fmt: skip
    torchrun = [str(Path(sys.executable).with_name("torchrun")), "--nproc-per-node", "2"]
    call = words(photos, "miniature", tmp_path / "two", **more)
    done = subprocess.run([*torchrun, "-m", "kaiffin", *call], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("proof: ") == 1  # one speaks
    alone = train.train(given(photos, "miniature", **more), tmp_path / "one").run
    assert apart(alone, Run.open(tmp_path / "two"), 4) <= 1e-6


@contextmanager
def running(call: list[str], run: Path) -> Iterator[tuple[fresh.Process, psutil.Process]]:
    """A training of two processes that has done a few steps, and its second process."""
    process = fresh.Process([*call, "--devices", "2"])
    before, until = lines(run), time.monotonic() + 120
    while lines(run) < before + 3 and process.poll() is None and time.monotonic() < until:
        time.sleep(0.02)
    children = psutil.Process(process.pid).children(recursive=True)
    yield process, next(c for c in children if "kaiffin.train.helper" in c.cmdline())


def lines(run: Path) -> int:
    path = run / "metrics.jsonl"
    return path.read_bytes().count(b"\n") if path.is_file() else 0


@pytest.mark.slow  # processes that start and import, several times
def test_who_dies_ends_all_and_nothing_is_lost(photos: Path, sd_path: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    more = {"train__steps": 100_000, "train__checkpoint_every": 100_000}
    with running(words(photos, sd_path, out, **more), out) as (process, helper):
        helper.kill()
        done = process.wait()
    assert done.returncode == 2
    assert "one of the 2 processes of this training has died" in done.stderr
    assert Run.open(out).restart_points()[-1][0] == lines(out)
    with running(["resume", str(out)], out) as (process, helper):
        process.send_signal(signal.SIGTERM)
        assert process.wait().returncode == 128 + signal.SIGTERM
    assert not helper.is_running()
    assert Run.open(out).restart_points()[-1][0] == lines(out)


class Spoiler(Heard):
    """Spoils a photo as soon as the training begins."""

    def __init__(self, photo: Path) -> None:
        super().__init__()
        self.photo = photo

    @contextmanager
    def progress(self, text: str, total: int | None = None) -> Iterator[Progress]:
        if text == "training":
            self.photo.write_bytes(self.photo.read_bytes() + b"more")
        yield Progress(total)


def test_what_fails_in_one_process_is_said_by_the_first(sd_path: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    grainy_photos(tmp_path / "photos", 4)
    config = given(tmp_path / "photos", sd_path, data__prior__weight=0.0)
    examples = prepare(config.data, config.subject, 64).examples
    second = Dataset(examples, [], config.data, 0).batch(0, 2)[1].example.path
    with pytest.raises(PhotoError, match=f"{second.name}: has changed"):
        train.train(config, tmp_path / "run", devices=2, tell=Spoiler(second))
    left = [" ".join(child.cmdline()) for child in psutil.Process().children(recursive=True)]
    assert not [words for words in left if "kaiffin.train.helper" in words]


def test_what_cannot_be_shared_evenly_is_refused_with_the_way_out(
    photos: Path, sd_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"batch_size = 2 .* by 3 devices. Set .*batch_size 3"):
        plan.plan(given(photos, sd_path), devices=3)
    crew = Crew(1, 2)
    crew.divide(4, 3)
    assert (crew.by_items, list(crew.parts(3)), crew.mine("abcd")) == (True, [0, 1, 2], "cd")
    crew.divide(3, 4)
    assert (crew.by_items, list(crew.parts(4)), crew.mine("abc")) == (False, [1, 3], "abc")


def test_the_plan_is_of_each_device(
    photos: Path, sd_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = Heard()
    whole = plan.plan(given(photos, sd_path))
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")  # as torchrun does
    monkeypatch.setenv("WORLD_SIZE", "2")
    half = plan.plan(given(photos, sd_path))
    assert (whole.devices, half.devices) == (1, 2)
    assert whole.memory
    assert half.memory
    assert half.memory.step < whole.memory.step
    plan.say(half, heard)
    assert any("memory, on each of 2 devices: " in note for note in heard.notes)
    with pytest.raises(ConfigError, match="torchrun has started 2 processes"):
        plan.plan(given(photos, sd_path), devices=3)
