"""What is SDXL's own: two text towers side by side, and the sizes it is told of."""

import pytest
import torch

from kaiffin.models.base import ModelFamily, SizeFacts

FACTS = [SizeFacts((100, 80), (3, 4), (64, 64))]


def test_it_wants_a_size_for_each_prompt(sdxl: ModelFamily) -> None:
    with pytest.raises(ValueError, match="2 prompts but 1 sizes"):
        sdxl.encode_text(["a dog", "a cat"], FACTS)


@torch.no_grad()
def test_its_context_is_both_towers_side_by_side(sdxl: ModelFamily) -> None:
    cond = sdxl.encode_text(["a dog"], FACTS)
    first, second = (
        sdxl.states(tower, ["a dog"], 1, 1, final_norm=False)
        for tower in ("text_encoder", "text_encoder_2")
    )
    assert torch.equal(cond["context"], torch.cat([first[0], second[0]], dim=-1))
    assert torch.equal(cond["pooled"], second[1])
    skipped = sdxl.encode_text(["a dog"], FACTS, clip_skip=1)
    assert not torch.equal(skipped["context"], cond["context"])
    assert torch.equal(skipped["pooled"], cond["pooled"])


@torch.no_grad()
def test_the_sizes_matter_to_its_output(sdxl: ModelFamily) -> None:
    x, t = torch.randn(1, 4, 8, 8), torch.tensor([500])
    whole, cropped = (
        sdxl.predict(x, t, sdxl.encode_text(["a dog"], [facts]))
        for facts in (SizeFacts.whole(64, 64), FACTS[0])
    )
    assert not torch.allclose(whole, cropped, atol=1e-6)


def test_the_projection_is_no_target(sdxl: ModelFamily) -> None:
    """It is no part of the text model proper, and no program trains it."""
    named = dict(sdxl.towers["text_encoder_2"].named_modules())
    assert "text_projection" in named
    assert not any("text_projection" in name for name in sdxl.modules("text_encoder_2"))
