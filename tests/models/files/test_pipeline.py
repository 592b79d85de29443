"""A base as a diffusers pipeline, and written as its folder."""

from pathlib import Path

import pytest
import torch
from conftest import load_tiny
from diffusers import DiffusionPipeline

from kaiffin.models.base import ModelFamily, SizeFacts
from kaiffin.models.files.pipeline import NoPipeline, as_pipeline, save


def test_it_shares_the_modules(family: ModelFamily) -> None:
    made = as_pipeline(family)
    assert type(made).__name__.startswith("StableDiffusion")
    assert ("XL" in type(made).__name__) == (family.name == "sdxl")
    assert made.vae is family.vae
    for tower, module in family.towers.items():
        assert getattr(made, tower) is module
    assert made.scheduler.config.prediction_type == family.schedule.prediction_type


def test_a_saved_base_is_opened_again_by_us_and_by_diffusers(
    family: ModelFamily, tmp_path: Path
) -> None:
    with torch.no_grad():
        next(family.towers["unet"].parameters()).mul_(1.5)
    save(family, tmp_path / "saved")
    again = load_tiny(tmp_path / "saved")
    theirs = DiffusionPipeline.from_pretrained(str(tmp_path / "saved"))
    facts, x, t = [SizeFacts.whole(64, 64)], torch.randn(1, 4, 8, 8), torch.tensor([300])
    with torch.no_grad():
        one, other = (f.predict(x, t, f.encode_text(["a dog"], facts)) for f in (family, again))
    assert torch.equal(one, other)
    for name, weight in theirs.unet.state_dict().items():
        assert torch.equal(weight, family.towers["unet"].state_dict()[name])
    assert torch.equal(again.schedule.alphas_cumprod, family.schedule.alphas_cumprod)


def test_a_family_that_diffusers_does_not_know_has_none(flow: ModelFamily) -> None:
    with pytest.raises(NoPipeline, match="no pipeline for Tiny Flow"):
        as_pipeline(flow)
