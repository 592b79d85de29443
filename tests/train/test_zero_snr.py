"""A base with v-prediction whose noise ends without any signal (NoobAI and such): it learns, and
its pictures begin where there is no signal."""

import json
import shutil
from pathlib import Path

import begun_run
import numpy as np
import pytest
import torch
from PIL import Image

from kaiffin.adapters.load import load_adapter
from kaiffin.cli.main import main
from kaiffin.foundation.config import BaseConfig
from kaiffin.foundation.run import Run
from kaiffin.foundation.runtime import Runtime
from kaiffin.foundation.tell import SILENT
from kaiffin.models.files.load import load_base
from kaiffin.pictures.png import read


@pytest.fixture(scope="module")
def base(sd_v_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """sd_v_path with such a schedule, whose config still says `leading`, as published ones do."""
    folder = tmp_path_factory.mktemp("zero") / "base"
    shutil.copytree(sd_v_path, folder)
    file = folder / "scheduler/scheduler_config.json"
    config = json.loads(file.read_text()) | {"rescale_betas_zero_snr": True}
    assert config["timestep_spacing"] == "leading"
    file.write_text(json.dumps(config))
    return folder


@pytest.fixture(scope="module")
def run(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("learnt")
    begun_run.photos(folder / "pics")
    more = {
        "steps": 60,
        "adapter__targets": None,
        "data__prior__weight": 0,
        "train__objective__min_snr_gamma": 5,
    }
    assert main(begun_run.call(base, folder / "run", **more)) == 0
    return Run.open(folder / "run")


def test_it_learns(base: Path, run: Run) -> None:
    """Over all times, with the same noise before and after."""
    family = load_base(BaseConfig(name=str(base)), Runtime.from_config(BaseConfig()), tell=SILENT)
    photos = [
        Image.open(p).convert("RGB") for p in sorted((run.path.parent / "pics").glob("*.png"))
    ]
    pixels = torch.from_numpy(np.stack(photos)).permute(0, 3, 1, 2) / 127.5 - 1
    x0 = family.encode_images(pixels)[0].repeat_interleave(40, 0)
    eps = torch.randn(x0.shape, generator=torch.Generator().manual_seed(0))
    t = torch.linspace(0, 999, len(x0)).round().long()
    cond = family.encode_text(["a photo of kaiffin thing"] * len(x0))
    target = family.schedule.target(x0, eps, t)

    def error() -> float:
        with torch.no_grad():
            x_t = family.schedule.add_noise(x0, eps, t)
            return float((family.predict(x_t, t, cond) - target).square().mean())

    before = error()
    adapter = load_adapter(run.adapter_path, family)
    adapter.inject(family)
    assert error() < 0.9 * before


def test_where_there_is_no_signal_training_goes_on(base: Path) -> None:
    family = load_base(BaseConfig(name=str(base)), Runtime.from_config(BaseConfig()), tell=SILENT)
    last = torch.tensor([999])
    x0, eps = torch.randn(2, 1, 4, 8, 8)
    assert torch.equal(family.schedule.add_noise(x0, eps, last), eps)
    assert torch.equal(family.schedule.target(x0, eps, last), -x0)
    for gamma in (1.0, 5.0):
        assert family.schedule.weight(last, gamma).isfinite().all()


def test_its_pictures_begin_without_signal(run: Run, tmp_path: Path) -> None:
    words = ["--steps", "4", "--sample.guidance_rescale", "0.7", "--guidance", "5"]
    for sampler in ("dpm++2m", "euler-a", "unipc", "heun"):
        out = tmp_path / sampler.replace("+", "p")
        asked = ["generate", str(run.path), "a thing", "--sampler", sampler, "--out", str(out)]
        assert main([*asked, *words]) == 0
        (picture,) = out.glob("a-thing*.png")
        assert np.asarray(Image.open(picture)).std() > 0
        recipe = read(picture)["request"]
        assert recipe["schedule"] == "trailing"
        assert "SGM Uniform" in Image.open(picture).info["parameters"]
        assert "CFG Rescale: 0.7" in Image.open(picture).info["parameters"]
