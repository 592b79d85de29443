"""The configuration: strict, frozen, exact through YAML, and helpful when wrong."""

from pathlib import Path

import pytest

from kaiffin.foundation.config import Config
from kaiffin.foundation.errors import ConfigError, SettingError
from kaiffin.foundation.settings import build, dump, fields, load, option_table, override


def test_a_dumped_config_loads_equal(tmp_path: Path) -> None:
    config = build(
        override(
            {},
            {
                "subject.token": "kaïffin",
                "train.lr": "1e-4",
                "sample.size": "[512, 768]",
                "data.photos": "photos",
                "train.objective.min_snr_gamma": "5",
            },
        )
    )
    path = tmp_path / "config.yaml"
    path.write_text(dump(config), encoding="utf-8")
    assert load(path) == config
    assert config.train.lr == 1e-4
    assert config.sample.size == (512, 768)


def test_a_config_is_frozen() -> None:
    with pytest.raises(Exception, match="frozen"):
        Config().train.steps = 3  # ty: ignore[invalid-assignment]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"train": {"step": 3}}, 'train.step\'. Did you mean "train.steps"'),
        ({"trian": {}}, 'Did you mean "train"'),
        ({"train": {"steps": -3}}, "train.steps = -3"),
        ({"train": {"steps": 10, "warmup": 10}}, "train.warmup 10 leaves nothing"),
        ({"data": {"resolution": 500}}, "divisible by 8; the nearest is 496"),
        ({"sample": {"size": [65, 64]}}, "the nearest is 64x64"),
        ({"sample": {"sampler": "plms"}}, "sample.sampler = 'plms'"),
        ({"data": {"prior": {"weight": 1.0}}}, "subject.noun"),
        ({"train": {"validate_every": 2}}, "needs photos that nobody learns: data.hold_out"),
        ({"data": {"keep_tags": 2}}, "data.keep_tags has no effect"),
        ({"data": {"variants": 2}}, "data.variants has no effect"),
        ({"adapter": {"text_rank": 4}}, "adapter.text_encoder"),
        ({"adapter": {"rank_power": 2.0}}, "adapter.rank_power has no effect"),
        ({"adapter": {"min_rank": 4, "kind": "dora"}}, "which dora does not have: use lora"),
        ({"adapter": {"min_rank": 9, "rank": 8}}, "adapter.min_rank 9 is above adapter.rank 8"),
        (
            {
                "adapter": {"min_rank": 4},
                "phases": [{"name": "a"}, {"name": "b", "own_adapter": True}],
            },
            "which adapter.min_rank cannot",
        ),
        ({"train": {"lr": float("nan")}}, "train.lr"),
        ({"version": 0}, "version 0"),
    ],
)
def test_what_is_wrong_is_named_in_one_line(data: dict, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build(data, "my.yaml")
    text = str(caught.value)
    assert said in text
    assert text.startswith("my.yaml")
    assert "\n" not in text


def test_an_unknown_override_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r'Did you mean "adapter\.rank"'):
        override({}, {"adapter.rnak": "4"})
    for call in (lambda: override({}, {"zzzz": "4"}), lambda: build({"zzzz": 4})):
        with pytest.raises(ConfigError, match=r"'zzzz'\. `kaiffin options` lists all settings"):
            call()


@pytest.mark.parametrize("text", ["a: [", "- 1\n- 2", "\x00"])
def test_a_file_that_is_no_config(tmp_path: Path, text: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"c\.yaml"):
        load(path)


def test_every_field_is_documented() -> None:
    for name, info in fields():
        assert info.description, f"{name} has no description"
        assert f"`{name}`" in option_table()


def test_names_stay_names_and_none_means_derived() -> None:
    given = {"data.photos": "2024", "subject.token": "1e5", "base.vae": "", "train.ema": "null"}
    config = build(override({}, given))
    assert config.data.photos == Path("2024")
    assert config.subject.token == "1e5"
    assert config.base.vae is None
    assert config.train.ema is None


def test_a_wrong_value_knows_its_setting() -> None:
    with pytest.raises(SettingError) as caught:
        build({"train": {"objective": {"huber_delta": -1}}}, "my.yaml")
    error = caught.value
    assert (error.field, error.value) == ("train.objective.huber_delta", -1)
    assert str(error.given_by("--x")).startswith("--x: train.objective.huber_delta = -1: ")
