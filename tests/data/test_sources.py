"""Four layouts; every refusal by name or line number."""

import json
import os
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from kaiffin.data import files, formats
from kaiffin.data.sources import Listing, read
from kaiffin.foundation.config import DataConfig, SubjectConfig
from kaiffin.foundation.errors import ConfigError, PhotoError

NAMES = (
    "a.txt", "b.png", "b.caption", "b.png.txt", "b_mask.png", "c.jxl", "d.MOV", "metadata.parquet",
    "x.json", "inner/e.png", "inner/e.txt", "masks/b.png", "2023_trip/f.png", "10_kaiffin/two.png",
    "10_kaiffin/two.txt", "README", "10_kaiffin/deep/g.png", "notes.docx",
)  # fmt: skip
LAYOUTS = ("folder", "kohya", "metadata")
SUBJECT = SubjectConfig(token="kaiffin", noun="puffin")


def photo(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8)).save(path)
    return path


def put(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"text")


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
    assert [one.what for one in found.left_out] == [
        "pictures of other formats cannot be read (1): notes.pdf"
    ]
    ignored = listing(tmp_path, ignore_captions=True)
    assert set(captions(ignored).values()) == {("a photo of kaiffin puffin",)}


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
    photo(tmp_path / "loose.png")
    (tmp_path / "loose.txt").write_text("a caption of its own")
    found = read(DataConfig(photos=tmp_path), SubjectConfig(token="sks", noun="dog"))
    assert found.format == "kohya"
    assert captions(found) == {
        "a.png": ("sks dog",), "b.png": ("sks dog asleep",), "c.png": ("dog",),
    }  # fmt: skip
    assert {s.path.name: s.repeats for s in found.sources} == {"a.png": 10, "b.png": 10, "c.png": 1}
    assert [one.names for one in found.left_out] == [
        ("reg/d.png",), ("loose.png",), ("loose.txt",)
    ]  # fmt: skip
    assert found.left_out[-1].kind is formats.FOLLOWING, "it is named like its photo"


@pytest.mark.parametrize(
    ("name", "kohya"),
    [("10_kaiffin puffin", True), ("3_kaiffin", True), ("7_my_puffin", True),
     ("100_Kaiffin_puffin", True), ("2023_summer", False), ("2023_puffin", False),
     ("20230715_kaiffin", False), ("07_kaiffin", False), ("1_paris", False),
     ("kaiffin", False), ("10_", False)],
)  # fmt: skip
def test_a_number_before_a_name_is_not_always_a_count(
    tmp_path: Path, name: str, kohya: bool
) -> None:
    photo(tmp_path / name / "in.png")
    with pytest.raises(PhotoError, match="holds no photos") if not kohya else nullcontext():
        assert listing(tmp_path).format == "kohya"
    photo(tmp_path / "top.png")
    found = listing(tmp_path)
    unread = [one.names for one in found.left_out]
    assert unread == [("top.png",)] if kohya else [(f"{name}/in.png",)]
    assert [one.kind for one in found.left_out] == [formats.LOOSE if kohya else formats.PHOTOS]
    assert list(captions(found)) == ["in.png" if kohya else "top.png"]


def test_kohya_by_its_name(tmp_path: Path) -> None:
    photo(tmp_path / "2_someone else" / "a.png")
    with pytest.raises(PhotoError, match=r"--data\.format kohya"):
        listing(tmp_path)
    found = listing(tmp_path, format="kohya")
    assert [(s.captions, s.repeats) for s in found.sources] == [(("someone else",), 2)]


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
    for name in ("a.png", "b.png", "c.png", "masks/a.png"):
        photo(tmp_path / name)
    found = listing(tmp_path, masks="folder")
    assert list(captions(found)) == ["a.png"]
    assert [name for name, _ in found.refused] == ["b.png", "c.png"]
    assert "its mask is missing, masks/b.png" in found.refused[0][1]
    photo(tmp_path / "masks" / "b.png")
    photo(tmp_path / "c_MASK.png")
    assert all(source.mask_path for source in listing(tmp_path, masks="folder").sources)


def test_a_folder_that_is_called_like_a_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is there under its name goes before what a shell means by it."""
    home, here = tmp_path / "home", tmp_path / "here"
    photo(home / "photos" / "at_home.png")
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("HOME", str(home))
    assert list(captions(listing(Path("~/photos")))) == ["at_home.png"]
    photo(here / "~" / "photos" / "here.png")
    photo(here / "~" / "top.png")
    assert list(captions(listing(Path("~/photos")))) == ["here.png"]
    assert list(captions(listing(Path("~")))) == ["top.png"]
    with pytest.raises(PhotoError, match="~nobody-of-this-name: there is no such folder"):
        listing(Path("~nobody-of-this-name"))


@pytest.mark.parametrize("name", ["Masks", "MASK", "mask"])
def test_a_folder_of_masks_by_any_of_its_names(tmp_path: Path, name: str) -> None:
    photo(tmp_path / "a.png")
    photo(tmp_path / name / "A.PNG")
    (source,) = listing(tmp_path, masks="folder").sources
    assert source.mask_path == tmp_path / name / "A.PNG"
    assert [one.kind.name for one in listing(tmp_path).left_out] == ["masks"]


@pytest.mark.parametrize("name", ["METADATA.JSONL", "Metadata.csv", "train/Metadata.Jsonl"])
def test_a_table_in_any_case(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    photo(path.parent / "a.png")
    row = ('{"file_name": "a.png", "text": "x"}', "file_name,text\na.png,x")
    path.write_text(row[name.endswith("csv")])
    assert captions(listing(tmp_path)) == {"a.png": ("x",)}


def test_results_of_another_program_are_no_captions(tmp_path: Path) -> None:
    photo(tmp_path / "a.png")
    (tmp_path / "results.csv").write_text("epoch,loss\n1,0.5\n")
    found = listing(tmp_path)
    assert found.format == "folder"
    assert [one.names for one in found.left_out] == [("results.csv",)]


def test_empty_captions_are_said_all_at_once(tmp_path: Path) -> None:
    for i in range(7):
        photo(tmp_path / f"{i}.png")
        (tmp_path / f"{i}.txt").write_text("\n" if i else "kaiffin")
    found = listing(tmp_path)
    assert found.notes == [
        "caption files are empty (1.txt, 2.txt, 3.txt, 4.txt, 5.txt and 1 more):"
        " 'a photo of kaiffin puffin' is used, the template"
    ]
    assert listing(tmp_path, ignore_captions=True).notes == []


def test_photos_one_folder_down_are_named(tmp_path: Path) -> None:
    photo(tmp_path / "images" / "a.png")
    with pytest.raises(PhotoError, match=r"images/a\.png\. Name the folder that the photos lie in"):
        listing(tmp_path)


def test_nothing_to_read(tmp_path: Path) -> None:
    with pytest.raises(PhotoError, match="holds no photos"):
        listing(tmp_path)
    with pytest.raises(PhotoError, match="no such folder"):
        listing(tmp_path / "gone")
    with pytest.raises(PhotoError, match="is a file"):
        listing(photo(tmp_path / "a.png"))
    with pytest.raises(ConfigError, match=r"data\.photos"):
        read(DataConfig(), SUBJECT)


def test_links(tmp_path: Path) -> None:
    outside = photo(tmp_path / "outside" / "secret.png")
    folder = tmp_path / "photos"
    photo(folder / "a.png")
    (folder / "inside.png").symlink_to("a.png")
    (folder / "link.png").symlink_to(outside)
    (folder / "gone.png").symlink_to("nowhere.png")
    (folder / "tree").symlink_to(outside.parent)
    found = listing(folder)
    assert list(captions(found)) == ["a.png", "inside.png"]
    refused = dict(found.refused)
    assert "leads nowhere" in refused["gone.png"]
    assert "leaves the photo folder; --data.links true" in refused["link.png"]
    assert [one.names for one in found.left_out] == [("tree",)]
    assert "link.png" in captions(listing(folder, links=True))


def test_a_pipe_is_no_photo(tmp_path: Path) -> None:
    photo(tmp_path / "a.png")
    os.mkfifo(tmp_path / "b.png")
    assert listing(tmp_path).refused == [("b.png", "is no file")]


def test_captions_that_are_no_text_are_refused_all_at_once(tmp_path: Path) -> None:
    for name, data in (("a", b"caf\xe9"), ("b", b"\x00\x01\x02"), ("c", b"x" * 100_001)):
        photo(tmp_path / f"{name}.png")
        (tmp_path / f"{name}.txt").write_bytes(data)
    photo(tmp_path / "d.png")
    found = listing(tmp_path)
    assert [name for name, _ in found.refused] == ["a.txt", "b.txt", "c.txt"]
    assert "of a.png is neither UTF-8" in found.refused[0][1]
    assert list(captions(found)) == ["d.png"]
    assert len(captions(listing(tmp_path, ignore_captions=True))) == 4


@pytest.mark.parametrize("place", ["", "deep/er"])
def test_photos_that_a_table_does_not_list_are_refused(tmp_path: Path, place: str) -> None:
    photo(tmp_path / place / "a.png")
    photo(tmp_path / place / "b.png")
    photo(tmp_path / place / "a-masklabel.png")
    row = {"file_name": str(Path(place) / "a.png"), "text": "x"}
    (tmp_path / "metadata.jsonl").write_text(json.dumps(row))
    (tmp_path / "a.txt").write_text("not looked at")
    found = listing(tmp_path)
    assert found.refused == [(str(Path(place) / "b.png"), "is not listed in metadata.jsonl")]
    kinds = [one.kind for one in found.left_out]
    assert kinds == [formats.MASKS, formats.CAPTIONS if place else formats.SECOND]


def test_names_in_tables_and_folders_may_be_composed_or_not(tmp_path: Path) -> None:
    photo(tmp_path / "e\u0301te\u0301.png")
    (tmp_path / "metadata.csv").write_text("file_name,text\n\u00e9t\u00e9.png,summer", "utf-8")
    assert [source.captions for source in listing(tmp_path).sources] == [("summer",)]


def test_masks_beside_the_photos_are_used(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.jpg", "a-masklabel.png", "b_mask.png", "masks/b.png"):
        photo(tmp_path / name)
    found = listing(tmp_path, masks="folder")
    used = {source.path.name: source.mask_path for source in found.sources}
    assert used == {
        "a.jpg": tmp_path / "a-masklabel.png", "b.jpg": tmp_path / "masks" / "b.png",
    }  # fmt: skip
    assert [one.names for one in found.left_out] == [("b_mask.png",)]


@given(st.lists(st.sampled_from(NAMES), unique=True, max_size=14), st.sampled_from(LAYOUTS))
@settings(max_examples=40, deadline=None)
def test_every_file_is_accounted_for(names: list[str], layout: str) -> None:
    """Used, refused by name, or told by what it is: none is in two of these, none in none."""
    with TemporaryDirectory() as place:
        top = Path(place)
        for name in names:
            photo(top / name) if name.endswith(".png") else put(top / name)
        if layout == "metadata":
            (top / "metadata.csv").write_text("file_name,text\na.png,x\n")
        photo(top / "10_kaiffin" / "one.png")
        photo(top / "a.png")
        found = listing(top, format=layout)
        told = [name for one in found.left_out for name in one.names]
        used = [files.shown(path, top) for path in found.used]
        everything = [files.shown(path, top) for path in files.walk(top)]
        assert sorted(told + used) == sorted(everything)
        done = {source.path for source in found.sources}
        refused = {name for name, _ in found.refused}
        photos = {p for p in found.used if formats.is_photo(p)}
        assert {files.shown(path, top) for path in photos - done} <= refused
