"""A base in few bits: only its linear layers, close to what they were, with gradients through."""

import sys

import pytest
import torch
from torch import nn

from kaiffin.foundation.errors import ConfigError
from kaiffin.models.files.quantize import quantize


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(4, 64, 1), nn.Flatten(2), nn.Linear(64, 128), nn.Linear(128, 64))


@pytest.mark.parametrize(("how", "error"), [("int8", 0.02), ("nf4", 0.15)])
def test_linear_layers_are_rounded_and_nothing_else(how: str, error: float) -> None:
    pytest.importorskip("bitsandbytes")
    plain, small = net(), net()
    quantize(small, how, torch.device("cpu"), torch.float32)
    kinds = [type(layer).__name__ for layer in small]
    assert kinds[:2] == ["Conv2d", "Flatten"]
    assert "Linear" not in kinds
    assert isinstance(small[2], nn.Linear)  # adapters find it still
    assert not any(p.requires_grad for p in small[2:].parameters())
    x = torch.randn(2, 4, 8, 8, requires_grad=True)
    ours, theirs = small(x), plain(x)
    assert 0 < (ours - theirs).norm() / theirs.norm() < error
    ours.square().mean().backward()
    assert x.grad is not None
    assert x.grad.abs().sum() > 0


def test_without_the_package_the_way_out_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(ConfigError, match="needs the extra 8bit"):
        quantize(net(), "nf4", torch.device("cpu"), torch.float32)
