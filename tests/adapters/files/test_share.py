"""What of a header tells of somebody's machine, and what does not."""

import pytest

from kaiffin.adapters.files import share


@pytest.mark.parametrize(
    ("value", "private"),
    [
        ("/home/me/photos", True), ("C:\\Users\\me\\img", True), ("D:/lora/img", True),
        ('{"dir": "/mnt/data/x"}', True), ("~/photos", True), ("\\\\nas\\share", True),
        ("stable-diffusion-v1/lora", False), ("kaiffin/puffin", False), ("(512, 512)", False),
        ("https://example.org/a/b", False), ("networks.lora", False), ("a 1/2 turn", False),
        ("data:image/jpeg;base64,/9j/4AAQSkZJRg", False),
    ],
)  # fmt: skip
def test_paths(value: str, private: bool) -> None:
    assert share.is_private("modelspec.title", value) == private


def test_captions_of_others_are_private_without_a_path() -> None:
    assert share.is_private("ss_tag_frequency", "{}")
