"""Forms that only others write, against LyCORIS' own modules."""

import itertools

import pytest
import torch
from lycoris.modules.locon import LoConModule
from lycoris.modules.loha import LohaModule
from lycoris.modules.lokr import LokrModule
from torch import Tensor, nn

from kaiffin.adapters.forms import FORMS, form_of
from kaiffin.adapters.kinds import kind_of
from kaiffin.adapters.lora import layer_of

MODULES = {"lora": LoConModule, "loha": LohaModule, "lokr": LokrModule}
TARGETS = {
    "linear": lambda: nn.Linear(24, 16),
    "square": lambda: nn.Linear(16, 16),
    "1x1": lambda: nn.Conv2d(24, 16, 1),
    "3x3": lambda: nn.Conv2d(24, 16, 3, padding=1),
}
CASES = [
    (*case, axis)
    for *case, axis in itertools.product(MODULES, TARGETS, (False, True), (None, "out", "in"))
]


def theirs(kind: str, target: nn.Module, tucker: bool, axis: str | None) -> tuple[dict, Tensor]:
    """What LyCORIS writes of a layer with weights drawn at random, and the weight it makes."""
    more = {"decompose_both": False} if kind == "lokr" else {}
    module = MODULES[kind](
        "x", target, 1.0, 2, 2.0, use_tucker=tucker, weight_decompose=axis is not None,
        wd_on_out=axis != "in", **more,
    )  # fmt: skip
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if not name.startswith("org_module"):
                parameter.add_(0.2 * torch.randn(parameter.shape))
        merged = module.get_merged_weight(shape=target.weight.shape)[0]
    found = {name: value.detach() for name, value in module.custom_state_dict().items()}
    return found, merged.view(target.weight.shape)


@pytest.mark.parametrize(("kind", "size", "tucker", "axis"), CASES)
def test_every_form_is_lycoris(kind: str, size: str, tucker: bool, axis: str | None) -> None:
    torch.manual_seed(0)
    target = TARGETS[size]()
    parts, expected = theirs(kind, target, tucker, axis)
    layer = layer_of("x", target, parts)
    assert type(layer) is form_of(parts)
    assert kind_of(parts) in ("lora", "dora", "tucker", "loha", "lokr")
    assert torch.allclose(target.weight + layer.weight_update(target), expected, atol=1e-5)
    assert {name: value.shape for name, value in layer.tensors().items()} == {
        name: value.shape for name, value in parts.items() if name != "alpha"
    }


def test_every_form_is_tried() -> None:
    tried = set()
    for kind, size, tucker, axis in CASES:
        parts, _ = theirs(kind, TARGETS[size](), tucker, axis)
        tried.add(form_of(parts))
    assert set(FORMS.values()) <= tried
