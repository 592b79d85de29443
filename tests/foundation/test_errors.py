"""Errors that a person may see: one line, and whole wherever they come from."""

import pickle

import pytest

from kaiffin.foundation.errors import Interrupted, SettingError, UserError, nearest


@pytest.mark.parametrize(
    "error",
    [
        UserError("wrong.", "Mend it."),
        SettingError("a.yaml", "train.steps", -5, "too few"),
        Interrupted("stopped.", "Go on.", 15),
    ],
)
def test_an_error_comes_whole_out_of_another_process(error: UserError) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert vars(again) == vars(error)
    assert again.exit_code == error.exit_code


def test_a_setting_is_named_by_where_it_came_from() -> None:
    error = SettingError("a.yaml", "train.steps", -5, "too few")
    assert str(error) == "a.yaml: train.steps = -5: too few."
    assert str(error.given_by("--steps")) == "--steps: train.steps = -5: too few."
    assert str(error.given_by("--train.steps")) == "--train.steps = -5: too few."


def test_a_message_is_one_line_without_control_characters() -> None:
    error = UserError("a\nb \x1b[31m", "c\td")
    assert str(error) == "a b [31m c d"


def test_the_nearest_name_or_all() -> None:
    assert nearest("rnak", ["rank", "alpha"]) == 'Did you mean "rank"?'
    assert nearest("zzz", ["rank", "alpha"]) == "Known: alpha, rank."
    assert nearest("zzz", ["rank", "alpha"], "Ask.") == "Ask."
