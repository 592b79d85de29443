"""Photos and masks before they are painted over: opened, fitted, said, refused."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hearing import Heard
from PIL import Image

from kaiffin.foundation.errors import PhotoError
from kaiffin.pictures import canvas
from kaiffin.pictures.start import File, Start


def saved(path: Path, image: Image.Image, **more: object) -> File:
    image.save(path, **more)
    return File.at(path)


def grain(width: int, height: int) -> Image.Image:
    return Image.effect_noise((width, height), 60).convert("RGB")


def said(start: Start, size: tuple[int, int], steps: int = 10) -> list[str]:
    heard = Heard()
    canvas.remarks(start, size, steps, heard)
    return heard.notes


def test_a_photo_of_one_pixel(tmp_path: Path) -> None:
    start = Start(image=saved(tmp_path / "a.png", grain(1, 1)))
    with pytest.raises(PhotoError, match=r"a\.png: 1x1 pixels are too few .* 8x8 or more"):
        canvas.refuse_unusable(start)
    canvas.refuse_unusable(Start(image=saved(tmp_path / "b.png", grain(8, 8))))
    canvas.refuse_unusable(None)


def test_a_photo_in_any_mode_and_turned(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    for name, mode in (("a.jpg", "CMYK"), ("b.png", "P"), ("c.png", "LA"), ("d.jpg", "RGB")):
        image = grain(40, 20).convert(mode)
        start = Start(image=saved(tmp_path / name, image, exif=exif))
        shown = canvas.photo(start, (16, 32))
        assert (shown.mode, shown.size) == ("RGB", (16, 32))
        assert any("turned by EXIF" in note for note in said(start, (16, 32)))


def test_its_own_size_where_the_base_can_paint_that(tmp_path: Path) -> None:
    for size, own in (
        ((64, 64), (64, 64)), ((96, 48), (96, 48)), ((72, 40), (72, 40)),
        ((640, 480), (80, 48)), ((65, 64), (64, 64)), ((16, 16), (64, 64)),
    ):  # fmt: skip
        start = Start(image=saved(tmp_path / "a.png", grain(*size)))
        assert canvas.own_size(start, 64) == own, size


def test_what_is_cut_and_enlarged_is_said(tmp_path: Path) -> None:
    start = Start(image=saved(tmp_path / "a.png", grain(32, 16)))
    assert said(start, (128, 128)) == [
        "note: a.png: 50% is cut off to make 128x128 of it; --size says another size",
        "note: a.png: is enlarged 8.0 times",
    ]
    assert said(start, (32, 16)) == []


def test_strength_says_what_it_does(tmp_path: Path) -> None:
    image = saved(tmp_path / "a.png", grain(64, 64))
    assert "from noise alone" in said(Start(image=image, strength=1), (64, 64))[0]
    for strength in (0, 0.09):
        (note,) = said(Start(image=image, strength=strength), (64, 64))
        assert "through the VAE, and that is all" in note
    assert said(Start(image=image, strength=0.1), (64, 64)) == []


def test_masks_that_are_of_no_use_or_of_another_size(tmp_path: Path) -> None:
    image = saved(tmp_path / "a.png", grain(64, 64))
    black = saved(tmp_path / "black.png", Image.new("L", (64, 64)))
    with pytest.raises(PhotoError, match=r"black\.png: the mask is all black"):
        canvas.refuse_unusable(Start(image=image, mask=black))
    white = saved(tmp_path / "white.png", Image.new("L", (32, 16), 255))
    assert said(Start(image=image, mask=white), (64, 64)) == [
        "note: white.png: 32x16, resized to the 64x64 of a.png",
        "note: white.png: is all white: all is painted over",
    ]
    wide = saved(tmp_path / "wide.png", grain(128, 64))
    edge = Image.new("L", (128, 64))
    edge.paste(255, (0, 0, 20, 64))
    cut = Start(image=wide, mask=saved(tmp_path / "edge.png", edge))
    with pytest.raises(PhotoError, match=r"edge\.png: what is white in it is cut off"):
        said(cut, (64, 64))


def test_what_is_transparent_in_a_mask_stays(tmp_path: Path) -> None:
    strokes = Image.new("RGBA", (64, 64))
    strokes.paste((255, 255, 255, 255), (0, 0, 32, 64))
    start = Start(
        image=saved(tmp_path / "a.png", grain(64, 64)), mask=saved(tmp_path / "m.png", strokes),
        feather=0,
    )  # fmt: skip
    mask = canvas.mask(start, (64, 64))
    assert (mask[:, :32] == 1).all()
    assert (mask[:, 32:] == 0).all()


@pytest.mark.parametrize("width", [0, 1, 2, 5, 8])
def test_a_soft_edge(width: int) -> None:
    """1 where it was, 0 beyond the width, falling between."""
    hard = torch.zeros(40, 40)
    hard[10:20, 10:20] = 1
    soft = canvas.feathered(hard, width)
    assert (soft[10:20, 10:20] == 1).all()
    away = torch.ones(40, 40, dtype=torch.bool)
    away[10 - width : 20 + width, 10 - width : 20 + width] = False
    assert (soft[away] == 0).all()
    assert (soft[15, 19:].diff() <= 0).all()
    assert width < 2 or 0 < soft[15, 20] < 1
    at_edge = torch.zeros(20, 20)
    at_edge[:5] = 1
    assert (canvas.feathered(at_edge, width)[:5] == 1).all()


def test_what_lies_under_the_mask_is_pasted() -> None:
    below, above = grain(16, 16), grain(16, 16)
    mask = torch.zeros(16, 16)
    mask[:, :8], mask[:, 8:10] = 1, 0.5
    found = np.asarray(canvas.pasted(below, above, mask)).astype(int)
    low, high = (np.asarray(one).astype(int) for one in (below, above))
    assert (found[:, :8] == high[:, :8]).all()
    assert (found[:, 10:] == low[:, 10:]).all()
    assert np.abs(found[:, 8:10] - (low[:, 8:10] + high[:, 8:10]) / 2).max() <= 0.5
