"""Bases opened: folders, half precision, checkpoint files, other VAEs, and what is broken."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from conftest import load_tiny
from safetensors.torch import load_file, save_file

from kaiffin.foundation.config import BaseConfig
from kaiffin.foundation.errors import MissingWeightsError
from kaiffin.foundation.runtime import Runtime
from kaiffin.foundation.tell import SILENT
from kaiffin.models.base import ModelFamily
from kaiffin.models.files.load import load

PROMPTS = ["a photo of a dog", "ein Höhlenbär 犬 🐧"]


def loaded(name: object, **more: object) -> ModelFamily:
    base = BaseConfig(name=str(name), device="cpu", **more)
    return load(base, Runtime.from_config(base), tell=SILENT)


@pytest.mark.parametrize("component", ["unet", "vae", "text_encoder"])
def test_a_missing_weight_is_refused(sd_path: Path, tmp_path: Path, component: str) -> None:
    base = tmp_path / "base"
    shutil.copytree(sd_path, base)
    (file,) = (base / component).glob("*.safetensors")
    tensors = load_file(file)
    lost = max(name for name in tensors if name.endswith(".weight"))
    save_file({n: t for n, t in tensors.items() if n != lost}, file, {"format": "pt"})
    with pytest.raises(MissingWeightsError, match=f"{component}: the weight .* is missing"):
        load_tiny(base)


def test_half_precision_variants_are_used(sd_path: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(sd_path, copy)
    for path in copy.rglob("*.safetensors"):
        half = {k: v.half() if v.is_floating_point() else v for k, v in load_file(path).items()}
        save_file(half, path.with_suffix(".fp16.safetensors"), {"format": "pt"})
        path.unlink()
    family = loaded(copy)
    assert family.dtype == torch.float32
    x = torch.randn(2, 4, 8, 8)
    with torch.no_grad():
        cond = family.encode_text(PROMPTS)
        full = load_tiny(sd_path)
        expected = full.predict(x, torch.tensor([1, 2]), full.encode_text(PROMPTS))
        assert torch.allclose(family.predict(x, torch.tensor([1, 2]), cond), expected, atol=1e-2)


def test_pickled_weights_are_not_opened(sd_path: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(sd_path, copy)
    weights = copy / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    with pytest.raises(MissingWeightsError, match=r"unet: holds no \.safetensors"):
        loaded(copy)


@pytest.mark.parametrize(
    ("part", "text"),
    [
        ("scheduler/scheduler_config.json", "{"),
        ("scheduler/scheduler_config.json", json.dumps({"beta_schedule": "sigmoid"})),
        ("unet/config.json", "{"),
        ("tokenizer/vocab.json", "{"),
    ],
)
def test_a_broken_file_is_named(sd_path: Path, tmp_path: Path, part: str, text: str) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(sd_path, copy)
    (copy / part).write_text(text)
    with pytest.raises(MissingWeightsError, match=part.split("/")[0]):
        loaded(copy)


def test_broken_weights_are_named(sd_path: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(sd_path, copy)
    (copy / "vae" / "diffusion_pytorch_model.safetensors").write_bytes(b"x" * 100)
    with pytest.raises(MissingWeightsError, match=r"vae/.*: is not a readable safetensors"):
        loaded(copy)


def test_the_base_rounds_to_its_dtype_and_predicts_in_fp32(sd_path: Path) -> None:
    family = loaded(sd_path, dtype="bf16")
    assert {p.dtype for t in family.towers.values() for p in t.parameters()} == {torch.bfloat16}
    with torch.no_grad():
        cond = family.encode_text(PROMPTS)
        out = family.predict(torch.randn(2, 4, 8, 8), torch.tensor([1, 2]), cond)
    assert out.dtype == torch.float32
    assert family.decode(torch.randn(1, 4, 8, 8)).dtype == torch.float32


def test_large_pictures_are_decoded_in_tiles_on_request(sd_path: Path) -> None:
    assert loaded(sd_path, vae_tiling=True).vae.use_tiling
    assert not loaded(sd_path).vae.use_tiling
