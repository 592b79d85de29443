"""For which base a file is: by its header, by its layers, by what is asked for."""

import json
from pathlib import Path

import pytest
import torch
from made_adapters import varied
from safetensors.torch import save_file

from kaiffin.adapters.files import tables, writing
from kaiffin.adapters.files.open import open_file
from kaiffin.foundation.errors import AdapterError, MissingWeightsError
from kaiffin.foundation.tell import SILENT
from kaiffin.models.base import ModelFamily
from kaiffin.models.files.embedded import EMBEDDED

K = "attentions_0_transformer_blocks_0_attn2_to_k"


@pytest.mark.parametrize(
    ("module", "width", "version", "family"),
    [
        (f"lora_unet_mid_block_{K}", 768, "", "sd1"),
        (f"lora_unet_mid_block_{K}", 768, "sd_v1", "sd1"),
        (f"lora_unet_mid_block_{K}", 2048, "", "sdxl"),  # by what it hears
        (f"lora_unet_mid_block_{K}", 768, "sdxl_1.0", "sdxl"),  # the header counts first
        (f"lora_unet_mid_block_{K}", 1024, "sd_v2", "sd1"),  # whose names it has
        ("lora_te2_text_model_encoder_layers_31_mlp_fc1", 1280, "", "sdxl"),
        ("lora_unet_middle_block_1_transformer_blocks_9_attn1_to_q", 1280, "", "sdxl"),
        ("lora_te_text_model_encoder_layers_0_mlp_fc1", 768, "", "sd1"),
    ],
)
def test_the_family_of_a_file(
    module: str, width: int, version: str, family: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.safetensors"
    tensors = {f"{module}.lora_down.weight": torch.ones(1, width),
               f"{module}.lora_up.weight": torch.ones(1280, 1)}  # fmt: skip
    save_file(tensors, path, {"ss_base_model_version": version} if version else None)
    opened = open_file(path, tell=SILENT)
    assert opened.file.family == opened.table.family == family
    assert opened.table == tables.published(family)
    assert list(opened.file.modules) != []


def test_a_base_of_our_own_is_known_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_file({"x": torch.ones(1)}, path, {"ss_sd_model_name": "miniature-xl"})
    assert open_file(path, tell=SILENT).table == tables.of_folder(EMBEDDED["miniature-xl"], "sdxl")


def test_the_base_that_is_asked_for(family: ModelFamily, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    writing.write(varied(family), path, "kohya", family.layers_per_block)
    opened = open_file(path, family.base, tell=SILENT)
    assert opened.table.layers_per_block == family.layers_per_block == 1
    assert not opened.file.strays
    with pytest.raises(MissingWeightsError, match="no known name"):
        open_file(path, "nowhere", tell=SILENT)


def test_a_peft_folder_for_each_tower(family: ModelFamily, tmp_path: Path) -> None:
    """Together, or one that does not say which model it is of."""
    writing.write(varied(family), tmp_path / "peft", "peft")
    opened = open_file(tmp_path / "peft", family.base, tell=SILENT)
    assert set(opened.file.modules) == set(varied(family).modules)
    for tower in ("unet", "text_encoder"):
        alone = open_file(tmp_path / "peft" / tower, family.base, tell=SILENT).file
        assert {name.partition(".")[0] for name in alone.modules} == {tower}


def test_the_second_encoder_is_told_by_its_width(tmp_path: Path) -> None:
    part = "base_model.model.text_model.encoder.layers.0.self_attn.k_proj"
    tensors = {f"{part}.lora_A.weight": torch.ones(1, 1280),
               f"{part}.lora_B.weight": torch.ones(1280, 1)}  # fmt: skip
    save_file(tensors, tmp_path / "adapter_model.safetensors",
              {"ss_base_model_version": "sdxl_base_v1-0"})  # fmt: skip
    config = {"peft_type": "LORA", "lora_alpha": 2}
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    (name,) = open_file(tmp_path, tell=SILENT).file.modules
    assert name.startswith("text_encoder_2.")


def test_a_folder_without_an_adapter(tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match="holds no adapter_model"):
        open_file(tmp_path, tell=SILENT)
    (tmp_path / "adapter_model.bin").write_bytes(b"cos")
    with pytest.raises(AdapterError, match="a pickle"):
        open_file(tmp_path, tell=SILENT)
