"""Who an adapter is of, by the headers that trainers write."""

import json

import pytest

from kaiffin.adapters.files.subject import named

TRIGGER, TITLE = "modelspec.trigger_phrase", "modelspec.title"
DIRS = {"10_sks dog": {"n_repeats": 10, "img_count": 20}, "1_photo": {"img_count": 3}}


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ({TRIGGER: "my cat tabby", TITLE: "my cat"}, ("my cat", "tabby")),  # as Kaiffin writes it
        ({TRIGGER: "kaiffin", TITLE: "kaiffin"}, ("kaiffin", "")),
        ({TRIGGER: "kaiffin penguin", TITLE: "kaiffin-face"}, ("kaiffin", "penguin")),
        ({TRIGGER: "kaiffin puffin, plush bear", TITLE: "kaiffin"}, ("kaiffin", "puffin")),  # two
        ({TRIGGER: "ohwx man, photo", TITLE: "a man"}, ("ohwx", "man")),
        ({"ss_dataset_dirs": json.dumps(DIRS)}, ("sks", "dog")),
        ({"ss_tag_frequency": json.dumps({"5_sks_toy": {"sks_toy": 9}})}, ("sks_toy", "")),
        ({"ss_datasets": json.dumps([{"subsets": [{"class_tokens": "zwx cat"}]}])}, ("zwx", "cat")),
        ({TRIGGER: "ohwx", "ss_dataset_dirs": json.dumps(DIRS)}, ("ohwx", "")),
        ({"ss_dataset_dirs": json.dumps({"images": {"img_count": 4}})}, ("", "")),
        ({"ss_dataset_dirs": "[" * 99999, "ss_tag_frequency": "5", "ss_datasets": "[1]"}, ("", "")),
        ({}, ("", "")),
    ],
)  # fmt: skip
def test_who_it_is(header: dict[str, str], expected: tuple[str, str]) -> None:
    assert named(header) == expected
