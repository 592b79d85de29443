"""One way of listing a folder's photos: what is taken, and what is left out and said."""

from pathlib import Path

import pytest
from PIL import Image

from kaiffin.foundation.errors import PhotoError, UserError
from kaiffin.foundation.tell import Tell
from kaiffin.score.photos import in_folder, pictures_in


class Notes(Tell):
    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "inner").mkdir(parents=True)
    for name in ("b.png", "a.JPG", "sheet.png", "best-2.png", "best.jpg", "sheet-seed0.png"):
        with (folder / name).open("wb") as file:
            Image.new("RGB", (8, 8)).save(file, format="PNG")
    for name in ("._a.jpg", "a.txt", "notes.md"):
        (folder / name).write_text("")
    return folder


def test_sheets_hidden_and_other_files_are_left_out(folder: Path) -> None:
    taken = ["a.JPG", "b.png", "best.jpg", "sheet-seed0.png"]
    for found in (in_folder, lambda place, tell: pictures_in([place], tell=tell)):
        heard = Notes()
        assert [path.name for path in found(folder, tell=heard)] == taken
        assert heard.said == [
            f"note: {folder}: left out, as sheets of other pictures: best-2.png, sheet.png"
        ]


def test_a_file_that_is_named_is_taken_whatever_it_is_called(folder: Path) -> None:
    heard = Notes()
    named = [folder / "sheet.png", folder / "b.png"]
    assert pictures_in(named, tell=heard) == named
    assert heard.said == []


def test_nothing_there(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(PhotoError, match=r"inner: holds no photos\."):
        in_folder(folder / "inner")
    with pytest.raises(PhotoError, match=r"gone: is no folder with photos\."):
        in_folder(tmp_path / "gone")
    with pytest.raises(UserError, match=r"inner: no pictures there\."):
        pictures_in([folder / "inner"])
    assert len(pictures_in([folder / "inner", folder])) == 4
