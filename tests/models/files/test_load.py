"""Bases opened: folders, half precision, checkpoint files, other VAEs, and what is broken."""

import json
import shutil
from pathlib import Path

import pytest
import tiny
import torch
from conftest import load_tiny
from safetensors.torch import load_file, save_file

from kaiffin.foundation.config import BaseConfig
from kaiffin.foundation.errors import MissingWeightsError
from kaiffin.foundation.runtime import Runtime
from kaiffin.models.base import ModelFamily
from kaiffin.models.files.load import load, read_text_facts

PROMPTS = ["a photo of a dog", "ein Höhlenbär 犬 🐧"]


def loaded(name: object, **more: object) -> ModelFamily:
    base = BaseConfig(name=str(name), device="cpu", **more)
    return load(base, Runtime.from_config(base))


def test_an_external_vae(sd_path: Path, sd_v_path: Path, tmp_path: Path) -> None:
    other = tiny.tiny_sd(tmp_path / "other", seed=9)
    family = loaded(sd_path, vae=str(other / "vae"))
    weight = next(family.vae.parameters())
    assert torch.equal(weight, next(load_tiny(other).vae.parameters()))
    assert family.revision != load_tiny(sd_path).revision
    with pytest.raises(MissingWeightsError, match="nowhere"):
        loaded(sd_path, vae="nowhere/at-all")


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


def test_a_single_checkpoint_file(sd_path: Path, tmp_path: Path) -> None:
    """The same weights under the original names give the same numbers."""
    file = tiny.tiny_single_file(sd_path, tmp_path / "model.safetensors")
    single, folder = loaded(file), load_tiny(sd_path)
    assert read_text_facts(str(file)).token_pieces("a dog") == folder.token_pieces("a dog")
    assert single.name == "sd1"
    x, t = torch.randn(2, 4, 8, 8), torch.tensor([3, 700])
    with torch.no_grad():
        conds = [family.encode_text(PROMPTS) for family in (single, folder)]
        assert torch.equal(conds[0]["context"], conds[1]["context"])
        assert torch.equal(single.predict(x, t, conds[0]), folder.predict(x, t, conds[1]))
    assert torch.allclose(single.decode(x), folder.decode(x), atol=1e-5)
    tensors = load_file(file)
    save_file({**tensors, "v_pred": torch.ones(1)}, file)
    assert loaded(file).schedule.prediction_type == "v_prediction"


@pytest.mark.parametrize(
    "part", ["model.diffusion_model.out.2", "first_stage_model.", "cond_stage_model.transformer."]
)
def test_a_checkpoint_file_that_lacks_a_weight(sd_path: Path, tmp_path: Path, part: str) -> None:
    file = tiny.tiny_single_file(sd_path, tmp_path / "model.safetensors")
    tensors = load_file(file)
    lost = max(n for n in tensors if n.startswith(part) and n.endswith(".weight"))
    save_file({n: t for n, t in tensors.items() if n != lost}, file)
    with pytest.raises(MissingWeightsError, match="missing"):
        loaded(file)


def test_a_single_file_without_a_tokenizer_says_what_to_put_where(
    sd_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *a, **k: None)
    file = tiny.tiny_single_file(sd_path, tmp_path / "model.safetensors")
    shutil.rmtree(file.with_suffix(".config") / "tokenizer")
    with pytest.raises(MissingWeightsError, match=r"vocab\.json and merges\.txt"):
        loaded(file)
    tiny.write_tokenizer(tmp_path / "tokenizer")
    assert loaded(file).token_pieces("a") == ["a</w>"]


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
    with pytest.raises(MissingWeightsError, match="vae: cannot be loaded"):
        loaded(copy)


def test_text_facts_of_a_broken_configuration(sd_path: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(sd_path, copy)
    (copy / "vae" / "config.json").write_text("[]")
    with pytest.raises(MissingWeightsError, match="its configuration is broken"):
        read_text_facts(str(copy))


def test_a_vae_file_of_the_original_layout(sd_path: Path, tmp_path: Path) -> None:
    other = tiny.tiny_sd(tmp_path / "other", seed=9)
    whole = load_file(tiny.tiny_single_file(other, tmp_path / "model.safetensors"))
    start = "first_stage_model."
    file = tmp_path / "vae.safetensors"
    save_file({n.removeprefix(start): t for n, t in whole.items() if n.startswith(start)}, file)
    family, x = loaded(sd_path, vae=str(file)), torch.randn(1, 4, 8, 8)
    assert torch.allclose(family.decode(x), load_tiny(other).decode(x), atol=1e-5)
    pickle = tmp_path / "vae.pt"
    pickle.write_bytes(b"anything")
    with pytest.raises(MissingWeightsError, match=r"only \.safetensors files"):
        loaded(sd_path, vae=str(pickle))


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


def test_a_tokenizer_that_promises_more_than_the_encoder_has(sd_path: Path, tmp_path: Path) -> None:
    """ComfyUI's copy says 8192; CLIP has 77 positions."""
    folder = shutil.copytree(sd_path, tmp_path / "sd")
    path = folder / "tokenizer" / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"model_max_length": 8192}))
    assert read_text_facts(str(folder)).max_tokens == 77
    assert loaded(folder).max_tokens == 77
