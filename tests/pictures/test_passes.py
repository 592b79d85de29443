"""Ways into a picture: equal to diffusers', and what is not painted over stays as it was."""

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import load_tiny
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionInpaintPipeline,
    StableDiffusionXLImg2ImgPipeline,
)
from PIL import Image

from kaiffin.foundation.runtime import randn
from kaiffin.models.base import ModelFamily
from kaiffin.models.diffusion import samplers
from kaiffin.pictures import canvas
from kaiffin.pictures.passes import passes
from kaiffin.pictures.request import Request
from kaiffin.pictures.sample import _sampled, generate
from kaiffin.pictures.start import File, Start

CALL = {"width": 64, "height": 64, "steps": 10}
# name: diffusers' scheduler at the same noise levels
THEIRS = {
    "ddim": (DDIMScheduler, {"set_alpha_to_one": True}),
    "euler": (EulerDiscreteScheduler, {}),
    "dpm++2m": (
        DPMSolverMultistepScheduler,
        {"final_sigmas_type": "zero", "lower_order_final": False, "euler_at_final": True},
    ),
}


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ways") / "photo.png"
    ramp = np.linspace(0, 255, 64, dtype=np.uint8)
    colours = [np.tile(ramp, (64, 1)), np.tile(ramp[:, None], (1, 64)), np.full((64, 64), 90)]
    Image.fromarray(np.stack(colours, -1).astype(np.uint8)).save(path)
    return path


@pytest.fixture(scope="module")
def mask(photo: Path) -> Path:
    """The middle, along the borders of latent cells."""
    path = photo.with_name("mask.png")
    image = Image.new("L", (64, 64))
    image.paste(255, (16, 24, 48, 48))
    image.save(path)
    return path


def over(photo: Path, **more: object) -> Start:
    return Start(image=File.at(photo), **more)


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image).astype(int)


def asked(start: Start | None, **more: object) -> Request:
    return Request("a dog", **{"seed": 3, **CALL, **more}, start=start)


def made(family: ModelFamily, *requests: Request, **more: int) -> list[Image.Image]:
    return list(generate(family, list(requests), **more))


def latents(family: ModelFamily, request: Request) -> torch.Tensor:
    """Of its first pass."""
    with torch.no_grad():
        first = passes(request)[0](family, [request], [])
        return _sampled(family, [request], first, None, lambda draw: None)


@pytest.mark.parametrize("kind", ["sd", "sd_v", "sdxl"])
@pytest.mark.parametrize("name", THEIRS)
def test_img2img_is_that_of_diffusers(
    kind: str, name: str, photo: Path, request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Same weights, latents, noise, levels: the same latents to float accuracy; 0.69 of 10 steps
    are 6."""
    path = request.getfixturevalue(f"{kind}_path")
    cls = StableDiffusionXLImg2ImgPipeline if kind == "sdxl" else StableDiffusionImg2ImgPipeline
    pipe = cls.from_pretrained(str(path))
    pipe.set_progress_bar_config(disable=True)
    scheduler, options = THEIRS[name]
    config = {**pipe.scheduler.config, "timestep_spacing": "trailing"}
    pipe.scheduler = scheduler.from_config(config, **options)
    family = load_tiny(path)
    begin = canvas.encoded(family, [Image.open(photo)])
    eps = randn((4, 8, 8), 3, "picture", "start")[None]
    monkeypatch.setattr(f"{cls.__module__}.randn_tensor", lambda *a, **k: eps)
    theirs = pipe(
        "a dog", image=begin, strength=0.69, negative_prompt="blue", guidance_scale=5.0,
        num_inference_steps=10, output_type="latent",
    ).images  # fmt: skip
    start = over(photo, strength=0.69)
    ours = latents(
        family, asked(start, negative="blue", sampler=name, schedule="trailing", guidance=5.0)
    )
    assert (ours - theirs).abs().max() <= 2e-4 * theirs.abs().max()


@pytest.mark.parametrize("name", ["ddim", "euler"])
def test_inpainting_is_that_of_diffusers(
    name: str, photo: Path, mask: Path, sd_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a hard mask; theirs puts the noised original back after each step."""
    module = StableDiffusionInpaintPipeline.__module__
    pipe = StableDiffusionInpaintPipeline.from_pretrained(str(sd_path))
    pipe.set_progress_bar_config(disable=True)
    scheduler, options = THEIRS[name]
    config = {**pipe.scheduler.config, "timestep_spacing": "trailing"}
    pipe.scheduler = scheduler.from_config(config, **options)
    family = load_tiny(sd_path)
    begin = canvas.encoded(family, [Image.open(photo)])
    eps = randn((4, 8, 8), 3, "picture", "start")[None]
    monkeypatch.setattr(f"{module}.randn_tensor", lambda *a, **k: eps)
    monkeypatch.setattr(pipe, "_encode_vae_image", lambda *a, **k: begin)
    theirs = pipe(
        "a dog", image=Image.open(photo), mask_image=Image.open(mask), strength=0.8,
        guidance_scale=5.0, num_inference_steps=10, height=64, width=64, output_type="latent",
    ).images  # fmt: skip
    start = over(photo, strength=0.8, mask=File.at(mask), feather=0)
    ours = latents(family, asked(start, sampler=name, schedule="trailing", guidance=5.0))
    assert (ours - theirs).abs().max() <= 2e-4 * theirs.abs().max()


@pytest.mark.parametrize("sampler", samplers.SAMPLERS)
@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_what_the_mask_leaves_stays_to_the_last_grey_level(
    sampler: str, strength: float, photo: Path, mask: Path, sd: ModelFamily
) -> None:
    start = over(photo, strength=strength, mask=File.at(mask), feather=4)
    (image,) = made(sd, asked(start, sampler=sampler, steps=4))
    soft = canvas.mask(start, (64, 64)).numpy()
    changed = (pixels(image) != pixels(Image.open(photo))).any(-1)
    assert not changed[soft == 0].any()
    assert changed[soft == 1].mean() > 0.9
    assert (soft[24:48, 16:48] == 1).all()
    grown = np.zeros((64, 64), bool)
    grown[20:52, 12:52] = True
    assert (soft[~grown] == 0).all()
    assert 0 < soft[22, 30] < 1
    free = canvas.of_latents(torch.from_numpy(soft), 8)
    left = latents(sd, asked(start, sampler=sampler, steps=4))
    kept = canvas.encoded(sd, [Image.open(photo)])
    outside = (free == 0).expand_as(left)
    assert torch.allclose(left[outside], kept[outside], atol=1e-5)


def test_strength_0_is_the_photo_through_the_vae_and_1_is_from_noise(
    photo: Path, family: ModelFamily
) -> None:
    none, whole, plain = made(
        family, asked(over(photo, strength=0.0)), asked(over(photo, strength=1.0)), asked(None)
    )
    values = torch.from_numpy(pixels(Image.open(photo))) / 127.5 - 1
    mean, _ = family.encode_images(values.permute(2, 0, 1)[None].float())
    through = family.decode(mean)[0].permute(1, 2, 0).numpy()
    assert np.abs(pixels(none) - (through + 1) * 127.5).max() <= 1
    assert whole.tobytes() == plain.tobytes()
    between = made(family, *(asked(over(photo, strength=s)) for s in (0.2, 0.5, 0.8)))
    assert len({image.tobytes() for image in (none, *between, whole)}) == 5


def test_ways_in_do_not_depend_on_the_batch(photo: Path, mask: Path, family: ModelFamily) -> None:
    ways = (
        over(photo, strength=0.5), over(photo, mask=File.at(mask)), Start(vary=0.3, vary_seed=9),
        Start(upscale=1.5),
    )  # fmt: skip
    requests = [asked(way, seed=seed, steps=4) for way in ways for seed in (1, 2)]
    together = made(family, *requests, batch_size=4)
    for request, image in zip(requests, together, strict=True):
        (alone,) = made(family, request)
        assert np.abs(pixels(alone) - pixels(image)).max() <= 1
    assert len({image.tobytes() for image in together}) == len(together)


def test_varying_goes_from_one_seed_to_another(sd: ModelFamily) -> None:
    shares = (0.0, 0.1, 0.5, 1.0)
    requests = [asked(Start(vary=share, vary_seed=4)) for share in shares]
    at0, near, middle, at1 = made(sd, *requests)
    one, other = made(sd, asked(None), asked(None, seed=4))
    assert at0.tobytes() == one.tobytes()
    (itself,) = made(sd, asked(Start(vary=0.5, vary_seed=3)))
    assert np.abs(pixels(itself) - pixels(one)).max() <= 1
    assert np.abs(pixels(at1) - pixels(other)).max() <= 1
    assert (
        0 < np.abs(pixels(near) - pixels(one)).mean() < np.abs(pixels(middle) - pixels(one)).mean()
    )


def test_upscaling_paints_over_the_enlarged_picture(family: ModelFamily) -> None:
    plain, (kept,), (larger,) = (
        made(family, asked(None))[0],
        made(family, asked(Start(upscale=2, second=0.0))),
        made(family, asked(Start(upscale=2))),
    )
    assert kept.size == larger.size == (128, 128) == asked(Start(upscale=2)).size
    enlarged = plain.resize((128, 128), Image.Resampling.LANCZOS)
    (through,) = (family.decode(canvas.encoded(family, [enlarged])),)
    wanted = (through[0].permute(1, 2, 0).numpy() + 1) * 127.5
    assert np.abs(pixels(kept) - wanted).max() <= 1
    assert np.abs(pixels(larger) - pixels(kept)).mean() > 0


def test_on_another_kind_of_schedule(photo: Path, mask: Path, flow: ModelFamily) -> None:
    """A rectified flow's: strength 1 is from noise, and the mask keeps."""
    ways = (None, over(photo, strength=1.0), over(photo, strength=0.5, mask=File.at(mask)))
    plain, whole, masked = made(flow, *(asked(way, sampler="euler") for way in ways))
    assert plain.tobytes() == whole.tobytes()
    left = canvas.mask(ways[2] or Start(), (64, 64)).numpy() == 0
    assert (pixels(masked) == pixels(Image.open(photo)))[left].all()
