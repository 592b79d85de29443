"""Presets: derived values are said, given values are kept, the result is a full config."""

import pytest

from kaiffin.foundation import config as configs
from kaiffin.foundation.errors import ConfigError
from kaiffin.foundation.presets import derive
from kaiffin.foundation.settings import build, override


@pytest.mark.parametrize("native", [64, 512, 1024])
@pytest.mark.parametrize("photos", [1, 6, 20, 31783])
def test_everything_training_needs_is_filled_and_said(native: int, photos: int) -> None:
    config, notes = derive(configs.Config(), [photos], native)
    assert config.train.steps
    assert config.train.lr
    assert config.adapter.rank
    assert config.adapter.alpha == config.adapter.rank
    assert config.data.resolution == native
    assert any("train.steps" in note for note in notes)
    assert derive(config, [photos], native) == (config, [])


def test_what_the_user_gave_stays() -> None:
    given = build({"train": {"steps": 7, "lr": 0.5}, "adapter": {"rank": 3, "alpha": 1.5}})
    config, notes = derive(given, [6], 512)
    assert (config.train.steps, config.train.lr) == (7, 0.5)
    assert (config.adapter.rank, config.adapter.alpha) == (3, 1.5)
    assert not any("train.lr" in note for note in notes)


def test_text_encoder_rates_follow() -> None:
    config, _ = derive(build({"adapter": {"text_encoder": True}}), [6], 512)
    assert config.adapter.text_rank == config.adapter.rank
    assert config.train.text_lr == config.train.lr / 2


def test_steps_grow_with_photos_within_bounds() -> None:
    steps = [derive(configs.Config(), [n], 512)[0].train.steps for n in (3, 6, 15, 100)]
    assert steps == [400, 600, 1500, 2000]


@pytest.mark.parametrize("native", [512, 1024])
def test_the_class_is_kept_unless_the_prior_was_chosen(native: int) -> None:
    """Where nobody has said anything a real base is held to what it knew of the class."""

    def kept(**given: object) -> float | None:
        return derive(build(override({}, given)), [6], native)[0].train.objective.keep

    noun = {"subject.noun": "owl"}
    assert kept(**noun) == 1.0
    assert kept() == 0.0, "there is no class"
    assert kept(**noun, **{"data.prior.weight": 0.0}) == 0.0
    assert kept(**noun, **{"data.prior.weight": 1.0}) == 0.0
    assert kept(**noun, **{"data.prior.weight": 1.0, "train.objective.keep": 0.5}) == 0.5
    with pytest.raises(ConfigError, match=r"train\.objective\.keep needs subject\.noun"):
        kept(**{"train.objective.keep": 0.5})
