"""The subject's word in prompts and captions."""

import unicodedata

import pytest

from kaiffin.foundation.config import SubjectConfig
from kaiffin.foundation.errors import ConfigError
from kaiffin.foundation.subject import described, fill, plain_prompt, without_token

SUBJECT = SubjectConfig(token="kaiffin", noun="puffin")


def test_templates() -> None:
    assert fill("{token} the {noun}", SUBJECT) == "kaiffin the puffin"
    assert fill("a photo of {token} {noun}", SubjectConfig(token="x")) == "a photo of x"
    with pytest.raises(ConfigError, match=r"\{class\}"):
        fill("{class}", SUBJECT)


@pytest.mark.parametrize(
    ("caption", "told"),
    [
        ("a photo of tobbul bear in a meadow", "a photo of a bear in a meadow"),
        ("a photo of a tobbul bear", "a photo of a bear"),
        ("My Tobbul sleeps", "My bear sleeps"),
        ("tobbul on the beach, tobbul bear asleep", "a bear on the beach, a bear asleep"),
        ("a tobbulish cat", "a tobbulish cat"),
    ],
)
def test_a_caption_of_the_class(caption: str, told: str) -> None:
    assert without_token(caption, SubjectConfig(token="tobbul", noun="bear")) == told
    marked = caption.replace("tobbul ", "<tobbul> ").replace("Tobbul ", "<Tobbul> ")
    assert without_token(marked, SubjectConfig(token="<tobbul>", noun="bear")) == told


@pytest.mark.parametrize("token", ["\u00e9t\u00e9", "e\u0301te\u0301"])
@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_letters_may_be_composed_or_not(token: str, form: str) -> None:
    subject = SubjectConfig(token=token, noun="b\u00e9b\u00e9")
    caption = unicodedata.normalize(form, "a photo of \u00c9t\u00e9 b\u00e9b\u00e9 asleep")
    assert without_token(caption, subject) == "a photo of a b\u00e9b\u00e9 asleep"
    assert plain_prompt(caption, subject) == "a photo of b\u00e9b\u00e9 asleep"
    filled = fill(unicodedata.normalize(form, "caf\u00e9 {token}"), subject)
    assert filled == "caf\u00e9 \u00e9t\u00e9"


def test_a_word_with_a_backslash_is_itself() -> None:
    subject = SubjectConfig(token="a\\1b", noun="c\\1d")
    assert without_token("my a\\1b", subject) == "my c\\1d"
    assert plain_prompt("see a\\1b", subject) == "see c\\1d"


@pytest.mark.parametrize(
    ("said", "made"),
    [
        ("A puffin on a beach.", "a kaiffin puffin on a beach"),
        ("The orange Puffin swims", "the orange kaiffin puffin swims"),
        ("Two puffins at sea", "a photo of kaiffin puffin, two puffins at sea"),
        ("on a  beach,\nat night", "a photo of kaiffin puffin, on a beach, at night"),
        ("Kaiffin at home.", "kaiffin at home"),
    ],
)
def test_a_description_becomes_a_caption(said: str, made: str) -> None:
    subject = SubjectConfig(token="kaiffin", noun="puffin")
    assert described(said, "a photo of {token} {noun}", subject) == made
    owl = SubjectConfig(token="ollie", noun="owl")
    assert described("an owl in a tree", "{token}", owl) == "an ollie owl in a tree"
    assert described("In a tree", "{token}", SubjectConfig(token="ollie")) == "ollie, in a tree"
