"""What others' code attaches of our files: diffusers, PEFT and LyCORIS."""

import logging
from pathlib import Path

import pytest
import torch
from made_adapters import (
    moved,
    predict,
    saved,
)
from safetensors.torch import save_file
from test_forms import MODULES, theirs
from torch import nn
from torch.utils._device import DeviceContext

from kaiffin.adapters.elsewhere.proof import NoReader, prove
from kaiffin.adapters.elsewhere.readers import opened_by_others, weight_by_lycoris
from kaiffin.adapters.files.tables import published
from kaiffin.adapters.kinds import by_module
from kaiffin.adapters.layers import LAYERS
from kaiffin.adapters.lora import layer_of
from kaiffin.adapters.stack import full_modules
from kaiffin.models.base import ModelFamily

KINDS = ["rslora", "dora", "loha", "lokr", "oft"]


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


def test_without_lycoris_the_proof_says_what_it_needs(
    sd: ModelFamily, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    path = saved(moved(sd, "loha"), sd, tmp_path / "a.safetensors")
    monkeypatch.setitem(sys.modules, "lycoris.modules", None)
    with pytest.raises(NoReader, match="needs the extra lycoris"):
        prove(path, sd, opened_by_others)


SHAPES = sorted(
    {shape for family in ("sd1", "sdxl") for shape in published(family).layers.values()}
)


class Contentless(DeviceContext):
    """All tensors are without contents but those that are made of numbers, of which LyCORIS' LoHa
    reads one."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is torch.tensor:
            return func(*args, **(kwargs or {}))
        return super().__torch_function__(func, types, args, kwargs)


def stand_in(size: tuple[int, ...]) -> nn.Module:
    """A target of that size without weights: a layer beside it has shapes and no numbers."""
    out, inner, *kernel = size
    if kernel:
        return nn.Conv2d(inner, out, (kernel[0], kernel[1]), device="meta")
    return nn.Linear(inner, out, device="meta")


@pytest.mark.parametrize("kind", ["lora", "dora", "loha", "lokr", "oft"])
@pytest.mark.parametrize("rank", [4, 512])
def test_lycoris_makes_every_published_layer(kind: str, rank: int) -> None:
    """Every shape of SD 1.x and SDXL is matched, in its shape."""
    for shape in SHAPES:
        target = stand_in(shape)
        layer = LAYERS[kind].fresh(target, rank, 6.0, 0.0)
        tensors = {f"x.{part}": value.detach() for part, value in layer.tensors().items()}
        tensors["x.alpha"] = torch.tensor(layer.alpha)
        with Contentless("meta"):
            weight = weight_by_lycoris(tensors, "x", target)
        assert weight is not None, shape
        assert weight.shape == shape
        assert layer_of("x", target, by_module(tensors)["x"]).weight_update(target).shape == shape


@pytest.mark.parametrize("kind", list(MODULES))
@pytest.mark.parametrize("axis", ["out", "in"])
def test_the_proof_reads_magnitudes_along_either_axis(
    kind: str, axis: str, sd: ModelFamily, tmp_path: Path
) -> None:
    name = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_v"
    parts, _ = theirs(kind, full_modules(sd)[name], False, axis)
    spelled = f"lora_{name.replace('.', '_')}"
    path = tmp_path / "a.safetensors"
    save_file({f"{spelled}.{part}": value for part, value in parts.items()}, path)
    made = prove(path, sd, opened_by_others)
    assert made.holds, made.problems
    assert made.difference < 1e-5
    with opened_by_others(sd, path):  # what LyCORIS imports says nothing to a person
        assert logging.getLogger("bitsandbytes").level == logging.CRITICAL
