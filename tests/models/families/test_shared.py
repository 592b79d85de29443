"""The families in `src/`, held against diffusers' pipelines: the same weights, the same numbers.

What every family promises is in test_conformance.py.
"""

import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline

from kaiffin.models.base import ModelFamily, SizeFacts

FACTS = [SizeFacts((100, 80), (3, 4), (64, 64)), SizeFacts.whole(64, 64)]
PROMPTS = ["a photo of a dog", "ein Höhlenbär 犬 🐧"]


def pipeline(family: ModelFamily):
    cls = StableDiffusionXLPipeline if family.name == "sdxl" else StableDiffusionPipeline
    return cls.from_pretrained(family.base)


def test_text_as_the_pipeline_encodes_it(family: ModelFamily) -> None:
    with torch.no_grad():
        cond = family.encode_text(PROMPTS, FACTS)
        out = pipeline(family).encode_prompt(
            PROMPTS, device="cpu", num_images_per_prompt=1, do_classifier_free_guidance=False
        )
    assert torch.equal(cond["context"], out[0])
    if family.name == "sdxl":
        assert torch.equal(cond["pooled"], out[2])
        assert cond["size_ids"][0].tolist() == [100, 80, 3, 4, 64, 64]


def test_predict_is_the_unet(family: ModelFamily) -> None:
    rng = torch.Generator().manual_seed(0)
    x, t = torch.randn(2, 4, 8, 8, generator=rng), torch.tensor([3, 700])
    with torch.no_grad():
        cond = family.encode_text(PROMPTS, FACTS)
        pipe = pipeline(family)
        more = {}
        if family.name == "sdxl":
            added = {"text_embeds": cond["pooled"], "time_ids": cond["size_ids"]}
            more = {"added_cond_kwargs": added}
        expected = pipe.unet(x, t, encoder_hidden_states=cond["context"], **more).sample
        assert torch.equal(family.predict(x, t, cond), expected)


def test_images_there_and_back_are_the_vae(family: ModelFamily) -> None:
    pixels = torch.rand(2, 3, 64, 48) * 2 - 1
    mean, std = family.encode_images(pixels)
    vae = pipeline(family).vae
    with torch.no_grad():
        posterior = vae.encode(pixels).latent_dist
        scale = vae.config.scaling_factor
        assert torch.allclose(mean, posterior.mean * scale, atol=1e-6)
        assert torch.allclose(std, posterior.std * scale)
        expected = vae.decode(mean / scale).sample.clamp(-1, 1)
    assert mean.shape == (2, 4, 8, 6)
    assert torch.allclose(family.decode(mean), expected, atol=1e-4)
