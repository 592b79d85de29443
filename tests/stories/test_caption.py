"""`kaiffin caption` with a captioner of the miniature's world that is trained here."""

import json
from pathlib import Path

import captioners
import pytest
from PIL import Image

from kaiffin.cli.main import main
from kaiffin.miniature.world import world
from kaiffin.models.files.captioner import Captioner

PLACES = {"meadow": "in a meadow", "beach": "a puffin on a beach", "kitchen": "in a kitchen"}


@pytest.fixture(scope="module")
def knowing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """It has seen another character in three places, and says where it is."""
    folder = tmp_path_factory.mktemp("captioner")
    pairs = [
        (image, text)
        for place, text in PLACES.items()
        for image, _ in world.subject_photos("kaiffin", 16, scenes=(place,))
    ]
    captioners.taught(folder, pairs)
    return folder


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for place in PLACES:
        ((image, _),) = world.subject_photos("kaiffin", 1, scenes=(place,), seed=7)
        image.save(folder / f"{place}.png")
    return folder


def call(photos: Path, model: Path, *more: str) -> int:
    words = ["caption", str(photos), "--captioner", str(model), "--subject", "kaiffin"]
    return main([*words, "--class", "puffin", *more])


def said(folder: Path) -> dict[str, str]:
    return {path.stem: path.read_text().strip() for path in sorted(folder.glob("*.txt"))}


def test_every_photo_gets_what_is_not_the_subject(
    photos: Path, knowing: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "kitchen.txt").write_text("mine\n")
    assert call(photos, knowing) == 0
    out = capsys.readouterr().out
    assert "2 captions written; 1 photo had one (--again)." in out
    assert said(photos) == {
        "meadow": "a photo of kaiffin puffin, in a meadow",
        "beach": "a kaiffin puffin on a beach",
        "kitchen": "mine",
    }
    assert call(photos, knowing, "--again", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found["made"]) == 3
    assert said(photos)["kitchen"] == "a photo of kaiffin puffin, in a kitchen"
    assert main(["prepare", str(photos), "--class", "puffin", "--out", str(photos / "p")]) == 0
    assert "without the word" not in capsys.readouterr().out


def test_two_photos_of_one_name_have_captions_of_their_own(photos: Path, knowing: Path) -> None:
    with Image.open(photos / "beach.png") as image:
        image.save(photos / "meadow.webp", lossless=True)
    assert call(photos, knowing) == 0
    assert (photos / "meadow.png.txt").read_text() == "a photo of kaiffin puffin, in a meadow\n"
    assert (photos / "meadow.webp.txt").read_text() == "a kaiffin puffin on a beach\n"
    assert not (photos / "meadow.txt").exists()


def test_a_photo_without_an_answer_is_named_and_others_are_kept(
    photos: Path, knowing: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "meadow.png").write_bytes(b"no picture")
    assert call(photos, knowing) == 2
    told = capsys.readouterr()
    assert "meadow.png: " in told.err
    assert "Write those captions by hand" in told.err
    assert set(said(photos)) == {"beach", "kitchen"}


def test_a_captioner_that_says_nothing_of_use(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    captioners.captioner(tmp_path / "random", ["."])
    assert call(photos, tmp_path / "random") == 2
    err = capsys.readouterr().err
    assert "beach.png: the captioner says nothing" in err
    assert "And 2 more." in err
    assert not said(photos)
    assert call(photos, tmp_path) == 2
    assert "cannot be loaded" in capsys.readouterr().err


def test_a_model_that_can_be_asked_is_told_to_leave_the_subject_out(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    captioners.chatting(tmp_path / "chat", ["sea"])
    asked: list[str] = []
    monkeypatch.setattr(Captioner, "describe", lambda *its: asked.append(its[2]) or "by the sea")
    assert call(photos, tmp_path / "chat") == 0
    assert "Leave the puffin itself out" in asked[0]
    assert call(photos, tmp_path / "chat", "--again", "--prompt", "Where is the {noun}?") == 0
    assert asked[-1] == "Where is the puffin?"
    assert said(photos)["beach"] == "a photo of kaiffin puffin, by the sea"


def test_captions_of_a_table_are_not_written_beside_it(
    photos: Path, knowing: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "metadata.csv").write_text("file_name,text\nbeach.png,mine\n")
    assert call(photos, knowing) == 2
    assert "captions stand in a table" in capsys.readouterr().err
