"""Flags from schemas: what is given reaches the fields; what is wrong is named as it was given."""

from pathlib import Path

import pytest

from kaiffin.cli.help import Group
from kaiffin.cli.settings import Command, SchemaCommand, argument, option
from kaiffin.foundation.errors import ConfigError, SettingError


class DoIt(Command):
    """A command for the tests."""

    takes = ("data", "train", "score.like")
    short = ("data", "train", "score")

    place: Path = argument("where")
    more: list[str] = argument("what else", [])
    many: list[str] = option([], "repeatable")
    least: int = option(1, "one at least", "-n", ge=1)
    sure: bool = option(False, "no value")

    def __call__(self) -> int:
        SEEN.append(self)
        return 3


SEEN: list[DoIt] = []


def called(*words: str) -> DoIt:
    """What the command was, called with `words`."""
    group = Group("it", "Tests.", {"All": [SchemaCommand(DoIt)]})
    assert group.main(["do-it", *words], standalone_mode=False) == 3
    return SEEN.pop()


def test_values_become_what_the_fields_are() -> None:
    found = called("a", "--many", "x", "b", "-n", "2", "--many=y", "--sure", "c")
    assert (found.place, found.more, found.many) == (Path("a"), ["b", "c"], ["x", "y"])
    assert found.least == 2
    assert found.sure is True
    assert called("a").many == []
    assert called("a").settings == {}


def test_settings_may_stand_anywhere_short_or_in_full() -> None:
    found = called("--train.lr", "1", "a", "--data.flip=true", "-n", "2", "--skip-bad")
    assert found.settings == {"train.lr": "1", "data.flip": "true", "data.skip_bad": "true"}
    assert called("a", "--steps", "3").settings == {"train.steps": "3"}
    assert called("a", "--like", "-x").settings == {"score.like": "-x"}
    both = called("a", "--train.steps", "4", "--steps", "3")
    assert both.settings == {"train.steps": "4"}


def test_a_config_is_the_file_then_what_is_given_then_the_settings(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("train: {steps: 5, lr: 0.1, warmup: 2}\n")
    found = called("a", "--steps", "7")
    config = found.config({"train.lr": 0.2, "train.steps": 6}, file)
    assert (config.train.steps, config.train.lr, config.train.warmup) == (7, 0.2, 2)


def test_folders_whose_names_are_numbers_stay_names() -> None:
    config = called("a", "--data.photos", "2024", "--like", "007").config({})
    assert (config.data.photos, config.score.like) == (Path("2024"), Path("007"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--steps", "-5"), "--steps: train.steps = -5: must be at least 1"),
        (("--train.lr", "fast"), "--train.lr = 'fast': is not a number"),
        (("--resolution", "65"), "--resolution: data.resolution = 65: must be divisible by 8"),
    ],
)
def test_a_wrong_setting_is_named_by_the_flag_that_gave_it(
    words: tuple[str, str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DoIt, "__call__", lambda self: self.config({}))
    with pytest.raises(SettingError) as caught:
        called("a", *words)
    assert str(caught.value).startswith(said)


def test_a_wrong_setting_of_the_file_keeps_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "c.yaml").write_text("train: {lr: fast}\n")
    monkeypatch.setattr(DoIt, "__call__", lambda self: self.config({}, tmp_path / "c.yaml"))
    with pytest.raises(ConfigError, match=r"c\.yaml: train\.lr = 'fast'"):
        called("a", "--steps", "5")


def test_a_wrong_value_of_the_command_itself() -> None:
    with pytest.raises(ConfigError, match="-n 0: must be at least 1"):
        called("a", "-n", "0")
    with pytest.raises(ConfigError, match="-n 'a b': is not a whole number"):
        called("a", "-n", "a b")
