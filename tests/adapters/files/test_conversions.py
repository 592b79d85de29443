"""There and back again, bit for bit; and each layout opened by the library it belongs to."""

from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline, UNet2DConditionModel
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from test_lora import made, randomise
from torch import Tensor

from kaiffin.adapters.files import reading, safe, writing
from kaiffin.adapters.files.reading import AdapterFile
from kaiffin.adapters.load import load_adapter, table_of
from kaiffin.foundation.errors import AdapterError
from kaiffin.models.base import ModelFamily, SizeFacts

HEADER = {"ss_network_dim": "4", "modelspec.trigger_phrase": "kaiffin", "ss_sd_model_name": "b"}


def varied(family: ModelFamily, dtype: torch.dtype = torch.float32) -> AdapterFile:
    """All layers of all towers, ranks and alphas that differ from layer to layer."""
    adapter = made(family, "all-linear")
    randomise(adapter)
    found = reading.from_state(adapter.state(), family.name, HEADER)
    for i, parts in enumerate(found.modules.values()):
        keep = 1 + i % parts["lora_down.weight"].shape[0]
        parts["lora_down.weight"] = parts["lora_down.weight"][:keep].to(dtype)
        parts["lora_up.weight"] = parts["lora_up.weight"][:, :keep].to(dtype)
        parts["alpha"] = torch.tensor([1.0, 2.5, 6.0][i % 3], dtype=dtype)
    return found


def opened(path: Path, family: ModelFamily) -> AdapterFile:
    return reading.read(path, table_of(family))


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return set(a) == set(b) and all(a[n].dtype == b[n].dtype and a[n].equal(b[n]) for n in a)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("layout", ["peft", "diffusers"])
def test_there_and_back_again(
    family: ModelFamily, layout: reading.Layout, dtype: torch.dtype, tmp_path: Path
) -> None:
    first, other = tmp_path / "a.safetensors", tmp_path / "other.safetensors"
    writing.write(varied(family, dtype), first, "kohya", family.layers_per_block)
    writing.write(opened(first, family), other, layout, family.layers_per_block)
    back = tmp_path / "b.safetensors"
    found = opened(other, family)
    assert found.layout == layout
    assert not found.strays
    writing.write(found, back, "kohya", family.layers_per_block)
    assert back.read_bytes() == first.read_bytes()


@torch.no_grad()
def output(family: ModelFamily, unet=None) -> Tensor:
    """One denoiser output on fixed inputs."""
    rng = torch.Generator().manual_seed(0)
    x, t = torch.randn(1, 4, 8, 8, generator=rng), torch.tensor([400])
    cond = family.encode_text(["a dog"], [SizeFacts((64, 64), (0, 0), (64, 64))])
    kept, family.unet = family.unet, unet or family.unet
    try:
        return family.predict(x, t, cond)
    finally:
        family.unet = kept


def with_ours(family: ModelFamily, path: Path) -> Tensor:
    adapter = load_adapter(path, family)
    adapter.inject(family)
    try:
        return output(family)
    finally:
        adapter.eject()


def test_diffusers_opens_its_file_to_the_same_numbers(family: ModelFamily, tmp_path: Path) -> None:
    path = tmp_path / "pytorch_lora_weights.safetensors"
    writing.write(varied(family), path, "diffusers", family.layers_per_block)
    ours, before = with_ours(family, path), output(family)
    cls = StableDiffusionXLPipeline if family.name == "sdxl" else StableDiffusionPipeline
    pipeline = cls.from_pretrained(family.base)
    pipeline.load_lora_weights(str(path))
    unet, family.encoders["text_encoder"] = pipeline.unet, pipeline.text_encoder
    if family.name == "sdxl":
        family.encoders["text_encoder_2"] = pipeline.text_encoder_2
    theirs = output(family, unet)
    assert torch.allclose(ours, theirs, atol=1e-5)
    assert not torch.allclose(ours, before, atol=1e-3)


def test_peft_opens_its_folder_to_the_same_numbers(family: ModelFamily, tmp_path: Path) -> None:
    found = varied(family)
    found.modules = {n: parts for n, parts in found.modules.items() if n.startswith("unet.")}
    writing.write(found, tmp_path / "peft", "peft", family.layers_per_block)
    assert {p.name for p in (tmp_path / "peft").iterdir()} == {
        "adapter_config.json", "adapter_model.safetensors",
    }  # fmt: skip
    ours = with_ours(family, tmp_path / "peft")
    unet = UNet2DConditionModel.from_pretrained(family.base, subfolder="unet")
    theirs = output(family, PeftModel.from_pretrained(unet, str(tmp_path / "peft")))
    assert torch.allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("flags", [{"use_dora": True}, {"use_rslora": True}, {}], ids=str)
def test_a_folder_that_peft_wrote(sd: ModelFamily, flags: dict, tmp_path: Path) -> None:
    """DoRA's magnitudes and rsLoRA's scale survive; there and back again is exact."""
    unet = UNet2DConditionModel.from_pretrained(sd.base, subfolder="unet")
    targets = ["to_q", "to_v", "conv1"]
    model = get_peft_model(unet, LoraConfig(r=4, lora_alpha=7, target_modules=targets, **flags))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.02)
    model.save_pretrained(str(tmp_path / "theirs"))
    found = opened(tmp_path / "theirs", sd)
    assert not found.strays
    assert found.kinds() == {"dora" if flags.get("use_dora") else "lora": len(found.modules)}
    writing.write(found, tmp_path / "a.safetensors", "kohya")
    writing.write(opened(tmp_path / "a.safetensors", sd), tmp_path / "ours", "peft")
    theirs = load_file(tmp_path / "theirs" / "adapter_model.safetensors")
    assert same(theirs, load_file(tmp_path / "ours" / "adapter_model.safetensors"))
    unet = UNet2DConditionModel.from_pretrained(sd.base, subfolder="unet")
    again = PeftModel.from_pretrained(unet, str(tmp_path / "ours"))
    assert torch.allclose(output(sd, again), output(sd, model), atol=1e-6)
    if not flags.get("use_dora"):
        assert torch.allclose(
            with_ours(sd, tmp_path / "a.safetensors"), output(sd, model), atol=1e-5
        )


def test_the_oldest_diffusers_spelling(sd: ModelFamily, tmp_path: Path) -> None:
    start = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.processor"
    width = sd.unet.config.block_out_channels[0]
    tensors = {}
    for layer in ("to_q", "to_out"):
        tensors[f"{start}.{layer}_lora.down.weight"] = torch.randn(2, width)
        tensors[f"{start}.{layer}_lora.up.weight"] = torch.randn(width, 2)
    save_file(tensors, tmp_path / "old.safetensors")
    found = opened(tmp_path / "old.safetensors", sd)
    block = start.removesuffix(".processor")
    assert set(found.modules) == {f"{block}.to_q", f"{block}.to_out.0"}


def test_text_layers_spelled_without_text_model(sd: ModelFamily, tmp_path: Path) -> None:
    """What transformers >= 5.6 made programs write: read, and said that others ignore it."""
    writing.write(varied(sd), tmp_path / "a.safetensors", "kohya")
    tensors, header = safe.read(tmp_path / "a.safetensors")
    wrong = {n.replace("lora_te_text_model_", "lora_te_"): t for n, t in tensors.items()}
    safe.save(tmp_path / "b.safetensors", wrong, header)
    found = opened(tmp_path / "b.safetensors", sd)
    assert not found.strays
    assert len(found.misspelled) == sum(n.startswith("lora_te_") for n in tensors)
    writing.write(found, tmp_path / "mended.safetensors", "kohya")
    assert (tmp_path / "mended.safetensors").read_bytes() == (
        tmp_path / "a.safetensors"
    ).read_bytes()


def test_lycoris_is_kept_by_kohya_and_refused_by_name_elsewhere(
    sd: ModelFamily, tmp_path: Path
) -> None:
    name = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"
    hada = {f"{name}.hada_w{i}_{side}": torch.randn(3, 3) for i in (1, 2) for side in "ab"}
    other = name.replace("to_q", "to_k")
    lokr = {f"{other}.lokr_w1": torch.randn(2, 2), f"{other}.lokr_w2": torch.randn(4, 4)}
    alphas = {f"{n}.alpha": torch.tensor(1.0) for n in (name, other)}
    token = {"bundle_emb.<puffin>.string_to_param.*": torch.randn(2, 16)}
    save_file({**hada, **lokr, **alphas, **token}, tmp_path / "a.safetensors")
    found = opened(tmp_path / "a.safetensors", sd)
    assert found.kinds() == {"loha": 1, "lokr": 1}
    assert list(found.embeddings) == ["<puffin>.string_to_param.*"]
    writing.write(found, tmp_path / "b.safetensors", "kohya")
    assert same(load_file(tmp_path / "a.safetensors"), load_file(tmp_path / "b.safetensors"))
    for layout in ("peft", "diffusers"):
        with pytest.raises(AdapterError, match=r"1 modules are lo(ha|kr)"):
            writing.write(found, tmp_path / "c", layout)
    with pytest.raises(
        AdapterError, match=r"(to_q\.hada_w1_a: shape|to_k makes).*where this base needs"
    ):
        load_adapter(tmp_path / "a.safetensors", sd)


def test_the_same_layer_twice_is_refused(sd: ModelFamily, tmp_path: Path) -> None:
    writing.write(varied(sd), tmp_path / "a.safetensors", "kohya")
    tensors, _ = safe.read(tmp_path / "a.safetensors")
    twice = {n.replace("lora_te_", "lora_te1_"): t.clone() for n, t in tensors.items()}
    save_file(tensors | twice, tmp_path / "b.safetensors")
    with pytest.raises(AdapterError, match="twice"):
        opened(tmp_path / "b.safetensors", sd)
