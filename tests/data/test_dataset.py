"""Draws are pure functions of (seed, position); pixels are what was prepared."""

import tracemalloc
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from kaiffin.data.dataset import Dataset, Draw, _permutation
from kaiffin.data.prepare import Example, prepare
from kaiffin.foundation.config import DataConfig, SubjectConfig
from kaiffin.foundation.errors import PhotoError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for i in range(5):
        image = Image.new("RGB", (80, 80), (50 * i, 0, 0))
        image.paste((0, 255, 0), (0, 0, 40, 80))  # green on the left
        image.save(tmp_path / f"{i}.png")
    (tmp_path / "0.txt").write_text("first\nsecond, of, many, tags\n")
    return tmp_path


def dataset(folder: Path, seed: int = 0, **data: object) -> Dataset:
    config = DataConfig(photos=folder, **data)
    prepared = prepare(config, SubjectConfig(noun="thing"), 64)
    return Dataset(prepared.examples, prepared.examples, config, seed)


def whole(made: Dataset) -> Draw:
    """The first photo as it is."""
    example = made.instance[0]
    return Draw(example, "", flipped=False, crop=example.crop)


def test_every_epoch_shows_every_photo_once(folder: Path) -> None:
    made = dataset(folder)
    names = [d.example.name for n in range(10) for d in made.batch(n, 2)]
    for epoch in range(4):
        assert sorted(names[5 * epoch : 5 * epoch + 5]) == [f"{i}.png" for i in range(5)]
    assert names[:5] != names[5:10] or names[:5] != names[10:15]


def test_draws_do_not_depend_on_history_or_batch_split(folder: Path) -> None:
    options = {
        "flip": True, "caption_dropout": 0.3, "crops": "random", "rotate": 9, "shuffle_tags": True,
    }  # fmt: skip
    made, again = dataset(folder, **options), dataset(folder, **options)
    for n in (7, 3, 11):
        assert made.batch(n, 4) == again.batch(n, 4)
    split = [draw for n in range(6) for draw in made.batch(n, 2)]
    assert split == [draw for n in range(3) for draw in made.batch(n, 4)]
    assert dataset(folder, seed=1, **options).batch(7, 4) != made.batch(7, 4)
    assert made.prior_batch(2, 3) == again.prior_batch(2, 3)


def test_shares_of_captions_flips_and_dropout(folder: Path) -> None:
    made = dataset(folder, flip=True, caption_dropout=0.25)
    draws = [draw for n in range(500) for draw in made.batch(n, 4)]
    assert sum(d.flipped for d in draws) / 2000 == pytest.approx(0.5, abs=0.05)
    assert sum(d.caption == "" for d in draws) / 2000 == pytest.approx(0.25, abs=0.04)
    first = Counter(d.caption for d in draws if d.example.name == "0.png" and d.caption)
    assert first["first"] / first.total() == pytest.approx(0.5, abs=0.1)


def test_pixels_and_flips(folder: Path) -> None:
    made = dataset(folder)
    draw = whole(made)
    pixels = made.pixels(draw)
    assert pixels.shape == (3, 64, 64)
    assert pixels[1, :, 5].mean() == pytest.approx(1.0)
    assert pixels[1, :, -5].mean() == pytest.approx(-1.0)
    assert torch.equal(made.pixels(replace(draw, flipped=True)), pixels.flip(-1))


def test_alpha_masks(tmp_path: Path) -> None:
    image = Image.new("RGBA", (64, 64), (255, 0, 0, 0))
    image.paste((0, 0, 255, 255), (0, 0, 32, 64))
    image.save(tmp_path / "a.png")
    made = dataset(tmp_path, masks="alpha")
    mask = made.mask(whole(made))
    assert mask is not None
    assert mask.shape == (1, 64, 64)
    assert mask[..., :30].eq(1).all()
    assert mask[..., 34:].eq(0).all()
    assert dataset(tmp_path).mask(whole(made)) is None


def test_a_photo_changed_since_is_an_error(folder: Path) -> None:
    made = dataset(folder)
    Image.new("RGB", (80, 80)).save(made.instance[0].path)
    with pytest.raises(PhotoError, match="has changed since"):
        made.pixels(whole(made))


def test_buckets_never_mix_sizes_and_show_everything(tmp_path: Path) -> None:
    for i, size in enumerate([(100, 100), (100, 100), (160, 90), (90, 160), (90, 160)]):
        Image.new("RGB", size, (40 * i, 0, 0)).save(tmp_path / f"{i}.png")
    made = dataset(tmp_path, crop="bucket")
    epoch = made.num_batches(2)
    assert epoch == 3
    seen = set()
    for number in range(epoch):
        draws = made.batch(number, 2)
        assert len({draw.example.crop.size for draw in draws}) == 1
        seen |= {draw.example.name for draw in draws}
    assert len(seen) == 5
    assert made.batch(7, 2) == dataset(tmp_path, crop="bucket").batch(7, 2)


def test_repeats_count(tmp_path: Path) -> None:
    for name in ("3_a", "1_b"):
        (tmp_path / name).mkdir()
        shade = 99 if name == "3_a" else 9
        Image.new("RGB", (64, 64), (shade, 0, 0)).save(tmp_path / name / f"{name}.png")
    made = dataset(tmp_path, format="kohya")
    counts = Counter(d.example.name for n in range(10) for d in made.batch(n, 4))
    assert counts == {"3_a.png": 30, "1_b.png": 10}


def test_a_photo_has_so_many_variants_and_no_more(folder: Path) -> None:
    made = dataset(folder, crops="random", rotate=9, shuffle_tags=True, keep_tags=0, variants=3)
    draws = [draw for n in range(40) for draw in made.batch(n, 5) if draw.example.name == "0.png"]
    assert len({(draw.crop, draw.turn) for draw in draws}) == 3
    assert len({draw.caption for draw in draws if "," in draw.caption}) in (2, 3)


def test_masks_and_size_facts_follow_the_variant(tmp_path: Path) -> None:
    """The photo and its alpha are one ramp: what a draw shows says where it is from."""
    ramp = Image.linear_gradient("L").rotate(90).resize((200, 120))
    Image.merge("RGBA", (ramp, ramp, ramp, ramp)).save(tmp_path / "a.png")
    made = dataset(tmp_path, crops="random", rotate=6, masks="alpha", flip=True, background="#000")
    for draw in {draw.crop: draw for n in range(30) for draw in made.batch(n, 1)}.values():
        mask = made.mask(draw)
        assert mask is not None
        (_, wide), (_, left), (_, across) = draw.frame
        assert wide == 200
        left_of_it = left if not draw.flipped else draw.crop.resized[0] - left - across
        middle = (left_of_it + across / 2) / draw.crop.resized[0]
        assert mask[0, 31:33, 31:33].mean().item() == pytest.approx(middle, abs=0.03)
        slope = (mask[0, 32, -1] - mask[0, 32, 0]).item()
        assert (slope < 0) == draw.flipped


class Many(Sequence):
    """As many examples as one likes, three of them real; counts how often it is asked."""

    def __init__(self, few: Sequence[Example], count: int) -> None:
        self.few, self.count, self.asked = few, count, 0

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, place: int) -> Example:
        if place >= self.count:
            raise IndexError
        self.asked += 1
        return self.few[place % len(self.few)]


@pytest.mark.parametrize("crop", ["square", "bucket"])
def test_a_step_costs_the_same_for_three_photos_and_for_a_million(folder: Path, crop: str) -> None:
    Image.new("RGB", (160, 80)).save(folder / "wide.png")
    data = DataConfig(photos=folder, crop=crop)
    few = prepare(data, SubjectConfig(), 64).examples[-3:]
    held = {}
    for count in (3, 1_000_000):
        many = Many(few, count)
        made = Dataset(many, [], data, 0)
        for number in range(20):  # the orders of the first epoch
            made.batch(number, 2)
        many.asked = 0
        tracemalloc.start()
        drawn = [draw for number in range(20, 120) for draw in made.batch(number, 2)]
        held[count] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert many.asked == len(drawn) == 200  # what is drawn, and no other
    _permutation.cache_clear()
    assert held[1_000_000] < 4 * held[3]


def test_every_photo_comes_once_in_an_epoch_of_a_hundred_thousand(folder: Path) -> None:
    few = prepare(DataConfig(photos=folder), SubjectConfig(), 64).examples
    made = Dataset(Many(few, 100_000), [], DataConfig(), 0)
    places = [place for number in range(25_000) for place in made._indices(number, 4)]
    assert sorted(places) == list(range(100_000))
