"""Several subjects that take turns: each batch is what its subject would see alone."""

from pathlib import Path

import pytest
from conftest import grainy_photos

from kaiffin.data.dataset import Dataset
from kaiffin.data.prepare import Example, prepare
from kaiffin.data.turns import Turns, dataset_of
from kaiffin.foundation.config import Config
from kaiffin.foundation.settings import build
from kaiffin.foundation.several import by_subject


@pytest.fixture
def config(tmp_path: Path) -> Config:
    for name, count in (("kai", 3), ("tob", 5)):
        (tmp_path / name).mkdir()
        grainy_photos(tmp_path / name, count)
    subjects = [{"token": w, "noun": "toy", "photos": tmp_path / w} for w in ("kai", "tob")]
    return build({"subjects": subjects, "data": {"flip": True}})


def photos(config: Config) -> list[tuple[Example, ...]]:
    return [prepare(one.data, one.subject, 64).examples for one in by_subject(config)]


def test_batches_are_those_of_each_alone(config: Config) -> None:
    every = photos(config)
    both = dataset_of(config, every, [])
    assert isinstance(both, Turns)
    alone = [Dataset(own, [], config.data, config.train.seed) for own in every]
    for number in range(7):
        assert both.batch(number, 2) == alone[number % 2].batch(number // 2, 2)
        words = {draw.example.subject.token for draw in both.batch(number, 2)}
        assert words == {("kai", "tob")[number % 2]}
    assert both.batch(3, 1)[0].caption == "a photo of tob toy"
    assert both.instance == [*every[0], *every[1]]
    draw = both.batch(1, 1)[0]
    assert both.pixels(draw).equal(alone[1].pixels(draw))
    assert both.mask(draw) is None


def test_class_pictures_are_of_whose_turn_it_is(config: Config) -> None:
    every = photos(config)
    both = dataset_of(config, every, every[1])  # photos of the second, in place of class pictures
    assert (both.prior_batch(0, 2), both.prior) == ([], list(every[1]))
    assert {draw.example.subject.token for draw in both.prior_batch(1, 2)} == {"tob"}


def test_one_subject_takes_no_turns(config: Config) -> None:
    alone = by_subject(config)[1].model_copy(update={"subjects": ()})
    assert isinstance(dataset_of(alone, photos(config)[1:], []), Dataset)
