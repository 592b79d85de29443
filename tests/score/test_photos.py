"""Which photos count as trained on and as held out, and what is a picture in a folder."""

import json
from pathlib import Path

import pytest
from hearing import Heard
from PIL import Image

from kaiffin.foundation.errors import PhotoError, UserError
from kaiffin.foundation.run import Run
from kaiffin.foundation.settings import build
from kaiffin.score.photos import (
    Photos,
    captions,
    in_folder,
    pictures_in,
    subject_photos,
)


def photo(path: Path, colour: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), colour).save(path)
    return path


def run_of(top: Path, trained: dict[str, str], held_out: dict[str, str]) -> Run:
    """A run with photos of one colour each."""
    photos = top / "photos"
    for name, colour in (trained | held_out).items():
        photo(photos / name, colour)
    run = Run(top / "run", build({"data": {"photos": str(photos)}}))
    listed = [{"file": name, "captions": [f"a {colour}"], "held_out": name in held_out}
              for name, colour in (trained | held_out).items()]  # fmt: skip
    run.photos_manifest.parent.mkdir(parents=True)
    run.photos_manifest.write_text(json.dumps({"photos": listed}))
    return run


def names(paths: tuple[Path, ...]) -> list[str]:
    return [path.name for path in paths]


def test_the_photos_of_a_run_that_are_still_there(tmp_path: Path) -> None:
    run = run_of(tmp_path, {"a.png": "red", "b.png": "blue"}, {"c.png": "green"})
    found = subject_photos([run])
    assert (names(found.trained), names(found.held_out)) == (["a.png", "b.png"], ["c.png"])
    assert found.references == found.held_out
    assert Photos(found.trained).references == found.trained
    (tmp_path / "photos" / "a.png").unlink()
    assert names(subject_photos([run]).trained) == ["b.png"]
    assert captions(run) == ["a red", "a blue", "a green"]


def test_what_one_run_was_trained_on_is_held_out_of_none(tmp_path: Path) -> None:
    """By content: the same photo lies in two folders under two names."""
    one = run_of(tmp_path / "one", {"a.png": "red"}, {"b.png": "blue", "c.png": "green"})
    two = run_of(tmp_path / "two", {"x.png": "red", "y.png": "blue"}, {})
    found = subject_photos([one, two])
    assert len(found.trained) == 2
    assert names(found.held_out) == ["c.png"]


def test_a_folder_takes_the_place_of_what_was_held_out(tmp_path: Path) -> None:
    run = run_of(tmp_path, {"a.png": "red"}, {"b.png": "blue"})
    photo(tmp_path / "like" / "z.png", "white")
    found = subject_photos([run], tmp_path / "like")
    assert (names(found.trained), names(found.held_out)) == (["a.png"], ["z.png"])
    assert subject_photos([], tmp_path / "like").trained == ()
    assert subject_photos([Run(tmp_path / "none", build({}))]) == Photos()


def test_a_folder_without_photos_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PhotoError, match="is no folder with photos"):
        in_folder(tmp_path / "gone")
    with pytest.raises(PhotoError, match="holds no photos"):
        in_folder(tmp_path)


def test_sheets_are_left_out_and_named(tmp_path: Path) -> None:
    for name in ("sheets", "best-seed0", "sheet", "best-2", ".hidden"):
        photo(tmp_path / f"{name}.png", "red")
    (tmp_path / "notes.txt").write_text("no picture")
    heard = Heard()
    assert [p.stem for p in pictures_in([tmp_path], tell=heard)] == ["best-seed0", "sheets"]
    assert heard.notes == [
        f"note: {tmp_path}: left out, as sheets of other pictures: best-2.png, sheet.png"
    ]
    assert pictures_in([tmp_path / "sheet.png"]) == [tmp_path / "sheet.png"]  # asked for by name
    with pytest.raises(UserError, match="no pictures there"):
        pictures_in([])


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
        heard = Heard()
        assert [path.name for path in found(folder, tell=heard)] == taken
        assert heard.notes == [
            f"note: {folder}: left out, as sheets of other pictures: best-2.png, sheet.png"
        ]


def test_a_file_that_is_named_is_taken_whatever_it_is_called(folder: Path) -> None:
    heard = Heard()
    named = [folder / "sheet.png", folder / "b.png"]
    assert pictures_in(named, tell=heard) == named
    assert heard.notes == []


def test_nothing_there(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(PhotoError, match=r"inner: holds no photos\."):
        in_folder(folder / "inner")
    with pytest.raises(PhotoError, match=r"gone: is no folder with photos\."):
        in_folder(tmp_path / "gone")
    with pytest.raises(UserError, match=r"inner: no pictures there\."):
        pictures_in([folder / "inner"])
    assert len(pictures_in([folder / "inner", folder])) == 4
