"""There and back again, bit for bit; and each layout opened by the library it belongs to."""

from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline, UNet2DConditionModel
from made_adapters import FACTS, header, opened, output, same, varied, with_ours, written
from peft import PeftModel
from safetensors.torch import load_file, save_file

from kaiffin.adapters.files import reading, safe, writing
from kaiffin.adapters.kinds import kohya_split
from kaiffin.adapters.load import load_adapter
from kaiffin.adapters.stack import full_modules
from kaiffin.foundation.errors import AdapterError
from kaiffin.models.base import ModelFamily
from kaiffin.models.families.spec import SPECS


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
        with pytest.raises(AdapterError, match=r"1 layer is lo(ha|kr)"):
            writing.write(found, tmp_path / "c", layout)
    with pytest.raises(
        AdapterError, match=r"(to_q\.hada_w1_a: shape|to_k makes).*where this base needs"
    ):
        load_adapter(tmp_path / "a.safetensors", sd)


@pytest.mark.parametrize("kind", ["sd", "sdxl"])
def test_diffusers_opens_kohyas_file_to_the_same_numbers(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
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
        cond = family.encode_text(["a photo of a dog"], FACTS[:1])
        theirs = pipe.encode_prompt(
            "a photo of a dog",
            device="cpu",
            num_images_per_prompt=1,
            do_classifier_free_guidance=False,
        )[0]
        assert torch.allclose(cond["context"], theirs, atol=1e-5)
        x = torch.randn(1, 4, 8, 8)
        names = {"text_embeds": "pooled", "time_ids": "size_ids"} if kind == "sdxl" else {}
        added = {theirs_: cond[ours] for theirs_, ours in names.items()}
        out = pipe.unet(x, 500, encoder_hidden_states=theirs, added_cond_kwargs=added).sample
        assert torch.allclose(family.predict(x, torch.tensor([500]), cond), out, atol=1e-5)


def _diffusers_kohya(key: str) -> str:
    name, part = kohya_split(key)
    tower, _, path = name.partition(".")
    return f"{SPECS['sdxl'].towers[tower].kohya}_{path.replace('.', '_')}.{part}"


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
