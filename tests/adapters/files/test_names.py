"""kohya's names come from our own table, for tiny and for real bases."""

import pytest

from kaiffin.adapters.files import names
from kaiffin.adapters.files.tables import published
from kaiffin.adapters.stack import full_modules
from kaiffin.adapters.targets import select
from kaiffin.foundation.errors import AdapterError
from kaiffin.models.base import ModelFamily

SD1, SDXL = (published(family).layers for family in ("sd1", "sdxl"))


def test_kohya_names_of_the_real_sd1_unet() -> None:
    found = select("all-linear", SD1, "unet")
    assert len(select("all-linear+conv", SD1, "unet")) == 278
    kohya = {names.kohya_name(n, "sd1") for n in found}
    assert len(kohya) == len(found) == 192
    assert "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_out_0" in kohya
    assert "lora_unet_mid_block_attentions_0_transformer_blocks_0_ff_net_0_proj" in kohya
    assert "lora_unet_up_blocks_3_attentions_2_proj_out" in kohya


def test_kohya_names_of_the_real_sdxl_unet() -> None:
    found = select("all-linear", SDXL, "unet")
    assert len(select("all-linear+conv", SDXL, "unet")) == 788
    kohya = {names.kohya_name(n, "sdxl") for n in found}
    assert len(kohya) == len(found) == 722
    blocks = {"_".join(n.removeprefix("lora_unet_").split("_")[:3]) for n in kohya}
    expected = {f"input_blocks_{i}" for i in (4, 5, 7, 8)} | {"middle_block_1"}
    assert blocks == expected | {f"output_blocks_{i}" for i in range(6)}
    for family, table in (("sd1", SD1), ("sdxl", SDXL)):  # convolutions have homes, too
        spelled = [names.kohya_name(name, family) for name in table]
        assert len(set(spelled)) == len(table)
        homes = names.homes(table, family)
        assert [homes[name] for name in spelled] == list(table)


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


def test_counts_of_text_layers() -> None:
    """72 on SD 1.x; 72 and 192 on SDXL: what other programs train and read."""
    for table, counts in ((SD1, {"text_encoder": 72}),
                          (SDXL, {"text_encoder": 72, "text_encoder_2": 192})):  # fmt: skip
        for tower, count in counts.items():
            assert len(select("all-linear", table, tower)) == count


def test_what_is_no_layer_has_no_name() -> None:
    for name in ("vae.conv_in", "unet"):
        with pytest.raises(AdapterError, match="has no name in kohya's format"):
            names.kohya_name(name, "sd1")
    with pytest.raises(AdapterError, match="no name among the original blocks"):
        names.kohya_name("unet.nowhere", "sdxl")


@pytest.mark.parametrize(
    ("key", "kohya", "misspelled"),
    [
        ("lora_unet_mid_block_attentions_0_proj_in", True, False),
        ("lora_te_text_model_encoder_layers_0_mlp_fc1", True, False),
        ("lora_te2_text_model_encoder_layers_0_mlp_fc1", True, False),
        ("lora_te_encoder_layers_0_mlp_fc1", True, True),
        ("lora_te1_encoder_layers_0_mlp_fc1", True, True),
        ("unet.mid_block.attentions.0.proj_in", False, False),
    ],
)
def test_whose_spelling_it_is(key: str, kohya: bool, misspelled: bool) -> None:
    assert names.is_kohya(key) == kohya
    assert names.is_misspelled(key) == misspelled
