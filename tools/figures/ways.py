"""The pictures of docs/guides/ways-in.md: each way into a picture, on the miniature."""

from __future__ import annotations

from pathlib import Path

import stage
from PIL import Image, ImageDraw
from stage import GUIDES, WORK, save

from kaiffin.foundation.config import SampleConfig
from kaiffin.miniature.world import world
from kaiffin.miniature.world.vocabulary import SIDE
from kaiffin.pictures import closer
from kaiffin.pictures.request import Request, request, with_size
from kaiffin.pictures.sample import generate
from kaiffin.pictures.start import File, Start

CAT = "a photo of a cat"
LARGE = 2 * SIDE


def asked(prompt: str, seed: int, start: Start | None = None) -> Request:
    return request(prompt, seed, with_size(SampleConfig(), stage.family()), start)


def made(*requests: Request) -> list[Image.Image]:
    return list(generate(stage.family(), requests))


def kept(name: str, image: Image.Image) -> File:
    path = WORK / "ways" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
    return File.at(Path(path))


def large(image: Image.Image) -> Image.Image:
    return image.resize((LARGE, LARGE), Image.Resampling.NEAREST)


def ways() -> None:
    photo = world.render(world.Spec("cat", "blue", "beach"))
    over(kept("photo.png", photo), photo)
    within(kept("photo.png", photo), photo)
    between()
    further()


def over(file: File, photo: Image.Image) -> None:
    """The photo, and over it by strength."""
    prompt, strengths = "a photo of a green frog in the forest", (0, 0.2, 0.4, 0.6, 0.8, 1)
    found = made(*(asked(prompt, 1, Start(image=file, strength=s)) for s in strengths))
    labels = ["the photo", *(f"strength {s:g}" for s in strengths)]
    save("ways-strength", [large(one) for one in (photo, *found)], labels, folder=GUIDES, columns=7)


def within(file: File, photo: Image.Image) -> None:
    """What is below the neck, painted over: the mask, and pictures of two seeds."""
    mask = Image.new("L", photo.size)
    ImageDraw.Draw(mask).rectangle((14, 0, 49, 24), fill=255)
    prompt = "a photo of a blue cat on the beach wearing a crown"
    start = Start(image=file, mask=kept("mask.png", mask), strength=1.0, feather=4)
    found = made(*(asked(prompt, seed, start) for seed in (1, 2, 3)))
    images = [photo, mask.convert("RGB"), *found]
    labels = ["the photo", "the mask", *(f"seed {seed}" for seed in (1, 2, 3))]
    save("ways-mask", [large(one) for one in images], labels, folder=GUIDES, columns=5)


def between() -> None:
    shares = (0, 0.1, 0.2, 0.4, 0.7, 1)
    found = made(*(asked(CAT, 3, Start(vary=s, vary_seed=8)) for s in shares))
    labels = ["seed 3", *(f"vary {s:g}" for s in shares[1:-1]), "seed 8"]
    save("ways-vary", [large(one) for one in found], labels, folder=GUIDES, columns=6)


def further() -> None:
    """A small picture larger, and a small subject from closer: both as the miniature knows things,
    whole and of its own size."""
    drawn = world.render(world.Spec("bear", "yellow", "forest"))
    photo = drawn.resize((SIDE // 2, SIDE // 2), Image.Resampling.BOX)
    enlarged = photo.resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    start = Start(image=kept("small.png", photo), strength=0, upscale=2)
    prompt = "a photo of a yellow bear in the forest"
    whole = with_size(SampleConfig(), stage.family())
    sample = whole.model_copy(update={"size": (SIDE // 2, SIDE // 2)})
    (larger,) = made(request(prompt, 1, sample, start))
    far = world.render(world.Spec("bear", "yellow", "forest", size=0.45))
    over = Start(image=kept("far.png", far), strength=0)
    (before,) = made(asked(prompt, 1, over))
    (close,) = made(asked(prompt, 1, over.model_copy(update={"detail": "bear", "second": 0.6})))
    box = closer.by_words(stage.family(), asked(prompt, 1), before, "bear")
    shown = large(before)
    ImageDraw.Draw(shown).rectangle([side * LARGE // SIDE for side in box], outline="red", width=2)
    images = [large(enlarged), large(larger), shown, large(close)]
    labels = [
        f"{SIDE // 2} pixels, enlarged",
        "--upscale 2",
        "where the bear is",
        "--detail --second 0.6",
    ]
    save("ways-passes", images, labels, folder=GUIDES, columns=4)
