"""The pictures of a page: embedded once, alike, and as large as there is room."""

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kaiffin.experiments.report.album import (
    LOSSLESS,
    RUNGS,
    Album,
    InlineImage,
    encode,
    opened,
    recipe_facts,
    spread,
)


def encoded(path: Path, side: int) -> InlineImage:
    return encode(opened(path), side, 90)


def decoded(url: str) -> Image.Image:
    data = base64.b64decode(url.removeprefix("data:image/webp;base64,"))
    return Image.open(io.BytesIO(data)).convert("RGB")


def test_small_pictures_keep_every_bit(tmp_path: Path) -> None:
    image = Image.new("RGB", (64, 48), "white")
    image.putpixel((3, 5), (255, 0, 0))
    image.save(tmp_path / "small.png")
    made = encoded(tmp_path / "small.png", 512)
    assert (made.width, made.height, made.crisp) == (64, 48, True)
    assert decoded(made.url).tobytes() == image.tobytes()


def test_photos_of_phones_are_upright_and_small(tmp_path: Path) -> None:
    image = Image.new("RGB", (1200, 800), "blue")
    image.paste("red", (0, 0, 600, 800))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn right to view: the left half comes to the top
    image.save(tmp_path / "phone.jpg", exif=exif)
    made = encoded(tmp_path / "phone.jpg", 256)
    shown = decoded(made.url)
    assert shown.size == (made.width, made.height) == (170, 256)
    assert not made.crisp
    top, bottom = shown.getpixel((85, 40)), shown.getpixel((85, 215))
    assert isinstance(top, tuple)
    assert isinstance(bottom, tuple)
    assert top[0] > 200 > 60 > top[2]
    assert bottom[2] > 200 > 60 > bottom[0]


def noise(path: Path, seed: int, side: int = 200) -> Path:
    rng = np.random.default_rng(seed)
    Image.fromarray(rng.integers(0, 255, (side, side, 3), dtype=np.uint8)).save(path)
    return path


def test_a_picture_that_is_gone_or_another_is_none(tmp_path: Path) -> None:
    album, path = Album(tmp_path), noise(tmp_path / "a.png", 0, 8)
    assert album.add(None, "t", "a") is None
    assert album.add(tmp_path / "gone.png", "t", "a") is None
    assert album.add(path, "t", "a", sha256="00" * 32) is None
    assert album.shown == []
    (tmp_path / "cut.png").write_bytes(b"no picture")
    cut = album.add(tmp_path / "cut.png", "t", "a")  # it is there, and turns out to be none
    album.encode(10**6)
    assert album.image(cut) is None


def test_the_same_picture_stands_on_the_page_once(tmp_path: Path) -> None:
    album = Album(tmp_path / "pages")
    path = noise(tmp_path / "a b.png", 0, 8)
    first, again = (album.add(path, title, "alt") for title in ("one", "two"))
    assert first
    assert again
    assert first.sha256 == again.sha256
    assert first.link == "../a%20b.png"
    album.encode(10**6)
    assert album.place(first).startswith("data:image/webp;base64,")
    assert album.place(again) == ""
    data = album.data()
    assert set(data["pictures"]) == {first.key, again.key}
    assert data["images"] == {}  # it stands in the page already


def test_all_shrink_alike_and_what_is_optional_goes_first(tmp_path: Path) -> None:
    def filled() -> Album:
        album = Album(tmp_path)
        for i in range(6):
            album.add(noise(tmp_path / f"{i}.png", i), "t", "a", optional=i > 1)
        return album

    album = filled()
    album.encode(10**7)
    sizes = {image.width for one in album.shown if (image := album.image(one))}
    assert (album.whole, sizes) == (True, {200})
    tight = filled()
    tight.encode(60_000)
    sizes = [image.width for one in tight.shown if (image := tight.image(one))]
    assert tight.whole
    assert len(sizes) == 6
    assert len(set(sizes)) == 1
    assert sizes[0] < 200
    tighter = filled()
    tighter.encode(12_000)
    assert not tighter.whole
    assert [tighter.image(one) is not None for one in tighter.shown] == [True, True] + [False] * 4
    none = filled()
    none.encode(10)
    assert not any(none.image(one) for one in none.shown)
    assert none.data()["pictures"] == {}


def test_a_few_are_spread_evenly_with_the_ends() -> None:
    assert spread(range(5), 9) == [0, 1, 2, 3, 4]
    assert spread(range(9), 3) == [0, 4, 8]


@pytest.mark.parametrize("text", ["[1]", '{"request": 3}', "{}", "no json"])
def test_a_recipe_that_is_damaged_is_said(tmp_path: Path, text: str) -> None:
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text("kaiffin", text)
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png", pnginfo=info)
    own, shared = recipe_facts(tmp_path / "a.png")
    assert own[0][0] == "recipe"
    assert own[0][1] in ("damaged", "none inside this file")
    assert shared == ()


def test_lossless_ends_with_its_rung(tmp_path: Path) -> None:
    """Small pictures keep every bit only as long as the page has room for it."""
    path = noise(tmp_path / "a.png", 0, 64)
    exact, lossy = encoded(path, LOSSLESS), encoded(path, RUNGS[-1][0])
    with Image.open(path) as image:
        assert decoded(exact.url).tobytes() == image.convert("RGB").tobytes()
        assert decoded(lossy.url).tobytes() != image.convert("RGB").tobytes()
    assert len(lossy.url) < len(exact.url)
