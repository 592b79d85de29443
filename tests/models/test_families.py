"""One conformance test for all families, with diffusers' pipelines as the oracle."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from conftest import load_tiny
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline
from safetensors.torch import load_file, save_file
from torch import nn

from kaiffin.foundation.config import BaseConfig
from kaiffin.foundation.errors import MissingWeightsError
from kaiffin.foundation.runtime import Runtime
from kaiffin.models.base import ModelFamily, SizeFacts
from kaiffin.models.files import resolve
from kaiffin.models.files.load import load, read_text_facts

FACTS = [SizeFacts((100, 80), (3, 4), (64, 64)), SizeFacts((64, 64), (0, 0), (64, 64))]
PROMPTS = ["a photo of a dog", "ein Höhlenbär 犬 🐧"]


def pipeline(family: ModelFamily):
    cls = StableDiffusionXLPipeline if family.name == "sdxl" else StableDiffusionPipeline
    return cls.from_pretrained(family.base)


def test_the_promise(family: ModelFamily) -> None:
    assert isinstance(family, ModelFamily)
    assert (family.native_size, family.downscale, family.latent_channels) == (64, 8, 4)
    assert family.max_tokens == 77
    for tower in family.towers.values():
        assert not any(p.requires_grad for p in tower.parameters())
        assert not tower.training
    again = load_tiny(Path(family.base))
    assert again.revision == family.revision


def test_text_as_the_pipeline_encodes_it(family: ModelFamily) -> None:
    with torch.no_grad():
        cond = family.encode_text(PROMPTS, FACTS)
        out = pipeline(family).encode_prompt(
            PROMPTS, device="cpu", num_images_per_prompt=1, do_classifier_free_guidance=False
        )
    assert torch.equal(cond["context"], out[0])
    if family.name == "sdxl":
        assert torch.equal(cond["pooled"], out[2])
        assert cond["size_ids"][0].tolist() == [100, 80, 3, 4, 64, 64]


def test_clip_skip_of_sd1_takes_an_earlier_layer_and_norms_it(sd: ModelFamily) -> None:
    with torch.no_grad():
        ids = sd.tokenizers["text_encoder"](
            PROMPTS, padding="max_length", return_tensors="pt"
        ).input_ids
        out = sd.towers["text_encoder"](ids, output_hidden_states=True)
        expected = sd.towers["text_encoder"].final_layer_norm(out.hidden_states[-2])
        assert torch.equal(sd.encode_text(PROMPTS, clip_skip=1)["context"], expected)
        assert torch.equal(sd.encode_text(PROMPTS)["context"], out.last_hidden_state)


def test_long_prompts_are_encoded_block_by_block(family: ModelFamily) -> None:
    letters = "a" * 100  # 100 tokens: 75 in the first block, 25 in the second
    assert family.num_chunks([letters]) == 2
    assert family.num_chunks(["a", ""]) == 1
    with torch.no_grad():
        both = family.encode_text([letters], FACTS[:1], chunks=2)["context"]
        cut = family.encode_text([letters], FACTS[:1], chunks=1)["context"]
    assert both.shape[1] == 154
    assert torch.allclose(both[:, :77], cut, atol=1e-6)
    assert not torch.allclose(both[:, 77:], cut, atol=1e-3)


def test_predict_is_the_unet(family: ModelFamily) -> None:
    rng = torch.Generator().manual_seed(0)
    x, t = torch.randn(2, 4, 8, 8, generator=rng), torch.tensor([3, 700])
    with torch.no_grad():
        cond = family.encode_text(PROMPTS, FACTS)
        pipe = pipeline(family)
        more = {}
        if family.name == "sdxl":
            added = {"text_embeds": cond["pooled"], "time_ids": cond["size_ids"]}
            more = {"added_cond_kwargs": added}
        expected = pipe.unet(x, t, encoder_hidden_states=cond["context"], **more).sample
        assert torch.equal(family.predict(x, t, cond), expected)


def test_images_there_and_back_are_the_vae(family: ModelFamily) -> None:
    pixels = torch.rand(2, 3, 64, 48) * 2 - 1
    mean, std = family.encode_images(pixels)
    vae = pipeline(family).vae
    with torch.no_grad():
        posterior = vae.encode(pixels).latent_dist
        scale = vae.config.scaling_factor
        assert torch.allclose(mean, posterior.mean * scale, atol=1e-6)
        assert torch.allclose(std, posterior.std * scale)
        expected = vae.decode(mean / scale).sample.clamp(-1, 1)
    assert mean.shape == (2, 4, 8, 6)
    assert torch.allclose(family.decode(mean), expected, atol=1e-4)


def test_text_facts_need_no_weights(family: ModelFamily) -> None:
    facts = read_text_facts(family.base)
    assert (facts.native_size, facts.max_tokens) == (family.native_size, family.max_tokens)
    assert facts.token_pieces(PROMPTS[1]) == family.token_pieces(PROMPTS[1])


def test_canonical_module_names(family: ModelFamily) -> None:
    for tower in family.towers:
        modules = family.modules(tower)
        assert modules
        assert all(isinstance(m, (nn.Linear, nn.Conv2d)) for m in modules.values())
        if tower != "unet":
            assert all(name.startswith("text_model.encoder.layers.") for name in modules)


def test_gradients_flow_through_text_and_latents(family: ModelFamily) -> None:
    x = torch.randn(2, 4, 8, 8, requires_grad=True)
    layer = next(iter(family.modules("text_encoder").values()))
    layer.weight.requires_grad_(True)
    cond = family.encode_text(PROMPTS, FACTS)
    family.predict(x, torch.tensor([1, 2]), cond).square().mean().backward()
    assert x.grad is not None
    assert x.grad.abs().sum() > 0
    assert layer.weight.grad is not None
    assert layer.weight.grad.abs().sum() > 0


def test_tokens_of_any_text(family: ModelFamily) -> None:
    assert family.token_pieces("") == []
    assert len(family.token_pieces("kaiffin")) == 7
    assert family.token_pieces("犬🐧")


def test_the_prediction_type_is_the_bases_own(sd_v_path: Path, sd: ModelFamily) -> None:
    assert load_tiny(sd_v_path).schedule.prediction_type == "v_prediction"
    assert sd.schedule.prediction_type == "epsilon"


# --- finding bases ----------------------------------------------------------------------------


def loaded(name: object, **more: object) -> ModelFamily:
    base = BaseConfig(name=str(name), device="cpu", **more)
    return load(base, Runtime.from_config(base))


def test_an_external_vae(sd_path: Path, sd_v_path: Path, tmp_path: Path) -> None:
    import tiny

    other = tiny.tiny_sd(tmp_path / "other", seed=9)
    family = loaded(sd_path, vae=str(other / "vae"))
    weight = next(family.vae.parameters())
    assert torch.equal(weight, next(load_tiny(other).vae.parameters()))
    assert family.revision != load_tiny(sd_path).revision
    with pytest.raises(MissingWeightsError, match="nowhere"):
        loaded(sd_path, vae="nowhere/at-all")


@pytest.mark.parametrize("name", ["sd15", "sdxl", "someone/some-model"])
def test_a_base_that_is_not_here_says_what_to_put_where(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(MissingWeightsError, match="is not on this machine") as caught:
        resolve.locate(name)
    assert "model_index.json" in str(caught.value)
    assert "hf download" in str(caught.value)


def test_names_that_mean_nothing() -> None:
    with pytest.raises(MissingWeightsError, match='Did you mean "sd15"'):
        resolve.locate("sd-15")
    with pytest.raises(MissingWeightsError, match="no folder, no file"):
        resolve.locate("./gone/folder/x")


def test_broken_folders(sd_path: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(MissingWeightsError, match=r"model_index\.json"):
        resolve.locate(str(tmp_path / "empty"))
    copy = tmp_path / "copy"
    shutil.copytree(sd_path, copy)
    weights = copy / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    with pytest.raises(MissingWeightsError, match=r"unet: holds no \.safetensors"):
        loaded(copy)
    (copy / "model_index.json").write_text(json.dumps({"_class_name": "FluxPipeline"}))
    with pytest.raises(MissingWeightsError, match="is a FluxPipeline"):
        resolve.locate(str(copy))


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


@pytest.mark.parametrize("suffix", [".ckpt", ".pt", ".bin"])
def test_pickled_checkpoints_are_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"model{suffix}"
    path.write_bytes(b"anything")
    with pytest.raises(MissingWeightsError, match="pickles"):
        resolve.locate(str(path))


def test_files_that_are_no_base(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    with pytest.raises(MissingWeightsError, match="no such file"):
        resolve.locate(str(path))
    path.write_bytes(b"x" * 100)
    with pytest.raises(MissingWeightsError, match="not a readable safetensors"):
        resolve.locate(str(path))
    save_file({"lora_unet_x.alpha": torch.ones(1)}, path)
    with pytest.raises(MissingWeightsError, match="goes to --adapter"):
        resolve.locate(str(path))
    first = "model.diffusion_model.input_blocks.0.0.weight"
    save_file({first: torch.zeros(320, 9, 3, 3)}, path)
    with pytest.raises(MissingWeightsError, match="inpainting"):
        resolve.locate(str(path))
    save_file({first: torch.zeros(320, 4, 3, 3), "cond_stage_model.model.x": torch.ones(1)}, path)
    with pytest.raises(MissingWeightsError, match="text encoder is of another kind"):
        resolve.locate(str(path))


def test_a_single_checkpoint_file(sd_path: Path, tmp_path: Path) -> None:
    """The same weights under the original names give the same numbers."""
    import tiny

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
    import tiny

    file = tiny.tiny_single_file(sd_path, tmp_path / "model.safetensors")
    tensors = load_file(file)
    lost = max(n for n in tensors if n.startswith(part) and n.endswith(".weight"))
    save_file({n: t for n, t in tensors.items() if n != lost}, file)
    with pytest.raises(MissingWeightsError, match="missing"):
        loaded(file)


def test_a_single_file_without_a_tokenizer_says_what_to_put_where(
    sd_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tiny

    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *a, **k: None)
    file = tiny.tiny_single_file(sd_path, tmp_path / "model.safetensors")
    shutil.rmtree(file.with_suffix(".config") / "tokenizer")
    with pytest.raises(MissingWeightsError, match=r"vocab\.json and merges\.txt"):
        loaded(file)
    tiny.write_tokenizer(tmp_path / "tokenizer")
    assert loaded(file).token_pieces("a") == ["a</w>"]


@pytest.mark.parametrize("name", ["sd1", "sdxl"])
def test_the_kept_configurations_are_the_published_sizes(name: str) -> None:
    """Weight counts of the real models: 859.5 M and 2,567 M in the UNet, 83.7 M in the VAE."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    from kaiffin.models.files.resolve import CONFIGS

    folder = CONFIGS / name
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(str(folder / "unet"))
        vae = AutoencoderKL.from_config(str(folder / "vae"))
        text = CLIPTextModel(CLIPTextConfig.from_pretrained(str(folder / "text_encoder")))
    counts = [sum(p.numel() for p in model.parameters()) for model in (unet, vae, text)]
    expected = {"sd1": 859_520_964, "sdxl": 2_567_463_684}[name]
    assert counts == [expected, 83_653_863, 123_060_480]
