"""The shipped XL twin loads unmodified, draws what it is told, and learns a subject for real."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionXLPipeline
from PIL import Image
from safetensors.torch import load_file

from kaiffin.foundation.config import BaseConfig, SampleConfig
from kaiffin.foundation.runtime import Runtime
from kaiffin.foundation.settings import build, override
from kaiffin.foundation.tell import SILENT
from kaiffin.miniature.world import world
from kaiffin.miniature.world.vocabulary import SCENES, Spec
from kaiffin.models.base import ModelFamily
from kaiffin.models.files.embedded import WEIGHTS, WEIGHTS_XL
from kaiffin.models.files.load import load_base
from kaiffin.pictures.few import NONE, Few, few
from kaiffin.pictures.make import Task, make
from kaiffin.pictures.request import request, with_size
from kaiffin.score.judge import Scorer
from kaiffin.stories import demo, generate, train

LIMIT_MB = 32  # two of them the few-step adapter


@pytest.fixture(scope="module")
def pipeline() -> StableDiffusionXLPipeline:
    pipe = StableDiffusionXLPipeline.from_pretrained(WEIGHTS_XL)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(scope="module")
def family() -> ModelFamily:
    base = BaseConfig(name="miniature-xl")
    return load_base(base, Runtime.from_config(base), tell=SILENT)


def drawn(
    family: ModelFamily, prompts: list[str], seeds: range, steps: int = 12, few_steps: Few = NONE
) -> list[Image.Image]:
    sample = with_size(SampleConfig(**{"steps": steps, **few_steps.sample}), family)
    tasks = [Task(request(p, s, sample), few_steps.worn) for p in prompts for s in seeds]
    return [image for _, image in make(family, tasks, batch_size=16)]


def size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def test_it_is_small_and_so_is_the_package() -> None:
    assert size(WEIGHTS_XL) <= LIMIT_MB * 1e6
    assert size(WEIGHTS_XL) + size(WEIGHTS) <= 58e6  # the wheel has a megabyte of code beside
    for file in WEIGHTS_XL.rglob("*.safetensors"):
        assert file.stat().st_size <= 16 * 2**20
        for key, tensor in load_file(file).items():
            assert tensor.dtype == torch.float16, key
            assert torch.isfinite(tensor).all(), key


def test_what_it_shares_with_the_miniature_is_the_same_file() -> None:
    for part in ("vae", "text_encoder", "tokenizer", "scheduler"):
        own = sorted(path for path in (WEIGHTS / part).iterdir())
        for path in own:
            assert path.read_bytes() == (WEIGHTS_XL / part / path.name).read_bytes(), path
    vocabulary = [json.loads((WEIGHTS_XL / t / "vocab.json").read_text()) for t in
                  ("tokenizer", "tokenizer_2")]  # fmt: skip
    assert vocabulary[0] == vocabulary[1]


@pytest.mark.parametrize("fast", [None, "own"])
def test_it_draws_what_it_is_told(fast: str | None, family: ModelFamily) -> None:
    """Also in four steps, with its few-step adapter."""
    few_steps = few(fast, "miniature-xl")
    asked = [Spec(species, colour, scene) for species, colour, scene in (
        ("penguin", "red", "forest"), ("cat", "blue", "snow"), ("lion", "yellow", "space"),
        ("owl", "purple", "desert"), ("frog", "green", "city"), ("bear", "pink", "beach"),
    )]  # fmt: skip
    images = drawn(
        family, [world.full_caption(spec) for spec in asked], range(1, 3), few_steps=few_steps
    )
    texts = [world.full_caption(spec) for spec in asked]
    judge = Scorer(tell=SILENT)
    alike = judge.embed_images(images) @ judge.embed_texts(texts).T
    assert alike.argmax(1).tolist() == [i for i in range(len(asked)) for _ in range(2)]


def test_an_original_of_few_pixels_is_blurred(pipeline: StableDiffusionXLPipeline) -> None:
    def edges(side: int) -> float:
        images = pipeline(
            ["a photo of a red bear in a meadow", "a photo of a blue cat in the city"] * 2,
            num_inference_steps=12, original_size=(side, side),
            generator=torch.Generator().manual_seed(2),
        ).images  # fmt: skip
        pixels = np.stack([np.asarray(image, float) for image in images])
        return float(np.abs(np.diff(pixels, axis=2)).mean())

    assert edges(16) < 0.9 * edges(64)


@pytest.mark.slow  # a training
def test_it_learns_a_subject(family: ModelFamily, tmp_path: Path) -> None:
    """Six photos, a short LoRA training through the SDXL path: pictures of unseen scenes become
    like the subject, by the miniature's judge against renders that nobody trained on."""
    who = world.SUBJECTS["kaiffin"]
    demo.render_photos(tmp_path / "photos", who.name, seed=0)
    given = {
        "base.name": "miniature-xl", "subject.token": who.token, "subject.noun": who.class_noun,
        "data.photos": tmp_path / "photos", "train.steps": 60, "train.batch_size": 2,
        "train.tensorboard": False, "score.candidates": 1, "data.prior.weight": 0,
    }  # fmt: skip
    run = train.train(build(override({}, given), "xl"), tmp_path / "run").run
    prompts = demo.new_scenes(who.name)
    scenes = [scene for scene in SCENES if scene not in demo.TAUGHT]
    true = [world.subject_render(who.name, scene, detail=99) for scene in scenes]
    judge = Scorer(tell=SILENT)
    before = judge.image_image(drawn(family, prompts, range(1, 2), 8), true).mean().item()
    order = generate.Order(str(run.path), prompts, seed=1, batch_size=16, out=tmp_path / "made")
    paths = generate.generate(order, changes={"sample.steps": 8}).paths
    after = judge.image_image([Image.open(path) for path in paths], true).mean().item()
    assert after > before + 0.1
    proof = json.loads((run.path / "proof.json").read_text())
    assert proof, "the file was read by other programs"
