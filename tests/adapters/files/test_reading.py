"""Every spelling of an adapter is read, and what is incomplete is named."""

from pathlib import Path

import pytest
import torch
from diffusers import (
    UNet2DConditionModel,
)
from made_adapters import made, opened, output, randomise, same, varied, with_ours
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file

from kaiffin.adapters.files import safe, writing
from kaiffin.adapters.load import load_adapter
from kaiffin.foundation.errors import AdapterError
from kaiffin.models.base import ModelFamily


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


def test_the_oldest_diffusers_spelling(sd: ModelFamily, tmp_path: Path) -> None:
    start = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.processor"
    width = sd.net.config.block_out_channels[0]
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


def test_the_same_layer_twice_is_refused(sd: ModelFamily, tmp_path: Path) -> None:
    writing.write(varied(sd), tmp_path / "a.safetensors", "kohya")
    tensors, _ = safe.read(tmp_path / "a.safetensors")
    twice = {n.replace("lora_te_", "lora_te1_"): t.clone() for n, t in tensors.items()}
    save_file(tensors | twice, tmp_path / "b.safetensors")
    with pytest.raises(AdapterError, match="twice"):
        opened(tmp_path / "b.safetensors", sd)


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


LAYER = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"


def test_a_kind_that_is_unknown_is_no_incomplete_file(sd: ModelFamily, tmp_path: Path) -> None:
    """GLoRA: strays, alpha and all."""
    tensors = {f"{LAYER}.{part}.weight": torch.ones(2, 2) for part in ("a1", "b1")}
    save_file(tensors | {f"{LAYER}.alpha": torch.tensor(2.0)}, tmp_path / "a.safetensors")
    found = opened(tmp_path / "a.safetensors", sd)
    assert not found.modules
    assert len(found.strays) == 3
    for skip, said in ((False, "3 keys are GLoRA.*"), (True, "nothing is left without .*")):
        with pytest.raises(AdapterError, match=rf"{said}\. There is no way to use it here\.$"):
            load_adapter(tmp_path / "a.safetensors", sd, skip_unknown=skip)


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        ({"emb_params": (2, 32)}, "is a textual inversion embedding"),
        ({"clip_l": (2, 32), "clip_g": (2, 32)}, "is a textual inversion embedding"),
        ({f"{LAYER}.alpha": ()}, "has no weights"),
        ({f"{LAYER}.lora_down.weight": (2, 32)}, "lora_up is missing"),
        ({f"{LAYER}.lora_up.weight": (32, 2)}, "lora_down is missing"),
    ],
)
def test_what_it_is_or_lacks_is_named(
    tensors: dict, said: str, sd: ModelFamily, tmp_path: Path
) -> None:
    path = tmp_path / "a.safetensors"
    save_file({key: torch.ones(shape) for key, shape in tensors.items()}, path)
    with pytest.raises(AdapterError, match=said):
        opened(path, sd)
