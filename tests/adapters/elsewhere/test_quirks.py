"""What other programs do otherwise is said of those adapters that it concerns, and of no others.

That they do so was seen by running them; see docs/adapters.md.
"""

import pytest
import torch

from kaiffin.adapters.elsewhere.quirks import quirks_of

OUTPUTS, INPUTS = torch.ones(8, 1), torch.ones(1, 8)
SELF = "text_encoder_2.text_model.encoder.layers.{}.self_attn.{}.lora_up.weight"


def first_words(state: dict[str, torch.Tensor]) -> list[str]:
    return [line.split()[0] for line in quirks_of(state)]


@pytest.mark.parametrize(
    ("magnitudes", "said"), [(OUTPUTS, ["ComfyUI", "A1111"]), (INPUTS, ["ComfyUI"])]
)
def test_magnitudes(magnitudes: torch.Tensor, said: list[str]) -> None:
    assert first_words({"unet.conv_in.dora_scale": magnitudes}) == said
    assert not first_words({"unet.conv_in.lora_up.weight": magnitudes})


def test_attention_of_open_clip_in_part() -> None:
    whole = {SELF.format(0, f"{p}_proj"): OUTPUTS for p in ("q", "k", "v", "out")}
    assert not first_words(whole)
    part = {SELF.format(1, f"{p}_proj"): OUTPUTS for p in ("q", "v")}
    (line,) = quirks_of(whole | part)
    assert "drops 2 of them" in line
    clip = {key.replace("encoder_2", "encoder"): tensor for key, tensor in part.items()}
    assert not first_words(clip)
