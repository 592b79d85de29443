"""Shared fixtures: tiny bases built once per test process.

Torch is imported where it is used: pytest's own process, which only hands tests out, needs none.
"""

from __future__ import annotations

import gc
import importlib.util
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import psutil
import pytest
from PIL import Image

if TYPE_CHECKING:
    from kaiffin.models.base import ModelFamily

REPO = Path(__file__).parents[1]
PHOTOS = REPO.parent / "shared" / "data" / "photos"
# Where a test computes on two threads, one that waits leaves its core to the other worker.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
FEW = "*.attn1.to_q,*.self_attn.q_proj"  # layers, where it does not matter which: all cost tenfold


def pytest_collectstart(collector: pytest.Collector) -> None:
    """Before a test imports diffusers, as Kaiffin does it."""
    from kaiffin.foundation.spared import spare

    if isinstance(collector, pytest.Session):
        spare()


def pytest_collection_finish() -> None:
    """One thread for each worker. What the libraries hold stays: an eighth of the suite went into
    looking through it for garbage."""
    import torch

    torch.set_num_threads(1)
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 100)


def load_tiny(path: Path) -> ModelFamily:
    from kaiffin.foundation.config import BaseConfig
    from kaiffin.foundation.runtime import Runtime
    from kaiffin.foundation.tell import SILENT
    from kaiffin.models.files.load import load

    base = BaseConfig(name=str(path), device="cpu")
    return load(base, Runtime.from_config(base), tell=SILENT)


def process() -> tuple[object, ...]:
    """What a story may set in its process, and has to put back."""
    import torch

    return (
        torch.get_num_threads(), torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(), torch.backends.cudnn.benchmark,
        Image.MAX_IMAGE_PIXELS,
    )  # fmt: skip


@pytest.fixture(scope="session")
def sd_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import tiny

    return tiny.tiny_sd(tmp_path_factory.mktemp("bases") / "sd")


@pytest.fixture(scope="session")
def sd_v_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import tiny

    return tiny.tiny_sd(tmp_path_factory.mktemp("bases") / "sd-v", prediction="v_prediction")


@pytest.fixture(scope="session")
def sdxl_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import tiny

    return tiny.tiny_sdxl(tmp_path_factory.mktemp("bases") / "sdxl")


@pytest.fixture
def sd(sd_path: Path) -> Iterator[ModelFamily]:
    from lent import lent

    yield from lent(sd_path)


@pytest.fixture
def sdxl(sdxl_path: Path) -> Iterator[ModelFamily]:
    from lent import lent

    yield from lent(sdxl_path)


@pytest.fixture
def flow_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """A family that lives in tests only has its row while the test runs."""
    import flow_family

    from kaiffin.models.families.spec import SPECS

    monkeypatch.setitem(SPECS, flow_family.ROW.name, flow_family.ROW)


@pytest.fixture(scope="session")
def flow_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import flow_family

    return flow_family.tiny_flow(tmp_path_factory.mktemp("bases") / "flow")


@pytest.fixture
def flow_path(flow_row: None, flow_folder: Path) -> Path:
    return flow_folder


@pytest.fixture
def flow(flow_path: Path) -> Iterator[ModelFamily]:
    from lent import lent

    yield from lent(flow_path)


@pytest.fixture(params=["sd", "sdxl"])
def family(request: pytest.FixtureRequest) -> ModelFamily:
    return request.getfixturevalue(request.param)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "photos"
    path.mkdir()
    rng = np.random.default_rng(0)
    for i in range(4):
        pixels = rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((64, 64), Image.Resampling.BICUBIC).save(path / f"{i}.png")
    return path


def grainy_photos(folder: Path, count: int = 2, side: int = 64) -> None:
    """Photos of noise that no one confuses with each other."""
    for i in range(count):
        Image.effect_noise((side, side), 40 + i).convert("RGB").save(folder / f"{i}.png")


@pytest.fixture
def photos6(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(3):
        image = Image.effect_noise((80, 80), 60).convert("RGB")
        image.paste((60 * i, 90, 200), (10, 10, 60, 60))
        image.save(folder / f"{i}.png")
    return folder


@pytest.fixture(scope="session")
def photos() -> Path:
    if not PHOTOS.is_dir():
        pytest.skip(
            f"real photos are not there: {PHOTOS.parent.parent.name}/data/photos is missing"
        )
    return PHOTOS


@pytest.fixture
def ray_folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A folder for Ray's files, which all of its processes know and none outlives."""
    from kaiffin.experiments.work.cluster import OWN

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


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--renew-golden", action="store_true", help="store the numbers of tests/golden anew"
    )
