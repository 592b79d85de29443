"""Adapter files: kohya's names from our own table, read back by others, hostile files refused."""

import contextlib
import json
import struct
from pathlib import Path

import pytest
import torch
from diffusers import (
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from test_lora import made, randomise

from kaiffin.adapters.files import names, reading, safe, writing
from kaiffin.adapters.kinds import _kohya_split
from kaiffin.adapters.load import load_adapter, was_trained_on
from kaiffin.adapters.lora import Lora
from kaiffin.adapters.stack import full_modules
from kaiffin.adapters.targets import LoraSpec, select
from kaiffin.foundation.errors import AdapterError
from kaiffin.models.base import ModelFamily, SizeFacts
from kaiffin.models.families.spec import TOWERS

FACTS = [SizeFacts((64, 64), (0, 0), (64, 64))]
SD1_UNET = {
    "sample_size": 64, "cross_attention_dim": 768, "attention_head_dim": 8,
    "block_out_channels": (320, 640, 1280, 1280),
}  # fmt: skip
SDXL_UNET = {
    "sample_size": 128, "cross_attention_dim": 2048, "attention_head_dim": (5, 10, 20),
    "block_out_channels": (320, 640, 1280), "transformer_layers_per_block": (1, 2, 10),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "use_linear_projection": True, "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256, "projection_class_embeddings_input_dim": 2816,
}  # fmt: skip


def header(family: ModelFamily) -> dict[str, str]:
    return writing.metadata(
        family.name, rank=4, alpha=6.0, title="t", trigger="kaiffin puffin", resolution=(64, 64),
        prediction_type="epsilon", base_name="b", base_revision=family.revision, facts={"steps": 3},
    )  # fmt: skip


def written(family: ModelFamily, path: Path, targets: str = "all-linear") -> Lora:
    adapter = made(family, targets)
    randomise(adapter)
    shared = reading.from_state(adapter.state(), family.name)
    tensors = writing.to_kohya(shared, family.layers_per_block)
    safe.save(path, tensors, header(family))
    return adapter


def meta_unet(config: dict) -> dict[str, torch.nn.Module]:
    with torch.device("meta"):
        unet = UNet2DConditionModel(**config)
    kinds = (torch.nn.Linear, torch.nn.Conv2d)
    return {f"unet.{n}": m for n, m in unet.named_modules() if isinstance(m, kinds)}


@pytest.fixture(scope="module")
def sd1_modules() -> dict[str, torch.nn.Module]:
    return meta_unet(SD1_UNET)


@pytest.fixture(scope="module")
def sdxl_modules() -> dict[str, torch.nn.Module]:
    return meta_unet(SDXL_UNET)


def test_trainable_counts_of_the_real_sd1_unet(sd1_modules) -> None:
    """797,184 weights at rank 4 and 25,509,888 at rank 128 on attention: published numbers."""
    found = select("attention", sd1_modules, "unet")
    assert len(found) == 128
    weights = sum(sum(sd1_modules[n].weight.shape) for n in found)
    assert 4 * weights == 797_184
    assert 128 * weights == 25_509_888


def test_kohya_names_of_the_real_sd1_unet(sd1_modules) -> None:
    found = select("all-linear", sd1_modules, "unet")
    assert len(select("all-linear+conv", sd1_modules, "unet")) == 278
    kohya = {names.kohya_name(n, "sd1") for n in found}
    assert len(kohya) == len(found) == 192
    assert "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_out_0" in kohya
    assert "lora_unet_mid_block_attentions_0_transformer_blocks_0_ff_net_0_proj" in kohya
    assert "lora_unet_up_blocks_3_attentions_2_proj_out" in kohya


def test_kohya_names_of_the_real_sdxl_unet(sdxl_modules) -> None:
    found = select("all-linear", sdxl_modules, "unet")
    assert len(select("all-linear+conv", sdxl_modules, "unet")) == 788
    kohya = {names.kohya_name(n, "sdxl") for n in found}
    assert len(kohya) == len(found) == 722
    blocks = {"_".join(n.removeprefix("lora_unet_").split("_")[:3]) for n in kohya}
    expected = {f"input_blocks_{i}" for i in (4, 5, 7, 8)} | {"middle_block_1"}
    assert blocks == expected | {f"output_blocks_{i}" for i in range(6)}
    for name in sdxl_modules:  # convolutions and embeddings have homes, too
        names.kohya_name(name, "sdxl")


@pytest.mark.parametrize(
    ("diffusers", "original"),
    [
        ("down_blocks.1.attentions.0.proj_in", "input_blocks.4.1.proj_in"),
        ("down_blocks.2.attentions.1.norm", "input_blocks.8.1.norm"),
        ("down_blocks.0.resnets.1.conv1", "input_blocks.2.0.in_layers.2"),
        ("down_blocks.1.downsamplers.0.conv", "input_blocks.6.0.op"),
        ("mid_block.resnets.0.time_emb_proj", "middle_block.0.emb_layers.1"),
        ("mid_block.attentions.0.proj_out", "middle_block.1.proj_out"),
        ("mid_block.resnets.1.conv2", "middle_block.2.out_layers.3"),
        ("up_blocks.0.resnets.2.conv_shortcut", "output_blocks.2.0.skip_connection"),
        ("up_blocks.1.upsamplers.0.conv", "output_blocks.5.2.conv"),
        ("add_embedding.linear_2", "label_emb.0.2"),
    ],
)
def test_sgm_paths(diffusers: str, original: str) -> None:
    assert names.sgm_path(diffusers) == original


def test_text_encoder_prefixes(sd: ModelFamily, sdxl: ModelFamily) -> None:
    """SD 1.x says lora_te, SDXL lora_te1 and lora_te2, and `text_model` is always there:
    transformers 5.6 dropped it from one of the classes, which silences ComfyUI's text half."""
    for family, prefixes in ((sd, {"lora_te"}), (sdxl, {"lora_te1", "lora_te2"})):
        found = [names.kohya_name(n, family.name) for n in full_modules(family) if "text" in n]
        assert {n.split("_text_model_")[0] for n in found} == prefixes
        assert all("_text_model_encoder_layers_" in n for n in found)


def test_file_round_trip_is_exact(family: ModelFamily, tmp_path: Path) -> None:
    adapter = written(family, tmp_path / "a.safetensors", "all-linear+conv")
    again = load_adapter(tmp_path / "a.safetensors", family).adapters[""]
    assert set(again.layers) == set(adapter.layers)
    for key, value in again.state().items():
        assert torch.equal(value, adapter.state()[key]), key
    assert was_trained_on(tmp_path / "a.safetensors", family)


def test_equal_content_gives_equal_bytes(sd: ModelFamily, tmp_path: Path) -> None:
    for name in ("a", "b"):
        written(sd, tmp_path / f"{name}.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


@pytest.mark.parametrize("kind", ["sd", "sdxl"])
def test_diffusers_opens_it_to_the_same_numbers(kind: str, request, tmp_path: Path) -> None:
    family: ModelFamily = request.getfixturevalue(kind)
    path = tmp_path / "a.safetensors"
    # diffusers maps SDXL's original block numbers by the real model's block count only.
    adapter = written(family, path)
    if kind == "sdxl":
        named = {_diffusers_kohya(key): value for key, value in adapter.state().items()}
        safe.save(path, named, header(family))
    cls = StableDiffusionPipeline if kind == "sd" else StableDiffusionXLPipeline
    pipe = cls.from_pretrained(str(request.getfixturevalue(f"{kind}_path")))
    pipe.load_lora_weights(str(tmp_path), weight_name="a.safetensors")
    matched = sum("lora_A" in n for n, _ in pipe.unet.named_parameters())
    assert matched == sum(n.startswith("unet.") for n in adapter.layers)
    adapter.inject(full_modules(family))
    with torch.no_grad():
        cond = family.encode_text(["a photo of a dog"], FACTS)
        theirs = pipe.encode_prompt(
            "a photo of a dog",
            device="cpu",
            num_images_per_prompt=1,
            do_classifier_free_guidance=False,
        )[0]
        assert torch.allclose(cond["context"], theirs, atol=1e-5)
        x = torch.randn(1, 4, 8, 8)
        added = (
            {"text_embeds": cond["pooled"], "time_ids": cond["size_ids"]}
            if kind == "sdxl"
            else None
        )
        out = pipe.unet(x, 500, encoder_hidden_states=theirs, added_cond_kwargs=added).sample
        assert torch.allclose(family.predict(x, torch.tensor([500]), cond), out, atol=1e-5)


def _diffusers_kohya(key: str) -> str:
    name, part = _kohya_split(key)
    tower, _, path = name.partition(".")
    return f"{TOWERS['sdxl'][tower]}_{path.replace('.', '_')}.{part}"


def test_other_spellings_are_read(sd: ModelFamily, tmp_path: Path) -> None:
    adapter = made(sd)
    randomise(adapter)
    state = adapter.state()
    for old, new in (("lora_A", "lora_B"), ("lora.down", "lora.up")):
        theirs = {}
        for key, value in state.items():
            if key.endswith("alpha"):
                continue
            key = key.replace("lora_down", old).replace("lora_up", new)
            theirs[key.replace("text_encoder.text_model.", "text_encoder.")] = value
        save_file(theirs, tmp_path / "d.safetensors")
        again = load_adapter(tmp_path / "d.safetensors", sd).adapters[""]
        assert set(again.layers) == set(adapter.layers)
        assert all(layer.alpha == layer.rank for layer in again.layers.values())


def test_metadata_that_readers_need(sd: ModelFamily, sdxl: ModelFamily, tmp_path: Path) -> None:
    for family, version in ((sd, "sd_v1"), (sdxl, "sdxl_base_v1-0")):
        path = tmp_path / f"{family.name}.safetensors"
        written(family, path)
        _, found = safe.read(path)
        assert found["ss_base_model_version"] == version
        assert found["ss_network_module"] == "networks.lora"
        assert (found["ss_network_dim"], found["ss_network_alpha"]) == ("4", "6")
        assert found["modelspec.trigger_phrase"] == "kaiffin puffin"
        assert len(found["sshs_model_hash"]) == 64
        assert all(isinstance(value, str) for value in found.values())
        assert not any("/" in v and v.startswith("/") for v in found.values())


def test_the_model_hash_is_that_of_the_tensor_bytes(sd: ModelFamily, tmp_path: Path) -> None:
    """As sd-scripts computes it: SHA-256 of the file after its header."""
    import hashlib

    path = tmp_path / "a.safetensors"
    written(sd, path)
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    expected = hashlib.sha256(data[8 + length :]).hexdigest()
    assert safe.read(path)[1]["sshs_model_hash"] == expected


def test_an_adapter_of_another_base_is_named(
    sd: ModelFamily, sdxl: ModelFamily, tmp_path: Path
) -> None:
    written(sdxl, tmp_path / "xl.safetensors")
    with pytest.raises(AdapterError, match=r"xl\.safetensors: was made for sdxl"):
        load_adapter(tmp_path / "xl.safetensors", sd)
    tensors, _ = safe.read(tmp_path / "xl.safetensors")
    save_file(tensors, tmp_path / "bare.safetensors")
    with pytest.raises(AdapterError, match="have no home in this base"):
        load_adapter(tmp_path / "bare.safetensors", sd)
    written(sd, tmp_path / "sd.safetensors")
    tensors, _ = safe.read(tmp_path / "sd.safetensors")
    wide = {k: torch.zeros(v.shape[0], 999) if "lora_down" in k else v for k, v in tensors.items()}
    save_file(wide, tmp_path / "wide.safetensors")
    with pytest.raises(AdapterError, match="999"):
        load_adapter(tmp_path / "wide.safetensors", sd)


@pytest.mark.parametrize("suffix", [".bin", ".pt", ".ckpt"])
def test_pickles_are_refused_unopened(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"cos\nsystem\n(S'exit 1'\ntR.")
    with pytest.raises(AdapterError, match="pickle"):
        safe.read(path)


def test_defects_are_named(sd: ModelFamily, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    with pytest.raises(AdapterError, match="cannot be read"):
        safe.read(path)
    path.write_bytes(b"")
    with pytest.raises(AdapterError, match="cut off"):
        safe.read(path)
    path.write_bytes(struct.pack("<Q", 2**60) + b"{}")
    with pytest.raises(AdapterError, match="cut off"):
        safe.read(path)
    written(sd, path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(AdapterError, match=r"a\.safetensors"):
        safe.read(path)
    written(sd, path)
    tensors = load_file(path)
    key = next(k for k in tensors if k.endswith("lora_up.weight"))
    save_file({**tensors, key: tensors[key] * float("nan")}, path)
    with pytest.raises(AdapterError, match=f"{key} holds numbers that are not finite"):
        safe.read(path)
    save_file({k: v for k, v in tensors.items() if k != key}, path)
    with pytest.raises(AdapterError, match="lora_up is missing"):
        load_adapter(path, sd)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.binary(max_size=200), cut=st.integers(0, 400))
def test_no_file_crashes_the_reader(tmp_path: Path, data: bytes, cut: int) -> None:
    path = tmp_path / "fuzz.safetensors"
    good = json.dumps({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    whole = struct.pack("<Q", len(good)) + good + b"\0" * 8
    for content in (data, whole[: cut % len(whole)] + data, struct.pack("<Q", len(data)) + data):
        path.write_bytes(content)
        with contextlib.suppress(AdapterError):
            safe.read(path)


def test_specs_per_tower(sd: ModelFamily) -> None:
    specs = {"unet": LoraSpec("attention", 8, 8.0), "text_encoder": LoraSpec("attention", 2, 4.0)}
    adapter = Lora.create(specs, full_modules(sd), seed=0)
    ranks = {n.split(".")[0]: layer.rank for n, layer in adapter.layers.items()}
    assert ranks == {"unet": 8, "text_encoder": 2}
