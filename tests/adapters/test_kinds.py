"""DoRA, LoHa, LoKr, OFT and rsLoRA against PEFT and LyCORIS, through files, and in training."""

import copy
from pathlib import Path

import peft
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from test_lora import predict, randomise
from test_trainer import losses, trainer
from torch import nn

from kaiffin.adapters.elsewhere.proof import NoReader, prove
from kaiffin.adapters.elsewhere.readers import opened_by_others
from kaiffin.adapters.files import reading, safe, writing
from kaiffin.adapters.kinds import PARTS
from kaiffin.adapters.layers import LAYERS
from kaiffin.adapters.load import load_adapter
from kaiffin.adapters.lora import Lora
from kaiffin.adapters.stack import full_modules
from kaiffin.adapters.targets import LoraSpec
from kaiffin.cli.main import main
from kaiffin.foundation.config import LayerRule
from kaiffin.foundation.errors import AdapterError
from kaiffin.models.base import ModelFamily
from kaiffin.train.state import TrainState

KINDS = ["rslora", "dora", "loha", "lokr", "oft"]


def made(family: ModelFamily, kind: str, targets: str = "all-linear+conv", **more) -> Lora:
    specs = {
        tower: LoraSpec(targets if tower == "unet" else "all-linear", 4, 6.0, kind=kind, **more)
        for tower in family.towers
    }
    return Lora.create(specs, full_modules(family), seed=1)


def moved(family: ModelFamily, kind: str, targets: str = "all-linear+conv") -> Lora:
    """Away from its start; DoRA's magnitudes stay near the lengths of the rows."""
    adapter = made(family, kind, targets)
    rng = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=rng))
    return adapter


def saved(adapter: Lora, family: ModelFamily, path: Path) -> Path:
    found = reading.from_state(adapter.state(), family.name)
    safe.save(path, writing.to_kohya(found, family.layers_per_block), {})
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_it_starts_at_the_base_and_leaves_it_as_it_was(kind: str, family: ModelFamily) -> None:
    before = predict(family)
    adapter = made(family, kind)
    adapter.inject(full_modules(family))
    assert torch.allclose(predict(family), before, atol=2e-6)
    randomise(adapter)
    assert not torch.allclose(predict(family), before, atol=1e-3)
    adapter.scale = 0.0
    assert torch.equal(predict(family), before)
    adapter.eject()
    assert torch.equal(predict(family), before)


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


@pytest.mark.parametrize("kind", KINDS)
def test_others_read_the_same_numbers(kind: str, family: ModelFamily, tmp_path: Path) -> None:
    """diffusers opens rsLoRA, LyCORIS the others; each with its own code."""
    targets = "all-linear" if kind == "rslora" else "all-linear+conv"
    path = saved(moved(family, kind, targets), family, tmp_path / "a.safetensors")
    before = predict(family)
    proof = prove(path, family, opened_by_others)
    assert proof.holds, proof.problems
    assert proof.effect > 0.05
    assert proof.difference < 1e-5
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
               "train.lr": 5e-3, "train.steps": 8}  # fmt: skip
    through = trainer(sd, folder, **changes)
    through.fit(until=3)
    for file, content in through.state().files().items():
        (tmp_path / file).write_bytes(content)
    through.fit()
    expected, seen = through.stack.state(), losses(through)
    through.stack.eject()
    assert len({round(value, 7) for value in seen}) == 8
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
            "--train.tensorboard", "false", "--data.prior.weight", "0"]  # fmt: skip
    assert main(call) == 0
    assert "proof: an independent reader attaches" in capsys.readouterr().out
    pictures = tmp_path / "pictures"
    assert main(["generate", str(run), "a kaiffin", "--steps", "2", "--out", str(pictures)]) == 0
    assert len(list(pictures.glob("a-kaiffin*.png"))) == 1


def test_without_lycoris_the_proof_says_what_it_needs(
    sd: ModelFamily, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    path = saved(moved(sd, "loha"), sd, tmp_path / "a.safetensors")
    monkeypatch.setitem(sys.modules, "lycoris.modules", None)
    with pytest.raises(NoReader, match="not installed"):
        prove(path, sd, opened_by_others)


def test_rules_give_ranks_alphas_and_leave_out(sd: ModelFamily) -> None:
    rules = (
        LayerRule(layers="unet.mid_block.*", rank=2),
        LayerRule(layers="*.to_out.0", skip=True),
        LayerRule(layers="text_encoder.*", rank=8, alpha=1.0),
    )
    layers = made(sd, "lora", rules=rules).layers
    for name, layer in layers.items():
        expected = (4, 6.0)
        if "mid_block" in name:
            expected = (2, 3.0)
        elif name.startswith("text_encoder."):
            expected = (8, 1.0)
        assert (layer.rank, layer.alpha) == expected, name
    assert not any(name.endswith("to_out.0") for name in layers if "mid_block" not in name)


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"hada_t1": (4, 4, 1, 1)}, "Tucker"),
        ({"oft_blocks": (4, 4, 4), "alpha": ()}, "constraint"),
    ],
)
def test_what_is_not_applied_is_said(
    parts: dict, said: str, sd: ModelFamily, tmp_path: Path
) -> None:
    name = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"
    extra = {f"{name}.{part}": torch.ones(shape) for part, shape in parts.items()}
    save_file(extra, tmp_path / "a.safetensors")
    with pytest.raises(AdapterError, match=said):
        load_adapter(tmp_path / "a.safetensors", sd)


PARTS = sorted(set(PARTS) - {"alpha"})
SHAPES = st.lists(st.integers(0, 5), max_size=4).map(tuple)


def test_parts_of_any_shape_are_read_or_refused(sd: ModelFamily, tmp_path: Path) -> None:
    """Whatever stands together in a file: it is applied, or an error says why not."""
    name = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"
    path = tmp_path / "a.safetensors"

    @settings(max_examples=150, deadline=None)
    @given(
        parts=st.dictionaries(st.sampled_from(PARTS), SHAPES, min_size=1, max_size=5),
        alpha=st.sampled_from([None, 0.0, 1.0, -2.0]),
    )
    def check(parts: dict, alpha: float | None) -> None:
        tensors = {f"{name}.{part}": torch.ones(shape) for part, shape in parts.items()}
        if alpha is not None:
            tensors[f"{name}.alpha"] = torch.tensor(alpha)
        save_file(tensors, path)
        try:
            stack = load_adapter(path, sd)
        except AdapterError:
            return
        stack.inject(sd)
        try:
            assert predict(sd).isfinite().all()
        finally:
            stack.eject()

    check()


@pytest.mark.parametrize("kind", KINDS)
def test_training_goes_on_from_a_file(
    kind: str, sd: ModelFamily, sd_path: Path, folder: Path, tmp_path: Path
) -> None:
    path = saved(moved(sd, kind), sd, tmp_path / "a.safetensors")
    run = tmp_path / "run"
    call = ["train", str(folder), "--base", str(sd_path), "--class", "thing", "--steps", "1",
            "--train.lr", "1e-9", "--out", str(run), "--adapter.init_from", str(path),
            "--train.tensorboard", "false", "--data.prior.weight", "0"]  # fmt: skip
    assert main(call) == 0
    before, after = safe.read(path)[0], safe.read(run / "kaiffin.safetensors")[0]
    assert before.keys() == after.keys()
    assert all(torch.allclose(before[key], after[key], atol=1e-6) for key in before)
