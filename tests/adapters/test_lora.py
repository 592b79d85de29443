"""Our LoRA engine: exact at the start, exactly removable, and equal to PEFT's."""

import copy

import pytest
import torch
from made_adapters import (
    conditioning,
    made,
    predict,
    randomise,
)
from peft import LoraConfig
from torch import nn

from kaiffin.adapters.lora import Lora
from kaiffin.adapters.ranks import RankSchedule
from kaiffin.adapters.stack import full_modules
from kaiffin.adapters.targets import LoraSpec
from kaiffin.foundation.errors import AdapterError
from kaiffin.foundation.runtime import seed_dropout
from kaiffin.models.base import ModelFamily


def test_it_starts_exactly_at_the_base(family: ModelFamily) -> None:
    before = predict(family)
    made(family).inject(full_modules(family))
    assert torch.equal(predict(family), before)


def test_eject_restores_the_base_bit_for_bit(family: ModelFamily) -> None:
    weights = {n: copy.deepcopy(t.state_dict()) for n, t in family.towers.items()}
    before = predict(family)
    first, second = made(family), made(family, "attention")
    for adapter in (first, second):
        randomise(adapter)
        adapter.inject(full_modules(family))
    assert not torch.allclose(predict(family), before)
    first.eject()  # in the order of injection, not its reverse
    second.eject()
    assert torch.equal(predict(family), before)
    for name, tower in family.towers.items():
        assert tower.state_dict().keys() == weights[name].keys()
        assert all(torch.equal(v, weights[name][k]) for k, v in tower.state_dict().items())


def test_stacked_adapters_add_up(sd: ModelFamily) -> None:
    layer = nn.Linear(6, 5)
    x = torch.randn(3, 6)
    modules = {"unet.a": layer}
    deltas = []
    for seed, scale in ((1, 0.5), (2, -2.0)):
        adapter = Lora.create({"unet": LoraSpec("*", 2, 3.0)}, modules, seed)
        randomise(adapter, seed)
        adapter.scale = scale
        deltas.append(scale * adapter.layers["unet.a"].weight_update(layer))
        adapter.inject(modules)
    expected = x @ (layer.weight + sum(deltas)).T + layer.bias
    assert torch.allclose(layer(x), expected, atol=1e-6)


@pytest.mark.parametrize(
    "target",
    [
        nn.Linear(12, 8),
        nn.Conv2d(6, 8, 3, stride=2, padding=1),
        nn.Conv2d(6, 8, 1),
        nn.Conv2d(6, 8, 3, padding=2, dilation=2),
    ],
)
def test_the_weight_update_is_what_forward_adds(target: nn.Module) -> None:
    x = torch.randn(2, 7, 12) if isinstance(target, nn.Linear) else torch.randn(2, 6, 9, 9)
    adapter = Lora.create({"unet": LoraSpec("*", 3, 4.5)}, {"unet.m": target}, seed=0)
    randomise(adapter)
    adapter.scale = 0.7
    adapter.inject({"unet.m": target})
    adapted = target(x)
    adapter.merge()
    adapter.eject()
    assert torch.allclose(target(x), adapted, atol=1e-5)


@pytest.mark.parametrize("target", [nn.Linear(12, 8), nn.Conv2d(6, 8, 3, padding=1)])
def test_each_picture_has_the_ranks_of_its_noise(target: nn.Module) -> None:
    """Against matrices, output and gradients: row i with its first k_i ranks, and half as strong in
    the second half of the batch."""
    x = torch.randn(4, 7, 12) if isinstance(target, nn.Linear) else torch.randn(4, 6, 9, 9)
    adapter = Lora.create({"unet": LoraSpec("*", 5, 7.5)}, {"unet.m": target}, seed=0)
    randomise(adapter)
    adapter.ranks, adapter.shares = RankSchedule(1, 2.0), (1.0, 0.5)
    times = torch.tensor([0.0, 0.25, 0.6, 0.999])
    counts = [int((1 - t) ** 2 * 4) + 1 for t in times.tolist()]
    assert counts == [5, 3, 1, 1]
    adapter.inject({"unet.m": target})
    adapter.hear(times)
    layer = adapter.layers["unet.m"]
    got = target(x)
    got.square().sum().backward()
    found = [parameter.grad for parameter in layer.parameters()]
    adapter.eject()
    down, up = (p.detach().clone().requires_grad_() for p in layer.parameters())
    wanted = []
    for row, k, share in zip(x, counts, (1, 1, 0.5, 0.5), strict=True):
        update = 1.5 * share * (up.flatten(1)[:, :k] @ down.flatten(1)[:k]).view(layer.size)
        if isinstance(target, nn.Linear):
            wanted.append(target(row) + row @ update.T)
        else:
            wanted.append(target(row) + nn.functional.conv2d(row[None], update, padding=1)[0])
    torch.stack(wanted).square().sum().backward()
    assert torch.allclose(got, torch.stack(wanted), atol=1e-5)
    for mine, by_hand in zip(found, (down, up), strict=True):
        assert torch.allclose(mine, by_hand.grad, rtol=1e-3, atol=1e-4)


def peft_twin(family: ModelFamily, adapter: Lora, rank: int, alpha: float) -> nn.Module:
    """PEFT's LoRA with our weights, on a copy of the UNet."""
    unet = copy.deepcopy(family.towers["unet"])
    names = [n.removeprefix("unet.") for n in adapter.layers if n.startswith("unet.")]
    unet.add_adapter(LoraConfig(r=rank, lora_alpha=alpha, target_modules=names))
    own = dict(unet.named_parameters())
    with torch.no_grad():
        for name in names:
            layer = adapter.layers[f"unet.{name}"]
            own[f"{name}.lora_A.default.weight"].copy_(layer.down)
            own[f"{name}.lora_B.default.weight"].copy_(layer.up)
    return unet


def test_forward_gradients_and_ten_steps_equal_peft(sd: ModelFamily) -> None:
    modules = full_modules(sd)
    adapter = Lora.create({"unet": LoraSpec("all-linear+conv", 4, 6.0)}, modules, seed=1)
    randomise(adapter)
    twin = peft_twin(sd, adapter, 4, 6.0)
    adapter.inject(modules)
    rng = torch.Generator().manual_seed(0)
    with torch.no_grad():
        context = conditioning(sd)["context"]
    x, goal = torch.randn(2, 2, 4, 8, 8, generator=rng)
    t = torch.tensor([10, 700])
    own = list(adapter.parameters())
    pairs = dict(twin.named_parameters())
    theirs = [
        pairs[f"{name.removeprefix('unet.')}.lora_{side}.default.weight"]
        for name in adapter.layers
        for side in ("A", "B")
    ]
    optimizers = [torch.optim.AdamW(weights, lr=1e-2) for weights in (own, theirs)]
    for step in range(10):
        for run, optimizer in zip((sd.towers["unet"], twin), optimizers, strict=True):
            optimizer.zero_grad()
            out = run(x, t, encoder_hidden_states=context).sample
            ((out - goal) ** 2).mean().backward()
        for mine, other in zip(own, theirs, strict=True):
            assert mine.grad is not None
            assert other.grad is not None
            scale = other.grad.abs().max().clamp(min=1e-6)
            if step == 0:
                assert (mine.grad - other.grad).abs().max() <= 1e-3 * scale
        for optimizer in optimizers:
            optimizer.step()
    for mine, other in zip(own, theirs, strict=True):
        assert torch.allclose(mine, other, atol=2e-3)
    with torch.no_grad():
        mine = sd.towers["unet"](x, t, encoder_hidden_states=context).sample
        other = twin(x, t, encoder_hidden_states=context).sample
    assert torch.allclose(mine, other, atol=2e-3)


def test_weights_are_fp32_on_a_bf16_base_and_get_gradients() -> None:
    layer = nn.Linear(8, 8).to(torch.bfloat16)
    adapter = Lora.create({"unet": LoraSpec("*", 2, 2.0)}, {"unet.m": layer}, seed=0)
    randomise(adapter)
    adapter.inject({"unet.m": layer})
    out = layer(torch.randn(3, 8, dtype=torch.bfloat16))
    assert out.dtype == torch.bfloat16
    out.float().sum().backward()
    for parameter in adapter.parameters():
        assert parameter.dtype == torch.float32
        assert parameter.grad is not None
        assert parameter.grad.abs().sum() > 0


def test_dropout_only_while_training() -> None:
    layer = nn.Linear(64, 8)
    adapter = Lora.create({"unet": LoraSpec("*", 4, 4.0, 0.5)}, {"unet.m": layer}, seed=0)
    randomise(adapter)
    adapter.inject({"unet.m": layer})
    x = torch.randn(3, 64)
    seed_dropout([1, 2, 3])
    first = layer(x)
    seed_dropout([4, 5, 6])
    assert not torch.equal(layer(x), first)
    seed_dropout([1, 2, 3])
    assert torch.equal(layer(x), first)
    adapter.train(False)
    whole = layer(x)
    assert not torch.equal(whole, first)
    seed_dropout([4, 5, 6])
    assert torch.equal(layer(x), whole)


def test_layers_depend_on_seed_and_name_only(sd: ModelFamily) -> None:
    modules = full_modules(sd)
    narrow = Lora.create({"unet": LoraSpec("*.to_q", 4, 4.0)}, modules, seed=1)
    wide = Lora.create({"unet": LoraSpec("attention", 4, 4.0)}, modules, seed=1)
    other = Lora.create({"unet": LoraSpec("*.to_q", 4, 4.0)}, modules, seed=2)
    name = next(iter(narrow.layers))
    assert torch.equal(narrow.layers[name].down, wide.layers[name].down)
    assert not torch.equal(narrow.layers[name].down, other.layers[name].down)


def test_state_round_trip_and_strays(sd: ModelFamily) -> None:
    modules = full_modules(sd)
    adapter = made(sd)
    randomise(adapter)
    again = Lora.from_state(adapter.state(), modules)
    assert list(again.layers) == list(adapter.layers)
    for key, value in again.state().items():
        assert torch.equal(value, adapter.state()[key])
    state = adapter.state()
    gone = state.pop(next(iter(state)))
    with pytest.raises(AdapterError, match="lacks"):
        adapter.load(state)
    with pytest.raises(AdapterError, match=r"no place for unet\.nowhere"):
        adapter.load({**adapter.state(), "unet.nowhere.lora_down.weight": gone})
    wrong = adapter.state()
    key = next(iter(wrong))
    wrong[key] = torch.zeros(4, 999)
    with pytest.raises(AdapterError, match="999"):
        adapter.load(wrong)


def test_specs_per_tower(sd: ModelFamily) -> None:
    specs = {"unet": LoraSpec("attention", 8, 8.0), "text_encoder": LoraSpec("attention", 2, 4.0)}
    adapter = Lora.create(specs, full_modules(sd), seed=0)
    ranks = {n.split(".")[0]: layer.rank for n, layer in adapter.layers.items()}
    assert ranks == {"unet": 8, "text_encoder": 2}


@pytest.mark.parametrize("kind", ["lora", "dora", "lokr"])
def test_parts_of_a_batch_have_shares_of_their_own(sd: ModelFamily, kind: str) -> None:
    layer, x = nn.Linear(6, 5), torch.randn(4, 6)
    adapter = Lora.create({"unet": LoraSpec("*", 2, 3.0, kind=kind)}, {"unet.a": layer}, 1)
    randomise(adapter)
    plain = layer(x)
    update = x @ adapter.layers["unet.a"].weight_update(layer).T
    adapter.inject({"unet.a": layer})
    for shares in ((1.0,), (0.5,), (0.0,), (1.0, 0.0), (1.0, 0.4), (1.0, 0.5, 0.0, 2.0)):
        adapter.shares = shares
        rows = torch.tensor(shares).repeat_interleave(4 // len(shares))[:, None]
        assert torch.allclose(layer(x), plain + rows * update, atol=1e-6)
