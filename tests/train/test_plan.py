"""What a training will cost: operations against a published number and a count by hand."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel

import kaiffin.models
from kaiffin.adapters.stack import Stack
from kaiffin.foundation.phases import expand
from kaiffin.foundation.presets import derive
from kaiffin.foundation.settings import build, override
from kaiffin.models.base import Conditioning, ModelFamily, SizeFacts
from kaiffin.train.plan import Plan, unet_cost

CONFIGS = Path(kaiffin.models.__file__).parent / "configs"


def by_hand(family: ModelFamily, side: int) -> int:
    """Weights of Linear and Conv2d times the places that each sees, while the UNet runs."""
    counts: list[int] = []

    def count(module: Any, _: object, out: torch.Tensor) -> None:
        counts.append(module.weight.numel() * (out.numel() // module.weight.shape[0]))

    hooks = [m.register_forward_hook(count) for m in family.modules("unet").values()]
    pixels = (side * family.downscale, side * family.downscale)
    with torch.no_grad():
        cond = family.encode_text(["a"], [SizeFacts(pixels, (0, 0), pixels)])
        family.predict(torch.zeros(1, 4, side, side), torch.zeros(1).long(), cond)
    for hook in hooks:
        hook.remove()
    return sum(counts)


def test_multiply_adds_are_those_of_the_layers(family: ModelFamily) -> None:
    for side in (8, 16):
        macs, kept = unet_cost(family, side)
        layers = by_hand(family, side)
        assert macs == layers
        assert kept > 100 * side**2
    assert all(p.grad is None for p in family.towers["unet"].parameters())


def test_the_unet_of_stable_diffusion_takes_what_is_published(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """339 G multiply-adds at 512 px (Kim et al. 2023, arXiv 2305.15798)."""
    # Without contents on no device, attention is made of plain products, which would be counted.
    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", lambda q, *_, **__: q)
    config = json.loads((CONFIGS / "sd1" / "unet" / "config.json").read_text())
    with torch.device("meta"):
        unet: Any = UNet2DConditionModel.from_config(config).requires_grad_(False)
    family: Any = SimpleNamespace(
        revision="meta", dtype=torch.float32, quantize="none", downscale=8, latent_channels=4,
        device=torch.device("meta"),
        encode_text=lambda *_: Conditioning({"context": torch.zeros(1, 77, 768, device="meta")}),
        predict=lambda x, t, cond: unet(x, t, encoder_hidden_states=cond["context"]).sample,
    )  # fmt: skip
    assert unet_cost(family, 64)[0] == pytest.approx(339e9, rel=0.01)


@pytest.mark.parametrize(
    ("settings", "photos", "of_base"),
    [
        ({}, 4, 0.0),
        ({"data.prior.weight": 0.5}, 8, 0.0),
        ({"train.noises": 3}, 12, 0.0),
        (
            {"train.objective.keep": 1.0, "train.objective.keep_share": 0.5},
            4,
            4 * (0.5 + 0.5 / 2.5),
        ),
        ({"train.objective.dco_beta": 9.0}, 4, 4 / 2.5),
    ],
)
def test_what_asks_the_base_is_part_of_the_price(
    sd: ModelFamily, settings: dict[str, Any], photos: float, of_base: float
) -> None:
    """A forward of the base costs one of the two and a half of a step."""
    given = {
        "subject.noun": "owl", "data.prior.weight": 0.0, "train.batch_size": 2, "train.steps": 10,
        "train.accumulate": 2, **settings,
    }  # fmt: skip
    config, _ = derive(build(override({}, given)), [2], 64)
    there: Any = {None: SimpleNamespace(examples=[0, 1])}
    plan = Plan.of(config, sd, Stack({}), expand(config), there)
    assert plan.of_base == pytest.approx(of_base)
    assert plan.pictures == pytest.approx(photos + of_base)
    assert plan.seconds(plan.macs * 2.5) == pytest.approx(10 * plan.pictures)
