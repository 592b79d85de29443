"""The shipped weights load unmodified and are what they claim to be."""

import functools
import json

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file
from transformers import CLIPModel

from kaiffin.adapters.files.open import peek
from kaiffin.foundation.config import BaseConfig, SampleConfig
from kaiffin.foundation.runtime import Runtime
from kaiffin.foundation.tell import SILENT
from kaiffin.miniature.world import world
from kaiffin.miniature.world.vocabulary import SIDE
from kaiffin.models.base import ModelFamily
from kaiffin.models.files.embedded import FAST, WEIGHTS
from kaiffin.models.files.load import load_base
from kaiffin.pictures.make import Task, WeightedAdapter, make
from kaiffin.pictures.request import request

LIMIT_MB = 30


@pytest.fixture(scope="module")
def pipeline() -> StableDiffusionPipeline:
    pipe = StableDiffusionPipeline.from_pretrained(WEIGHTS, safety_checker=None)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def test_they_are_small():
    total = sum(file.stat().st_size for file in WEIGHTS.rglob("*") if file.is_file())
    assert total <= LIMIT_MB * 1e6


@pytest.mark.parametrize(
    "file", sorted(WEIGHTS.rglob("*.safetensors")), ids=lambda f: f.parent.name
)
def test_every_tensor_is_finite_half_precision(file):
    for key, tensor in load_file(file).items():
        assert tensor.dtype == torch.float16, key
        assert torch.isfinite(tensor).all(), key


def test_text_encoder_is_the_text_tower_of_clip():
    text = load_file(WEIGHTS / "text_encoder" / "model.safetensors")
    clip = load_file(WEIGHTS / "clip" / "model.safetensors")
    assert all(key.startswith("text_model.") for key in text)
    assert set(text) == {key for key in clip if key.startswith("text_model.")}
    assert all(torch.equal(tensor, clip[key]) for key, tensor in text.items())


def test_clip_loads_without_missing_keys():
    _, info = CLIPModel.from_pretrained(WEIGHTS / "clip", output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]


def test_the_pipeline_draws_and_repeats(pipeline):
    def draw(prompt: str):
        generator = torch.Generator().manual_seed(0)
        return pipeline(prompt, num_inference_steps=4, generator=generator).images[0]

    first = draw("a photo of a red cat in the snow")
    assert first.size == (SIDE, SIDE)
    assert first.tobytes() == draw("a photo of a red cat in the snow").tobytes()
    assert first.tobytes() != draw("a photo of a blue owl in space").tobytes()


def test_the_end_token_is_set_everywhere(pipeline):
    config = json.loads((WEIGHTS / "text_encoder" / "config.json").read_text())
    end = pipeline.tokenizer.eos_token_id
    assert config["eos_token_id"] == config["pad_token_id"] == end
    assert config["vocab_size"] == len(pipeline.tokenizer)
    assert config["max_position_embeddings"] == pipeline.tokenizer.model_max_length == 77


@torch.no_grad()
def test_vae_latents_are_white_and_its_pictures_close(pipeline):
    renders = [world.render(world.random_spec(2, i, reserved=True)) for i in range(48)]
    pixels = torch.from_numpy(np.stack(renders)).permute(0, 3, 1, 2).float() / 127.5 - 1
    latents = pipeline.vae.encode(pixels).latent_dist.mean
    assert pipeline.vae.config.scaling_factor == 1.0
    assert 0.8 < latents.std() < 1.2
    assert latents.mean().abs() < 0.2
    made = pipeline.vae.decode(latents).sample.clamp(-1, 1)
    psnr = 10 * torch.log10(4 / (made - pixels).square().mean())
    assert psnr > 23


def test_the_few_step_adapter_is_of_these_weights_and_small() -> None:
    path = WEIGHTS / FAST
    assert path.stat().st_size <= 2_000_000
    assert peek(path)[1]["kaiffin.base_revision"] == family().revision


def test_four_steps_without_guidance_end_near_twenty_with_it() -> None:
    """Nearer by far than the base alone without guidance; grey levels, over four prompts."""
    base, own = family(), (WeightedAdapter(WEIGHTS / FAST),)

    def made(steps: int, guidance: float, worn: tuple[WeightedAdapter, ...] = ()) -> np.ndarray:
        sample = SampleConfig(
            sampler="euler", schedule="trailing", steps=steps, guidance=guidance, size=(SIDE, SIDE)
        )
        tasks = [Task(request(f"a photo of {what}", 3, sample), worn) for what in SHOWN]
        pictures = dict(make(base, tasks, len(tasks)))
        return np.stack([np.asarray(pictures[i]).astype(float) for i in range(len(tasks))])

    goal = made(20, 5.0)
    few, bare = (np.abs(one - goal).mean() for one in (made(4, 1.0, own), made(4, 1.0)))
    assert few < 0.6 * bare


SHOWN = ("a red dog in the kitchen", "a blue bear in the forest", "a penguin on the beach",
         "a yellow cat in space")  # fmt: skip


@functools.cache
def family() -> ModelFamily:
    return load_base(BaseConfig(), Runtime.from_config(BaseConfig()), tell=SILENT)
