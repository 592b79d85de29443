"""Bases of the real size, random weights, through the same commands as any other (slow)."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from full import full_base
from PIL import Image
from safetensors.torch import load_file

from kaiffin.cli.main import main

pytestmark = pytest.mark.slow


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(2):
        Image.effect_noise((160, 160), 40 + i).convert("RGB").save(folder / f"{i}.png")
    return folder


@pytest.fixture(params=["sd1", "sdxl"])
def base(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    folder = full_base(request.param, tmp_path / request.param)
    yield folder
    shutil.rmtree(folder)  # several GB that pytest would keep


def test_the_real_sizes_train(
    base: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Load, encode, train, export; the file's names are the modules that diffusers has."""
    run = tmp_path / "run"
    call = ["train", str(photos), "--base", str(base), "--class", "thing", "--resolution", "128"]
    call += ["--adapter.targets", "attention", "--data.prior.weight", "0"]
    if base.name == "sd1":
        assert main([*call, "--adapter.rank", "128", "--dry-run"]) == 0
        assert "25,509,888 trainable weights" in capsys.readouterr().out
    steps = "3" if base.name == "sd1" else "1"
    assert main([*call, "--adapter.rank", "4", "--steps", steps, "--out", str(run)]) == 0
    manifest = json.loads((run / "manifest.json").read_text())
    if base.name == "sd1":
        assert manifest["trainable"] == 797_184
    lines = (run / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == list(range(1, int(steps) + 1))
    (file,) = run.glob("*.safetensors")
    _diffusers_finds_every_module(file, base)
    tensors = load_file(file)
    assert all(torch.isfinite(tensor).all() for tensor in tensors.values())
    assert any(t.abs().max() > 0 for name, t in tensors.items() if "lora_up" in name)


def _diffusers_finds_every_module(file: Path, base: Path) -> None:
    """Its reader translates the names; each then is a module of the real architecture."""
    with torch.device("meta"):
        unet: Any = UNet2DConditionModel.from_config(str(base / "unet"))
    pipeline = StableDiffusionXLPipeline if base.name == "sdxl" else StableDiffusionPipeline
    state, _ = pipeline.lora_state_dict(str(file), unet_config=unet.config)
    plain = [name.removeprefix("unet.").replace(".processor.", ".") for name in state]
    found = {name.split("_lora.")[0] for name in plain}
    assert len(found) == (560 if base.name == "sdxl" else 128)  # attention: q, k, v, out
    assert found <= {name for name, _ in unet.named_modules()}
