"""A sweep of two trainings, and what it makes in this process."""

import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from conftest import FEW, grainy_photos
from swept import results

from kaiffin.cli.main import main

CONFIG = {
    "subject": {"token": "kai", "noun": "thing"}, "sample": {"steps": 2},
    "train": {"steps": 24, "checkpoint_every": 2, "keep": 1, "tensorboard": False},
    "adapter": {"rank": 2, "targets": FEW}, "score": {"candidates": 1},
}  # fmt: skip
SWEEP = {
    "config": "base.yaml", "prompts": ["a {token}"], "count": 2,
    "trials": {"plain": {}, "guided": {"sample.guidance": 9}, "slow": {"train.lr": 1e-5}},
}  # fmt: skip


@pytest.fixture(scope="session")
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


@pytest.fixture(scope="session")
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
