"""Names that anyone may have written, as files on any system; whole files; a folder in use."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaiffin.foundation.errors import RunError
from kaiffin.foundation.folder import DEVICES, Folder, file_name, read_json, write_json


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("kaiffin", "kaiffin"), ("<cheburashka>", "cheburashka"), ("../etc/passwd", "etc_passwd"),
        ("Чебурашка", "Чебурашка"), ("a b", "a_b"), ("C:\\x", "C__x"), ("a\0b", "a_b"),
        ("con", "_con"), ("COM7", "_COM7"), ("console", "console"), (".", "subject"),
        ("", "subject"), ("~root", "root"), ("-rf", "rf"), ("\ud800", "subject"),
    ],
)  # fmt: skip
def test_a_text_as_a_file_is_called(text: str, name: str) -> None:
    assert file_name(text) == name


def test_marks_that_are_kept_stay_within() -> None:
    assert file_name(" my photos.v2. ", keep=" .") == "my photos.v2"
    assert file_name("..", "photos", keep=".") == "photos"
    assert file_name("nul.txt", keep=".") == "_nul.txt"


@given(st.text(), st.sampled_from(["", " .", ".,=+"]))
def test_every_name_is_one_that_every_system_takes(text: str, keep: str) -> None:
    name = file_name(text, keep=keep)
    assert name
    assert len(name.encode()) <= 121
    assert name[0] not in "-. "
    assert name[-1] not in ". "
    assert not set(name) & set('/\\:*?"<>|\0\n')
    assert name.partition(".")[0].lower() not in DEVICES
    assert Path(name).name == name
    assert keep or file_name(name.removeprefix("_")) in (name, name.removeprefix("_"))


def test_json_is_written_whole_and_read_as_a_mapping(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "facts.json"
    assert read_json(path) == {}
    write_json(path, {"word": "щ"})
    assert read_json(path) == {"word": "щ"}
    assert "щ" in path.read_text(encoding="utf-8")
    path.write_text("[1]")
    with pytest.raises(RunError, match="holds no mapping"):
        read_json(path)


def test_a_folder_is_in_use_while_it_is_locked(tmp_path: Path) -> None:
    assert not Folder(tmp_path).in_use()
    with Folder(tmp_path).lock():
        assert Folder(tmp_path).in_use()
    assert not Folder(tmp_path).in_use()
