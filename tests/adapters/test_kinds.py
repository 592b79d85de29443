"""The table of kinds and the formulas say the same; layers in files are told by their parts."""

from typing import get_args

import pytest
import torch
from made_adapters import moved, of_kind
from torch import nn

from kaiffin.adapters.files import edit, reading, writing
from kaiffin.adapters.kinds import by_module, kind_of, kohya_split, rank_of
from kaiffin.adapters.layers import LAYERS
from kaiffin.foundation.errors import AdapterError
from kaiffin.foundation.kinds import KINDS, PARTS, KindName
from kaiffin.models.base import ModelFamily

TRAINED = get_args(KindName)


def test_every_kind_that_can_be_trained_has_a_formula() -> None:
    assert {kind.name for kind in KINDS.values() if kind.formula} == set(TRAINED)
    assert {KINDS[name].formula for name in TRAINED} == set(LAYERS)


@pytest.mark.parametrize("name", TRAINED)
def test_parts_are_those_of_the_formula(name: str) -> None:
    kind, layer = KINDS[name], LAYERS[KINDS[name].formula]
    assert set(kind.parts) == set(layer.parts.values())
    assert set(kind.parts) <= set(PARTS)
    assert kind.up == bool(layer.fast)
    assert kind_of(kind.parts) == kind.formula
    assert kind_of([*kind.parts, "alpha"]) == layer.kind


@pytest.mark.parametrize("name", TRAINED)
def test_which_formula_turns_on_the_weights(name: str) -> None:
    """Those updates differ from base to base, so a base in few bits would change them."""
    targets = [nn.Linear(12, 8), nn.Linear(12, 8)]
    layer = LAYERS[KINDS[name].formula].fresh(targets[0], 2, 2.0, 0.0)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.normal_()
    updates = [layer.weight_update(target) for target in targets]
    assert torch.allclose(*updates, atol=1e-6) != KINDS[name].needs_weights


@pytest.mark.parametrize("name", TRAINED)
def test_where_it_can_go(name: str, sd: ModelFamily) -> None:
    kind, found = KINDS[name], reading.from_state(moved(sd, name).state(), "sd1")
    assert found.kinds() == {kind.formula: len(found.modules)}
    for allowed, write in (
        (kind.peft, lambda: writing.to_peft(found)),
        (kind.peft, lambda: writing.to_diffusers(found)),
        (kind.adds_up, lambda: edit.merge([(found, 0.5), (found, 0.5)])),
        (True, lambda: writing.to_kohya(found)),
    ):
        if allowed:
            write()
        else:
            with pytest.raises(AdapterError):
                write()


def test_scales(sd: ModelFamily) -> None:
    """alpha / rank, and for rsLoRA alpha / sqrt(rank): 6 at rank 4."""
    for name, scale in (("lora", 1.5), ("rslora", 3.0)):
        layers = of_kind(sd, name).layers.values()
        assert {layer.alpha / layer.rank for layer in layers} == {scale}


@pytest.mark.parametrize(
    ("parts", "kind", "rank"),
    [
        ({"lora_down.weight": (3, 8), "lora_up.weight": (8, 3)}, "lora", 3),
        ({"lora_down.weight": (3, 8), "dora_scale": (8, 1)}, "dora", 3),
        ({"lora_down.weight": (3, 8), "lora_mid.weight": (3, 3, 3, 3)}, "tucker", 3),
        ({"hada_w1_a": (8, 2), "hada_w1_b": (2, 8), "dora_scale": (8, 1)}, "loha", 2),
        ({"lokr_w1": (2, 2), "lokr_w2_a": (4, 5), "lokr_w2_b": (5, 4)}, "lokr", 5),
        ({"lokr_w1": (2, 2), "lokr_w2": (4, 4)}, "lokr", 0),
        ({"oft_blocks": (4, 2, 2)}, "oft", 2),
    ],
)
def test_kind_and_rank_by_the_parts(parts: dict, kind: str, rank: int) -> None:
    tensors = {part: torch.zeros(shape) for part, shape in parts.items()}
    assert kind_of(tensors) == kind
    assert rank_of(tensors) == rank


def test_keys_are_split_at_known_parts() -> None:
    assert kohya_split("lora_unet_a_b.lora_down.weight") == ("lora_unet_a_b", "lora_down.weight")
    assert kohya_split("lora_unet_a.hada_w1_a") == ("lora_unet_a", "hada_w1_a")
    assert kohya_split("lora_unet_a.diff") == ("lora_unet_a.diff", "")
    modules = by_module({"a.alpha": torch.ones(()), "a.oft_blocks": torch.ones(1, 2, 2)})
    assert {name: set(parts) for name, parts in modules.items()} == {"a": {"alpha", "oft_blocks"}}
