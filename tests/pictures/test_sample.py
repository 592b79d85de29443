"""Pictures: equal to diffusers', independent of the batch, and made again from their own recipe."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline, StableDiffusionXLPipeline
from PIL import Image, PngImagePlugin

from kaiffin.foundation.errors import UserError
from kaiffin.foundation.runtime import randn
from kaiffin.models.base import ModelFamily
from kaiffin.pictures.recipe import parameters_text, read_recipe, recipe, save_png
from kaiffin.pictures.request import AdapterRef, Request
from kaiffin.pictures.sample import generate

CALL = {"width": 64, "height": 64, "steps": 4}


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image).astype(int)


def test_same_call_same_bytes(family: ModelFamily) -> None:
    requests = [Request("a dog", seed, **CALL) for seed in (1, 2)]
    first, second = (list(generate(family, requests)) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        assert one.tobytes() == other.tobytes()
    assert first[0].tobytes() != first[1].tobytes()


def test_a_picture_does_not_depend_on_the_others(family: ModelFamily) -> None:
    """To within one grey level, whatever the batch, the neighbours' prompts and lengths."""
    wanted = Request("a dog", 3, **CALL)
    alone = pixels(next(generate(family, [wanted])))
    long = Request("word " * 90, 1, **CALL)
    others = [Request("x", i, **CALL) for i in range(3)]
    for requests in ([*others, wanted], [long, wanted], [wanted, long], [others[0], wanted, long]):
        for batch_size in (1, 2, 4):
            made = list(generate(family, requests, batch_size=batch_size))
            got = pixels(made[requests.index(wanted)])
            assert np.abs(got - alone).max() <= 1


def test_sizes_are_kept(sd: ModelFamily) -> None:
    image = next(generate(sd, [Request("a dog", 1, width=96, height=48, steps=2)]))
    assert image.size == (96, 48)


@pytest.mark.parametrize("sampler", ["ddpm", "ddim", "euler", "dpm++2m", "dpm++2m-sde"])
def test_every_sampler_gives_a_picture(sd: ModelFamily, sampler: str) -> None:
    requests = [Request("a dog", seed, sampler=sampler, eta=0.5, **CALL) for seed in (1, 2)]
    one, two = generate(sd, requests)
    assert pixels(one).std() > 1
    assert one.tobytes() != two.tobytes()


def test_prompt_guidance_and_negative_matter(sd: ModelFamily) -> None:
    base = Request("a dog", 1, **CALL)
    variants = [
        base,
        Request("a cat", 1, **CALL),
        Request("a dog", 1, guidance=9.0, **CALL),
        Request("a dog", 1, guidance=1.0, **CALL),
        Request("a dog", 1, negative="blue", **CALL),
        Request("a dog", 1, clip_skip=1, **CALL),
    ]
    assert len({image.tobytes() for image in generate(sd, variants)}) == len(variants)


@pytest.mark.parametrize("kind", ["sd", "sd_v", "sdxl"])
def test_equal_to_the_diffusers_pipeline(kind: str, request: pytest.FixtureRequest) -> None:
    """Same weights, prompt, noise and DDIM: the same picture to within one grey level."""
    from conftest import load_tiny

    path = request.getfixturevalue(f"{kind}_path")
    cls = StableDiffusionXLPipeline if kind == "sdxl" else StableDiffusionPipeline
    pipe = cls.from_pretrained(str(path))
    pipe.set_progress_bar_config(disable=True)
    pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config, set_alpha_to_one=True)
    start = randn((4, 8, 8), 5, "picture", "start")[None]
    theirs = pipe(
        "a photo of a dog", negative_prompt="blue", guidance_scale=5.0, num_inference_steps=10,
        latents=start, height=64, width=64,
    ).images[0]  # fmt: skip
    mine = Request("a photo of a dog", 5, 64, 64, "blue", 10, 5.0, "ddim")
    got = next(generate(load_tiny(path), [mine]))
    assert np.abs(pixels(got) - pixels(theirs)).max() <= 1


def test_metadata_round_trip(sd: ModelFamily, tmp_path: Path) -> None:
    wanted = Request('a "dog", ü: 犬', 7, negative="red\nblue", **CALL)
    ref = AdapterRef("/x/k.safetensors", "k", "ab" * 32, 0.8)
    image = next(generate(sd, [wanted]))
    path = tmp_path / "a.png"
    save_png(image, path, recipe(wanted, sd, [ref]))
    found = read_recipe(path)
    assert Request(**found["request"]) == wanted
    assert AdapterRef(**found["adapters"][0]) == ref
    assert found["base"]["revision"] == sd.revision
    with Image.open(path) as again:
        assert again.tobytes() == image.tobytes()
        text = again.text["parameters"]
    lines = text.splitlines()
    assert lines[0] == 'a "dog", ü: 犬 <lora:k:0.8>'
    assert "Negative prompt: red" in text
    pairs = dict(part.split(": ", 1) for part in lines[-1].split(", ") if part.count(": ") == 1)
    assert pairs["Steps"] == "4"
    assert pairs["Sampler"] == "DPM++ 2M"
    assert pairs["CFG scale"] == "5"
    assert pairs["Seed"] == "7"
    assert pairs["Size"] == "64x64"
    assert pairs["Model hash"] == sd.revision[:10]
    assert pairs["Clip skip"] == "1"


def test_values_with_commas_are_quoted(sd: ModelFamily) -> None:
    refs = [AdapterRef("a", "one", "1" * 64, 1.0), AdapterRef("b", "two", "2" * 64, 0.5)]
    text = parameters_text(recipe(Request("x", 0, **CALL), sd, refs))
    assert 'Lora hashes: "one: 111111111111, two: 222222222222"' in text


def test_a_bare_picture_carries_nothing(sd: ModelFamily, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    save_png(Image.new("RGB", (8, 8)), path, None)
    with Image.open(path) as image:
        assert image.info == {}
    with pytest.raises(UserError, match="carries no Kaiffin recipe"):
        read_recipe(path)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '"x"', '{"request": {}}', '{"request": {"prompt": 1, "evil": 2}}', "[" * 5000],
)
def test_hostile_metadata_is_one_line(tmp_path: Path, text: str) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_itxt("kaiffin", text)
    path = tmp_path / "a.png"
    Image.new("RGB", (8, 8)).save(path, pnginfo=info)
    with pytest.raises(UserError, match=r"a\.png") as caught:
        read_recipe(path)
    assert "\n" not in str(caught.value)


def test_no_partial_file_is_left(tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(UserError, match="cannot be written"):
        save_png(Image.new("RGB", (8, 8)), tmp_path / "folder.png", None)
    assert [p.name for p in tmp_path.iterdir()] == ["folder.png"]


def test_a_recipe_is_plain_json(sd: ModelFamily) -> None:
    found = recipe(Request("x", 0, **CALL), sd, [])
    assert json.loads(json.dumps(found)) == found
    assert found["torch"] == str(torch.__version__)
