"""The text inside a PNG, whoever wrote it, and sheets told from pictures."""

from pathlib import Path

import pytest
from PIL import Image, PngImagePlugin

from kaiffin.foundation.errors import UserError
from kaiffin.pictures import png
from kaiffin.pictures.recipe import read_recipe


def with_text(path: Path, text: str) -> Path:
    info = PngImagePlugin.PngInfo()
    info.add_itxt(png.RECIPE_KEY, text)
    Image.new("RGB", (8, 8)).save(path, pnginfo=info)
    return path


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '"x"', '{"request": {}}', '{"request": {"prompt": 1, "evil": 2}}', "[" * 5000],
)
def test_hostile_metadata_is_one_line(tmp_path: Path, text: str) -> None:
    path = with_text(tmp_path / "a.png", text)
    with pytest.raises(UserError, match=r"a\.png") as caught:
        read_recipe(path)
    assert "\n" not in str(caught.value)


def test_what_is_no_picture_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"no picture")
    with pytest.raises(UserError, match="cannot be read as a picture"):
        png.read(path)
    with pytest.raises(UserError, match="cannot be read as a picture"):
        png.read(tmp_path / "gone.png")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sheet.png", True), ("sheet-2.png", True), ("best.png", True), ("best-12.png", True),
        ("sheet-seed0.png", False), ("best-dog-seed1.png", False), ("bestiary.png", False),
        ("sheet.jpg", False), ("a-sheet.png", False),
    ],
)  # fmt: skip
def test_sheets_by_their_exact_names(tmp_path: Path, name: str, expected: bool) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / name, format="PNG")
    assert png.is_sheet(tmp_path / name) is expected


def test_a_picture_with_a_recipe_is_no_sheet_whatever_its_name(tmp_path: Path) -> None:
    assert not png.is_sheet(with_text(tmp_path / "best.png", "{}"))
