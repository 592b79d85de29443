"""Five layouts; every refusal by name or line number."""

import json
from pathlib import Path

import pytest
from PIL import Image

from kaiffin.data.sources import Listing, read
from kaiffin.foundation.config import DataConfig, SubjectConfig
from kaiffin.foundation.errors import ConfigError, PhotoError
from kaiffin.foundation.subject import fill, without_token

SUBJECT = SubjectConfig(token="kaiffin", noun="puffin")


def photo(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8)).save(path)
    return path


def listing(folder: Path, **data: object) -> Listing:
    return read(DataConfig(photos=folder, **data), SUBJECT)


def captions(found: Listing) -> dict[str, tuple[str, ...]]:
    return {source.path.name: source.captions for source in found.sources}


def test_a_plain_folder_with_side_cars(tmp_path: Path) -> None:
    for name in ("b.png", "a.JPG", "c.webp"):
        photo(tmp_path / name)
    (tmp_path / "a.txt").write_text(
        "\ufeffa photo of kaiffin\n\n  by the   sea \n", encoding="utf-8"
    )
    (tmp_path / "notes.pdf").write_text("x")
    (tmp_path / ".DS_Store").write_text("x")
    (tmp_path / "more").mkdir()
    found = listing(tmp_path)
    assert found.format == "folder"
    assert captions(found) == {
        "a.JPG": ("a photo of kaiffin", "by the sea"),
        "b.png": ("a photo of kaiffin puffin",),
        "c.webp": ("a photo of kaiffin puffin",),
    }
    assert found.not_photos == ["notes.pdf"]
    assert "more" in found.notes[0]
    ignored = listing(tmp_path, ignore_captions=True)
    assert set(captions(ignored).values()) == {("a photo of kaiffin puffin",)}


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


@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
def test_metadata(tmp_path: Path, suffix: str) -> None:
    photo(tmp_path / "a.png")
    photo(tmp_path / "deep" / "b.png")
    photo(tmp_path / "unlisted.png")
    rows = [("a.png", "one, two"), ("deep/b.png", "three"), ("a.png", "again"), ("no.png", "x"),
            ("../../etc/passwd", "x"), ("/etc/passwd", "x"), ("a.png", "")]  # fmt: skip
    if suffix == "jsonl":
        lines = [json.dumps({"file_name": name, "text": text}) for name, text in rows]
        text = "\n".join([*lines, "{broken"])
    else:
        text = "file_name,text\n" + "\n".join(f'{name},"{text}"' for name, text in rows)
    (tmp_path / f"metadata.{suffix}").write_text(text)
    found = listing(tmp_path)
    assert found.format == "metadata"
    assert captions(found) == {"a.png": ("one, two", "again"), "b.png": ("three",)}
    first = 1 if suffix == "jsonl" else 2
    refused = dict(found.refused)
    assert "no such file" in refused[f"metadata.{suffix} line {first + 3}"]
    assert "below the folder" in refused[f"metadata.{suffix} line {first + 4}"]
    assert "below the folder" in refused[f"metadata.{suffix} line {first + 5}"]
    assert "no caption" in refused[f"metadata.{suffix} line {first + 6}"]
    assert "not listed" in refused["unlisted.png"]
    if suffix == "jsonl":
        assert "JSON" in refused["metadata.jsonl line 8"]


def test_kohya_folders(tmp_path: Path) -> None:
    photo(tmp_path / "10_sks dog" / "a.png")
    photo(tmp_path / "10_sks dog" / "b.png")
    (tmp_path / "10_sks dog" / "b.txt").write_text("sks dog asleep")
    photo(tmp_path / "1_dog" / "c.png")
    photo(tmp_path / "reg" / "d.png")
    found = listing(tmp_path)
    assert found.format == "kohya"
    assert captions(found) == {
        "a.png": ("sks dog",), "b.png": ("sks dog asleep",), "c.png": ("dog",),
    }  # fmt: skip
    assert {s.path.name: s.repeats for s in found.sources} == {"a.png": 10, "b.png": 10, "c.png": 1}
    assert any("reg" in note for note in found.notes)


FLICKR = """image_name| comment_number| comment
1.jpg| 0| Two men | and a bar .
1.jpg| 1|   A second   caption .
2199200615.jpg| 0| A dog .
2199200615.jpg| 4   A dog runs across the grass .
gone.jpg| 0| Nothing .
broken row
3.jpg| x| No number .
"""


@pytest.mark.parametrize("nested", [True, False])
def test_flickr30k(tmp_path: Path, nested: bool) -> None:
    top = tmp_path / "flickr30k_images" if nested else tmp_path
    inner = top / "flickr30k_images" if nested else top
    for name in ("1.jpg", "2199200615.jpg", "unlisted.jpg"):
        photo(inner / name)
    (top / "results.csv").write_text(FLICKR)
    found = listing(tmp_path)
    assert found.format == "flickr30k"
    assert captions(found) == {
        "1.jpg": ("Two men | and a bar .", "A second caption ."),
        "2199200615.jpg": ("A dog .", "A dog runs across the grass ."),
    }
    assert any("line 5" in note and "recovered" in note for note in found.notes)
    refused = dict(found.refused)
    assert "broken row" in refused["results.csv line 7"]
    assert "results.csv line 8" in refused
    assert "no such file" in refused["gone.jpg"]
    assert "not listed" in refused["unlisted.jpg"]


def test_masks_must_be_there(tmp_path: Path) -> None:
    photo(tmp_path / "a.png")
    photo(tmp_path / "b.png")
    photo(tmp_path / "masks" / "a.png")
    with pytest.raises(PhotoError, match=r"masks/b\.png: is missing"):
        listing(tmp_path, masks="folder")
    photo(tmp_path / "masks" / "b.png")
    assert all(source.mask_path for source in listing(tmp_path, masks="folder").sources)


def test_nothing_to_read(tmp_path: Path) -> None:
    with pytest.raises(PhotoError, match="holds no photos"):
        listing(tmp_path)
    with pytest.raises(PhotoError, match="no such folder"):
        listing(tmp_path / "gone")
    with pytest.raises(PhotoError, match="is a file"):
        listing(photo(tmp_path / "a.png"))
    with pytest.raises(ConfigError, match=r"data\.photos"):
        read(DataConfig(), SUBJECT)


def test_no_path_leaves_its_folder(tmp_path: Path) -> None:
    outside = photo(tmp_path / "outside" / "secret.png")
    folder = tmp_path / "photos"
    photo(folder / "a.png")
    (folder / "link.png").symlink_to(outside)
    found = listing(folder)
    assert list(captions(found)) == ["a.png"]
    assert found.refused == [("link.png", "is a link that leaves the photo folder")]


def test_a_side_car_that_is_no_text(tmp_path: Path) -> None:
    photo(tmp_path / "a.png")
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe\x00bad")
    with pytest.raises(PhotoError, match=r"a\.txt: is not UTF-8"):
        listing(tmp_path)
