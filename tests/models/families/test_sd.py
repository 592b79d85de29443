"""What is SD 1.x's own."""

from pathlib import Path

import torch
from conftest import load_tiny

from kaiffin.models.base import ModelFamily

PROMPTS = ["a photo of a dog", "ein Höhlenbär 犬 🐧"]


def test_clip_skip_of_sd1_takes_an_earlier_layer_and_norms_it(sd: ModelFamily) -> None:
    with torch.no_grad():
        ids = sd.tokenizers["text_encoder"](
            PROMPTS, padding="max_length", return_tensors="pt"
        ).input_ids
        out = sd.towers["text_encoder"](ids, output_hidden_states=True)
        expected = sd.towers["text_encoder"].final_layer_norm(out.hidden_states[-2])
        assert torch.equal(sd.encode_text(PROMPTS, clip_skip=1)["context"], expected)
        assert torch.equal(sd.encode_text(PROMPTS)["context"], out.last_hidden_state)


def test_the_prediction_type_is_the_bases_own(sd_v_path: Path, sd: ModelFamily) -> None:
    assert load_tiny(sd_v_path).schedule.prediction_type == "v_prediction"
    assert sd.schedule.prediction_type == "epsilon"
