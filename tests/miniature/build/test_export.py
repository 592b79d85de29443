"""Exports re-read by diffusers and transformers; a reader finds the old set or the new one."""

from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file
from transformers import CLIPModel

from kaiffin.miniature.build import nets
from kaiffin.miniature.build.export import export, text_encoder


def networks() -> tuple:
    torch.manual_seed(0)
    clip = nets.make_clip(749, 77)
    return clip, text_encoder(clip), nets.make_vae((8, 8, 8, 8)), nets.make_unet((32, 32))


def test_diffusers_reads_what_was_written(tmp_path: Path) -> None:
    clip, tower, vae, unet = networks()
    export(tmp_path / "weights", clip, tower, vae, unet)
    pipeline = StableDiffusionPipeline.from_pretrained(tmp_path / "weights")
    for read, written in ((pipeline.vae, vae), (pipeline.unet, unet)):
        for name, weight in written.state_dict().items():
            assert torch.equal(read.state_dict()[name], weight.half().float()), name
    assert pipeline.scheduler.config.prediction_type == "v_prediction"
    assert pipeline.safety_checker is None
    judge, info = CLIPModel.from_pretrained(tmp_path / "weights/clip", output_loading_info=True)
    assert not info["missing_keys"]
    tokens = pipeline.tokenizer(["a red cat"], padding="max_length", return_tensors="pt").input_ids
    with torch.no_grad():
        told = pipeline.text_encoder(tokens).last_hidden_state
        torch.testing.assert_close(told, judge.text_model(tokens).last_hidden_state)
    keys = load_file(tmp_path / "weights" / "text_encoder" / "model.safetensors")
    assert "text_model.embeddings.token_embedding.weight" in keys, "as they are published"
    assert not list(tmp_path.glob(".*")), "no draft is left behind"


def test_an_export_that_fails_leaves_the_one_before(tmp_path: Path) -> None:
    clip, tower, vae, unet = networks()
    weights = tmp_path / "weights"
    export(weights, clip, tower, vae, unet)
    before = {path: path.read_bytes() for path in weights.rglob("*") if path.is_file()}
    with torch.no_grad():
        unet.conv_in.weight.fill_(1e6)  # infinite in half precision
    with pytest.raises(FloatingPointError, match=r"unet: conv_in\.weight is not finite"):
        export(weights, clip, tower, vae, unet)
    assert {path: path.read_bytes() for path in weights.rglob("*") if path.is_file()} == before
    export(weights, *networks())
    assert not list(tmp_path.glob(".*")), "the draft of the failure is gone"
