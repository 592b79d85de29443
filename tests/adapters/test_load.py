"""A file onto a base: exact, or refused for what is wrong."""

from pathlib import Path

import pytest
import torch
from made_adapters import moved, predict, saved, written
from safetensors.torch import save_file

from kaiffin.adapters.files import safe
from kaiffin.adapters.load import load_adapter, was_trained_on
from kaiffin.adapters.stack import full_modules
from kaiffin.cli.main import main
from kaiffin.foundation.errors import AdapterError
from kaiffin.models.base import ModelFamily

Q = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"  # 32 to 32, of no bias
FC = "lora_te_text_model_encoder_layers_0_mlp_fc1"  # 32 to 64
KINDS = ["rslora", "dora", "loha", "lokr", "oft"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_holds_it_exactly(kind: str, family: ModelFamily, tmp_path: Path) -> None:
    adapter = moved(family, kind)
    path = saved(adapter, family, tmp_path / "a.safetensors")
    again = load_adapter(path, family)
    state = again.adapters[""].state()
    assert set(state) == set(adapter.state())
    assert all(torch.equal(state[key], value) for key, value in adapter.state().items())
    adapter.inject(full_modules(family))
    expected = predict(family)
    adapter.eject()
    again.inject(family)
    assert torch.equal(predict(family), expected)
    again.eject()


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"oft_blocks": (2, 4, 2, 2)}, "BOFT"),
        ({"oft_blocks": (4, 4, 4), "alpha": ()}, "constraint"),
    ],
)
def test_what_is_not_applied_is_said(
    parts: dict, said: str, sd: ModelFamily, tmp_path: Path
) -> None:
    extra = {f"{Q}.{part}": torch.ones(shape) for part, shape in parts.items()}
    save_file(extra, tmp_path / "a.safetensors")
    with pytest.raises(AdapterError, match=said):
        load_adapter(tmp_path / "a.safetensors", sd)


@pytest.mark.parametrize("kind", KINDS)
def test_training_goes_on_from_a_file(
    kind: str, sd: ModelFamily, sd_path: Path, folder: Path, tmp_path: Path
) -> None:
    path = saved(moved(sd, kind, "*.mid_block.*"), sd, tmp_path / "a.safetensors")
    run = tmp_path / "run"
    call = ["train", str(folder), "--base", str(sd_path), "--class", "thing", "--steps", "1",
            "--train.lr", "1e-9", "--out", str(run), "--adapter.init_from", str(path),
            "--train.tensorboard", "false", "--data.prior.weight", "0"]  # fmt: skip
    assert main(call) == 0
    before, after = safe.read(path)[0], safe.read(run / "kaiffin.safetensors")[0]
    assert before.keys() == after.keys()
    assert all(torch.allclose(before[key], after[key], atol=1e-6) for key in before)


def test_file_round_trip_is_exact(family: ModelFamily, tmp_path: Path) -> None:
    adapter = written(family, tmp_path / "a.safetensors", "all-linear+conv")
    again = load_adapter(tmp_path / "a.safetensors", family).adapters[""]
    assert set(again.layers) == set(adapter.layers)
    for key, value in again.state().items():
        assert torch.equal(value, adapter.state()[key]), key
    assert was_trained_on(tmp_path / "a.safetensors", family)


def test_an_adapter_of_another_base_is_named(
    sd: ModelFamily, sdxl: ModelFamily, tmp_path: Path
) -> None:
    written(sdxl, tmp_path / "xl.safetensors")
    with pytest.raises(AdapterError, match=r"xl\.safetensors: was made for sdxl"):
        load_adapter(tmp_path / "xl.safetensors", sd)
    tensors, _ = safe.read(tmp_path / "xl.safetensors")
    save_file(tensors, tmp_path / "bare.safetensors")
    with pytest.raises(AdapterError, match="have no home in SD 1"):
        load_adapter(tmp_path / "bare.safetensors", sd)
    written(sd, tmp_path / "sd.safetensors")
    tensors, _ = safe.read(tmp_path / "sd.safetensors")
    wide = {k: torch.zeros(v.shape[0], 999) if "lora_down" in k else v for k, v in tensors.items()}
    save_file(wide, tmp_path / "wide.safetensors")
    with pytest.raises(AdapterError, match="999"):
        load_adapter(tmp_path / "wide.safetensors", sd)
