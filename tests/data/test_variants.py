"""Variants are pure functions of their number, lie within the photo, and keep what is to stay."""

import math
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from kaiffin.data import images
from kaiffin.data.images import Crop, bucket_crop, square_crop
from kaiffin.data.prepare import Example
from kaiffin.data.variants import ZOOM, crop_of, told
from kaiffin.foundation.config import DataConfig

CAPTION = "kaiffin puffin, on a beach, at night, from afar, blurred"


def example(size: tuple[int, int], crop: Crop, sha256: str = "a") -> Example:
    return Example(Path("a.png"), sha256, ("",), crop, size)


@pytest.mark.parametrize("size", [(64, 64), (80, 64), (300, 200), (64, 900), (4000, 3000)])
@pytest.mark.parametrize("turn", [0.0, 7.0, 45.0])
def test_no_corner_of_a_variant_is_empty(size: tuple[int, int], turn: float) -> None:
    photo = example(size, bucket_crop(size, 64))
    data = DataConfig(crops="random", rotate=turn)
    for number in range(40):
        crop, degrees = crop_of(photo, data, 0, number)
        assert crop.size == photo.crop.size
        assert abs(degrees) <= turn
        sine, cosine = math.sin(math.radians(degrees)), math.cos(math.radians(degrees))
        middle = [crop.corner[i] + crop.size[i] / 2 for i in (0, 1)]
        for x in (-crop.size[0] / 2, crop.size[0] / 2):
            for y in (-crop.size[1] / 2, crop.size[1] / 2):
                assert -1e-6 <= middle[0] + x * cosine + y * sine <= crop.resized[0] + 1e-6
                assert -1e-6 <= middle[1] - x * sine + y * cosine <= crop.resized[1] + 1e-6


def test_a_turned_photo_shows_no_edge() -> None:
    """The same with the picture itself: white all over stays white, at the largest turn, too."""
    white = Image.new("L", (90, 70), 255)
    data = DataConfig(crops="random", rotate=45)
    photo = example(white.size, square_crop(white.size, 64))
    for number in range(20):
        crop, turn = crop_of(photo, data, 0, number)
        cut = images.apply(white, crop, turn=turn)
        assert cut.size == (64, 64)
        assert min(cut.get_flattened_data()) > 250


def test_a_crop_is_nearer_as_far_as_the_photo_has_pixels() -> None:
    def nearest(size: tuple[int, int], **data: object) -> float:
        photo = example(size, square_crop(size, 64))
        config = DataConfig(crops="random", **data)  # type: ignore[arg-type]
        return max(crop_of(photo, config, 0, n)[0].resized[0] for n in range(60)) / 64

    assert nearest((64, 64)) == 1
    assert nearest((64, 64), upscale=True) == pytest.approx(ZOOM, abs=0.03)
    assert nearest((70, 70)) == pytest.approx(70 / 64, abs=0.02)
    assert nearest((640, 640)) == pytest.approx(ZOOM, abs=0.03)


def test_variants_are_spread_over_the_photo() -> None:
    photo = example((192, 64), square_crop((192, 64), 64))
    lefts = [crop_of(photo, DataConfig(crops="random"), 0, n)[0].corner[0] for n in range(300)]
    assert Counter(left // 43 for left in lefts)[0] == pytest.approx(100, abs=30)
    assert max(lefts) > 120
    fixed = crop_of(photo, DataConfig(rotate=0.0), 0, 3)[0]
    assert fixed == photo.crop
    other = example((192, 64), photo.crop, sha256="b")
    data = DataConfig(crops="random")
    assert crop_of(other, data, 0, 1) != crop_of(photo, data, 0, 1)
    assert crop_of(photo, data, 1, 1) != crop_of(photo, data, 0, 1)


def test_tags_are_shuffled_and_the_first_stay() -> None:
    data = DataConfig(shuffle_tags=True, keep_tags=2)
    made = {told(CAPTION, data, 0, n) for n in range(60)}
    assert len(made) == 6
    assert all(text.startswith("kaiffin puffin, on a beach, ") for text in made)
    assert all(sorted(text.split(", ")) == sorted(CAPTION.split(", ")) for text in made)
    assert told(CAPTION, DataConfig(), 0, 3) == CAPTION
    assert told("one,two,, three ", DataConfig(shuffle_tags=True, keep_tags=9), 0, 0) == (
        "one, two, three"
    )


def test_bars_say_what_stays_as_in_sd_scripts() -> None:
    data = DataConfig(shuffle_tags=True)
    made = {told("a b, c ||| 1, 2, 3 ||| end", data, 0, n) for n in range(60)}
    assert len(made) == 6
    assert all(text.startswith("a b, c, ") and text.endswith(", end") for text in made)
    assert {told("a ||| 1, 2", data, 0, n) for n in range(20)} == {"a, 1, 2", "a, 2, 1"}


def test_tags_are_left_out_in_their_order() -> None:
    data = DataConfig(tag_dropout=0.25)
    made = [told(CAPTION, data, 0, n).split(", ") for n in range(800)]
    rest = CAPTION.split(", ")
    assert all(tags == [tag for tag in rest if tag in tags] for tags in made)
    assert all(tags[0] == "kaiffin puffin" for tags in made)
    counts = Counter(tag for tags in made for tag in tags[1:])
    assert all(count / 800 == pytest.approx(0.75, abs=0.06) for count in counts.values())
