"""DoRA, LoHa, LoKr, OFT and rsLoRA against PEFT, and in training."""

import copy
from pathlib import Path

import peft
import pytest
import torch
from made_adapters import (
    of_kind,
    predict,
    randomise,
)
from test_trainer import losses, trainer
from torch import nn

from kaiffin.adapters.layers import LAYERS
from kaiffin.adapters.lora import Lora
from kaiffin.adapters.stack import full_modules
from kaiffin.adapters.targets import LoraSpec
from kaiffin.cli.main import main
from kaiffin.models.base import ModelFamily
from kaiffin.train.state import TrainState

KINDS = ["rslora", "dora", "loha", "lokr", "oft"]


@pytest.mark.parametrize("kind", KINDS)
def test_it_starts_at_the_base_and_leaves_it_as_it_was(kind: str, family: ModelFamily) -> None:
    before = predict(family)
    adapter = of_kind(family, kind)
    adapter.inject(full_modules(family))
    assert torch.allclose(predict(family), before, atol=2e-6)
    randomise(adapter)
    assert not torch.allclose(predict(family), before, atol=1e-3)
    adapter.scale = 0.0
    assert torch.equal(predict(family), before)
    adapter.eject()
    assert torch.equal(predict(family), before)


PEFT = {
    "rslora": peft.LoraConfig(r=4, lora_alpha=6, use_rslora=True, target_modules=["0"]),
    "dora": peft.LoraConfig(r=4, lora_alpha=6, use_dora=True, target_modules=["0"]),
    "loha": peft.LoHaConfig(r=4, alpha=6, target_modules=["0"]),
    "lokr": peft.LoKrConfig(r=2, alpha=6, target_modules=["0"], decompose_factor=-1),
}


OURS = {  # names of the parts -> PEFT's
    "lora_down.weight": "lora_A.default.weight", "lora_up.weight": "lora_B.default.weight",
    "dora_scale": "lora_magnitude_vector.default.weight",
}  # fmt: skip


@pytest.mark.parametrize("conv", [False, True], ids=["linear", "conv"])
@pytest.mark.parametrize("kind", list(PEFT))
def test_one_layer_is_pefts_to_the_gradient(kind: str, conv: bool) -> None:
    torch.manual_seed(0)
    target: nn.Module = nn.Conv2d(16, 24, 3, padding=1, stride=2) if conv else nn.Linear(16, 24)
    x = torch.randn(2, 16, 6, 6) if conv else torch.randn(2, 5, 16)
    theirs = peft.get_peft_model(nn.Sequential(copy.deepcopy(target)), PEFT[kind])
    rank = 2 if kind == "lokr" else 4  # at 4 one factor is whole, and PEFT scales it nonetheless
    specs = {"unet": LoraSpec("*", rank, 6.0, kind=kind)}
    adapter = Lora.create(specs, {"unet.a": target}, seed=0)
    (layer,) = adapter.layers.values()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
        parameters = {n.split("model.0.")[-1]: p for n, p in theirs.named_parameters()}
        pairs = []
        for part, value in layer.tensors().items():
            other = parameters[OURS.get(part, f"{part}.default")]
            other.copy_(value.reshape(other.shape))
            pairs.append((value, other))
    adapter.inject({"unet.a": target})
    ours, expected = target(x), theirs(x)
    assert torch.allclose(ours, expected, atol=1e-5)
    ours.square().sum().backward()
    expected.square().sum().backward()
    for mine, other in pairs:
        assert torch.allclose(mine.grad.flatten(), other.grad.flatten(), rtol=1e-4, atol=1e-3)


def test_oft_turns_and_keeps_lengths() -> None:
    """R is a rotation: the lengths of what it turns and the angles between them stay."""
    target = nn.Linear(10, 12)
    layer = LAYERS["oft"].fresh(target, 4, 0.0, 0.0)
    with torch.no_grad():
        layer.blocks.normal_()
    assert layer.blocks.shape == (4, 3, 3)  # 12 = 4 blocks of 3, the smaller factor
    turned = (target.weight + layer.weight_update(target)).view(4, 3, 10)
    before = target.weight.view(4, 3, 10)
    gram = before.transpose(1, 2) @ before
    assert torch.allclose(turned.transpose(1, 2) @ turned, gram, atol=1e-5)
    assert not torch.allclose(turned, before, atol=1e-2)


@pytest.mark.parametrize("kind", KINDS)
def test_it_learns_and_goes_on_to_the_bit(
    kind: str, sd: ModelFamily, folder: Path, tmp_path: Path
) -> None:
    changes = {"adapter.kind": kind, "adapter.targets": "all-linear+conv", "adapter.dropout": 0.1,
               "train.lr": 5e-3, "train.steps": 5}  # fmt: skip
    through = trainer(sd, folder, **changes)
    through.fit(until=2)
    for file, content in through.state().files().items():
        (tmp_path / file).write_bytes(content)
    through.fit()
    expected, seen = through.stack.state(), losses(through)
    through.stack.eject()
    assert len({round(value, 7) for value in seen}) == 5
    again = trainer(sd, folder, **changes)
    start = again.stack.state()
    again.restore(TrainState.read(tmp_path))
    again.fit()
    assert all(torch.equal(value, expected[key]) for key, value in again.stack.state().items())
    trained = [key for key in start if not torch.equal(start[key], expected[key])]
    assert len(trained) == len([key for key in start if not key.endswith(".alpha")])
    again.stack.eject()


@pytest.mark.parametrize("kind", KINDS)
def test_trained_and_proven_from_the_command_line(
    kind: str, sd_path: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    run = tmp_path / "run"
    call = ["train", str(folder), "--base", str(sd_path), "--class", "thing", "--steps", "3",
            "--out", str(run), "--adapter.kind", kind, "--adapter.text_encoder", "true",
            "--adapter.targets", "*mid_block*,*.layers.0.*",
            "--train.tensorboard", "false", "--data.prior.weight", "0"]  # fmt: skip
    assert main(call) == 0
    assert "proof: an independent reader attaches" in capsys.readouterr().out
    pictures = tmp_path / "pictures"
    assert main(["generate", str(run), "a kaiffin", "--steps", "2", "--out", str(pictures)]) == 0
    assert len(list(pictures.glob("a-kaiffin*.png"))) == 1
