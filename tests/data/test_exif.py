"""Which way is up, out of whole and damaged EXIF data of every format that carries them."""

from pathlib import Path

import pytest
from PIL import Image, PngImagePlugin

from kaiffin.data import images

HOW = {"jpg": {"quality": 95}, "png": {}, "webp": {"lossless": True}}
COLOURS = [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0)]


def corner_picture() -> Image.Image:
    """Four corners of different colours, so that any turning shows."""
    image = Image.new("RGB", (60, 40))
    for place, colour in zip(((0, 0), (30, 0), (0, 20), (30, 20)), COLOURS, strict=True):
        image.paste(tuple(255 * value for value in colour), (*place, place[0] + 30, place[1] + 20))
    return image


def is_upright(image: Image.Image) -> bool:
    places = [(4, 4), (55, 4), (4, 35), (55, 35)]
    if image.size != (60, 40):
        return False
    return [tuple(round(v / 255) for v in image.getpixel(place)) for place in places] == COLOURS


def exif(orientation: int) -> bytes:
    block = Image.Exif()
    block[0x0112], block[0x010F], block[0x9286] = orientation, "the maker", "words"
    return block.tobytes()


BREAKS = {
    "no head": lambda block: block[:6] + b"XX" + block[8:],
    "another mark": lambda block: b"Exi?" + block[4:],
    "leads nowhere": lambda block: block[:10] + b"\xff\xff\xff\x7f" + block[14:],
    "cut": lambda block: block[:40],
}


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
@pytest.mark.parametrize("how", BREAKS)
def test_the_orientation_is_kept_out_of_damaged_exif(
    tmp_path: Path, how: str, suffix: str, orientation: int
) -> None:
    turned = {1: 0, 3: 180, 6: 90, 8: 270}[orientation]
    image = corner_picture().rotate(turned, expand=True)
    path = tmp_path / f"a.{suffix}"
    image.save(path, exif=BREAKS[how](exif(orientation)), **HOW[suffix])
    photo = images.open_photo(path)
    assert is_upright(photo.image)
    assert "its EXIF data are damaged; how it is to be turned can still be read" in photo.notes


@pytest.mark.parametrize(
    "block", [b"Exif\x00\x00b'Exif", b"\xff" * 40, b"MM\x00*\xff\xff\xff\xff", exif(6)[:22]]
)
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_damaged_exif_costs_no_photo_and_is_said(tmp_path: Path, block: bytes, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    corner_picture().save(path, exif=block, **HOW[suffix])
    photo = images.open_photo(path)
    assert is_upright(photo.image)
    assert photo.notes[0].endswith("are damaged and were ignored")


@pytest.mark.parametrize("orientation", [0, 9, 55])
def test_an_orientation_that_is_none(tmp_path: Path, orientation: int) -> None:
    corner_picture().save(tmp_path / "a.png", exif=exif(orientation))
    photo = images.open_photo(tmp_path / "a.png")
    assert photo.size == (60, 40)
    assert bool(photo.notes) == (orientation != 0)  # 0 is how some cameras say nothing


def test_exif_as_text_in_a_png(tmp_path: Path) -> None:
    """As ImageMagick writes it, whole and with a letter that is no hex."""
    for end in ("", "zz"):
        block = exif(6).hex()[: -len(end) or None] + end
        texts = PngImagePlugin.PngInfo()
        texts.add_text("Raw profile type exif", f"\nexif\n  {len(block) // 2}\n{block}", zip=True)
        corner_picture().rotate(90, expand=True).save(tmp_path / "a.png", pnginfo=texts)
        photo = images.open_photo(tmp_path / "a.png")
        assert is_upright(photo.image)
        assert len(photo.notes) == (2 if end else 1)
