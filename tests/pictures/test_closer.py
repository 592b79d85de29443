"""A part of a picture from closer: where its subject is, and what is put back."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from kaiffin.foundation.config import BaseConfig
from kaiffin.foundation.runtime import Runtime
from kaiffin.foundation.tell import SILENT
from kaiffin.miniature.world import world
from kaiffin.miniature.world.vocabulary import SIDE
from kaiffin.models.base import ModelFamily
from kaiffin.models.files.load import load_base
from kaiffin.pictures import closer
from kaiffin.pictures.request import Request
from kaiffin.pictures.sample import generate
from kaiffin.pictures.start import Start


@pytest.fixture(scope="module")
def miniature() -> ModelFamily:
    config = BaseConfig(name="miniature")
    return load_base(config, Runtime.from_config(config), SILENT)


CALL = {"width": 64, "height": 64, "steps": 4}


def grain(width: int, height: int) -> Image.Image:
    return Image.effect_noise((width, height), 60).convert("RGB")


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image).astype(int)


def test_a_box_by_hand_grows_with_the_picture() -> None:
    assert closer.by_hand(Start(box=(10, 20, 16, 8))) == (10, 20, 26, 28)
    assert closer.by_hand(Start(box=(10, 20, 16, 8), upscale=2)) == (20, 40, 52, 56)


@pytest.mark.parametrize(
    ("box", "size"),
    [((0, 0, 16, 16), (64, 64)), ((8, 8, 40, 24), (88, 48)), ((0, 0, 100, 100), (96, 96))],
)
def test_a_part_is_painted_at_the_size_of_the_base(box: closer.Box, size: tuple[int, int]) -> None:
    image = grain(96, 128) if box[2] > 64 else grain(64, 64)
    assert closer.size_of([box], image, 64) == size


@pytest.mark.parametrize("box", [(16, 16, 48, 48), (0, 0, 32, 32), (0, 40, 64, 64)])
def test_only_the_part_changes(box: closer.Box) -> None:
    """Its edge is soft but where the picture ends, and its middle is all new."""
    image, part = grain(64, 64), Image.new("RGB", (64, 64), "red")
    found = pixels(closer.put_back(image, part, box))
    left, top, right, bottom = box
    outside = np.ones((64, 64), bool)
    outside[top:bottom, left:right] = False
    assert (found[outside] == pixels(image)[outside]).all()
    assert (found[(top + bottom) // 2, (left + right) // 2] == (255, 0, 0)).all()
    corner = found[0, 0] if (left, top) == (0, 0) else found[63, 63]
    assert (corner == (255, 0, 0)).all() == ((left, top) == (0, 0) or bottom == 64)


def test_a_second_pass_over_a_box_leaves_the_rest(family: ModelFamily) -> None:
    plain, close = (
        pixels(next(generate(family, [Request("a dog", 3, **CALL, start=start)])))
        for start in (None, Start(box=(16, 16, 32, 32)))
    )
    changed = (plain != close).any(-1)
    assert changed[20:44, 20:44].mean() > 0.5
    changed[16:48, 16:48] = False
    assert not changed.any()


def test_words_are_found_in_the_prompt(family: ModelFamily) -> None:
    """By their tokens, each time, also in a later block and within brackets."""
    once = family.places("a dog", "dog")
    twice = family.places("a dog and a dog", "dog")
    assert twice[: len(once)] == once
    assert len(twice) == 2 * len(once)
    assert family.places("a cat", "dog") == []
    far = family.places("x " * 80 + "dog", "dog")
    assert far
    assert min(far) > 77
    read = Request("a (dog:1.3)", 1, **CALL, prompt_syntax="a1111").read[0].texts(4)[-1]
    assert family.places(read, "dog") == once


def test_the_subject_is_where_it_is_drawn(miniature: ModelFamily) -> None:
    """On the miniature, whose world knows where: what is another with the animal than without."""
    places = ((0.3, 0.93, 0.5), (0.7, 0.93, 0.5), (0.5, 0.75, 0.5))
    shares, sizes = [], []
    for species in ("penguin", "cat", "lion"):
        for x, y, size in places:
            spec = world.Spec(species, "red", "meadow", x=x, y=y, size=size)
            image = world.render(spec)
            empty = pixels(world.render(replace(spec, species=None)))
            there = np.abs(pixels(image) - empty).max(-1) > 20
            request = Request(f"a photo of a red {species} in a meadow", 1, SIDE, SIDE)
            left, top, right, bottom = closer.by_words(miniature, request, image, species)
            assert right - left == bottom - top
            shares.append(there[top:bottom, left:right].sum() / there.sum())
            sizes.append((right - left) ** 2 / SIDE**2)
    assert min(shares) > 0.8
    assert np.mean(shares) > 0.9
    assert np.mean(sizes) < 0.7
