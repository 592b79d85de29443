"""What every figure stands on: the miniature, pictures of it, trainings that are kept, judges."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from kaiffin.foundation.config import BaseConfig, SampleConfig
from kaiffin.foundation.run import Run
from kaiffin.foundation.runtime import Runtime, randn
from kaiffin.foundation.settings import build, override
from kaiffin.foundation.sheets import sheet
from kaiffin.foundation.tell import SILENT
from kaiffin.miniature.judges.truth import Truth, likeliest, load_truth
from kaiffin.miniature.world import world
from kaiffin.miniature.world.vocabulary import SCENES
from kaiffin.models.base import Conditioning, ModelFamily, SizeFacts
from kaiffin.models.diffusion import samplers
from kaiffin.models.files.load import load_base
from kaiffin.pictures.make import Task, WeightedAdapter, make
from kaiffin.pictures.request import request, with_size
from kaiffin.score.judge import Scorer
from kaiffin.score.statistics import Interval, clustered, wilson
from kaiffin.stories import train

REPO = Path(__file__).parents[2]
IDEAS = REPO / "docs" / "images" / "ideas"
GUIDES = IDEAS.with_name("guides")
NUMBERS = REPO / "docs" / "measured" / "figures.json"
WORK = REPO / "build" / "figures"  # trainings and the judge, kept
TAUGHT = ("meadow", "beach", "kitchen")
NEW = [words[0] for name, words in SCENES.items() if name not in TAUGHT]
NEW_NAMES = [name for name in SCENES if name not in TAUGHT]


@functools.cache
def family() -> ModelFamily:
    base = BaseConfig(name="miniature")
    return load_base(base, Runtime.from_config(base), SILENT)


@functools.cache
def scorer() -> Scorer:
    return Scorer(tell=SILENT)


@functools.cache
def truth() -> Truth:
    """A network that knows the characters and the places: five minutes to train, once."""
    return load_truth(WORK / "truth.safetensors")


def pictures(
    prompts: Sequence[str], seeds: Sequence[int], adapters: Sequence[WeightedAdapter] = (),
    **settings: Any,
) -> list[Image.Image]:  # fmt: skip
    """Every prompt on every seed, prompts outside; settings: of SampleConfig."""
    sample = with_size(SampleConfig(**settings), family())
    tasks = [Task(request(p, s, sample), tuple(adapters)) for p in prompts for s in seeds]
    return [image for _, image in make(family(), tasks, batch_size=16)]


def told(prompts: Sequence[str]) -> Conditioning:
    size = family().native_size
    with torch.no_grad():
        return family().encode_text(prompts, [SizeFacts.whole(size, size)] * len(prompts))


@torch.no_grad()
def trajectory(
    prompt: str, seed: int, steps: int = 25, guidance: float = 5.0, sampler: str = "dpm++2m"
) -> tuple[list[Tensor], list[Tensor], list[float], Tensor]:
    """x and the guess of x0 at every step, their sigmas, and the latents of the picture."""
    base = family()
    both = Conditioning.cat([told([prompt]), told([""])])

    def predict(x_t: Tensor, t: float) -> Tensor:
        time = torch.tensor(int(t) if t == int(t) else t).expand(2)
        return samplers.guided(*base.predict(x_t.repeat(2, 1, 1, 1), time, both).chunk(2), guidance)

    inner, seen, guesses = samplers.denoiser(predict, base.schedule), [], []

    def denoise(x: Tensor, sigma: float) -> Tensor:
        seen.append(x / (1 + sigma * sigma) ** 0.5)  # as the model takes it
        guesses.append(inner(x, sigma))
        return guesses[-1]

    sigmas = base.schedule.sigmas(steps)
    shape = (base.latent_channels, *[base.native_size // base.downscale] * 2)
    start = base.schedule.first_noise(randn(shape, seed, "picture", "start")[None], sigmas[0])
    draw = lambda i: randn(shape, seed, "picture", i)[None]  # noqa: E731
    made = samplers.SAMPLERS[sampler](denoise, start, sigmas, draw)
    return seen, guesses, sigmas, made


@torch.no_grad()
def drawn(latents: Tensor) -> Image.Image:
    """What the decoder makes of (1, C, h, w)."""
    pixels = family().decode(latents)[0]
    return Image.fromarray(((pixels + 1) * 127.5).round().byte().permute(1, 2, 0).numpy())


@torch.no_grad()
def encoded(image: Image.Image) -> Tensor:
    import numpy as np

    pixels = torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)[None] / 127.5 - 1
    return family().encode_images(pixels)[0]


def trained(name: str, subject: str = "kaiffin", count: int = 6, **changes: Any) -> Run:
    """A training on renders, made once; changes: settings, with __ for the dot."""
    path, who = WORK / "runs" / name, world.SUBJECTS[subject]
    if Run.is_at(path) and Run.open(path).finished:
        return Run.open(path)
    photos = WORK / "photos" / name
    photos.mkdir(parents=True, exist_ok=True)
    for i, (image, caption) in enumerate(world.subject_photos(subject, count, TAUGHT), 1):
        image.save(photos / f"{i}.png")
        (photos / f"{i}.txt").write_text(caption + "\n")
    given = {
        "data.photos": photos, "subject.token": who.token, "subject.noun": who.class_noun,
        "train.tensorboard": False, **{key.replace("__", "."): v for key, v in changes.items()},
    }  # fmt: skip
    return train.train(build(override({}, given), name), path, tell=SILENT).run


def named(images: Sequence[Image.Image]) -> list[dict[str, str]]:
    """What the judge that knows the world names in each."""
    return [{q: likeliest(a) for q, a in row.items()} for row in truth().judge(images)]


# --- what is left of it -------------------------------------------------------------------------


def save(
    name: str, images: Sequence[Image.Image], labels: Sequence[str], *, folder: Path | None = None,
    **layout: Any,
) -> None:  # fmt: skip
    """A labelled sheet as <name>.webp, in docs/images/ideas unless another folder is named."""
    folder = folder or IDEAS
    folder.mkdir(parents=True, exist_ok=True)
    sheet(images, labels, **layout).save(folder / f"{name}.webp", quality=88, method=6)


def strip(name: str, images: Sequence[Image.Image]) -> None:
    """Frames side by side without labels, for the pages that move."""
    width, height = images[0].size
    page = Image.new("RGB", (width * len(images), height))
    for i, image in enumerate(images):
        page.paste(image, (i * width, 0))
    page.save(IDEAS / f"{name}.webp", quality=90, method=6)


def note(idea: str, text: str) -> None:
    """The numbers of an idea's page, in Markdown; `make docs` puts them there."""
    found = json.loads(NUMBERS.read_text(encoding="utf-8")) if NUMBERS.is_file() else {}
    found[idea] = text
    NUMBERS.parent.mkdir(parents=True, exist_ok=True)
    NUMBERS.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def table(head: str, rows: Sequence[str]) -> str:
    lines = [f"| {head} |", "|---" * (head.count("|") + 1) + "|"]
    return "\n".join([*lines, *(f"| {row} |" for row in rows)])


def share(hits: int, count: int) -> str:
    low, high = wilson(hits, count)
    return f"{hits / count:.0%} [{low:.0%}, {high:.0%}]"


def mean(values: Sequence[float], each: int) -> Interval:
    """Of values in groups of `each` that hang together, such as the seeds of a prompt."""
    return clustered(values, [i // each for i in range(len(values))])


def told_as(found: Interval, digits: int = 3) -> str:
    return f"{found.mean:.{digits}f} [{found.low:.{digits}f}, {found.high:.{digits}f}]"
