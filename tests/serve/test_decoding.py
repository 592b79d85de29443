"""Strangers' photos in a child with limits."""

import asyncio
import hashlib
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from served import jpeg

from kaiffin.foundation.errors import PhotoError
from kaiffin.serve.decoding import SHOWN, THUMB, Decoder, Looked

GPS = 0x8825


def look(path: Path, folder: Path, **more: Any) -> Looked:
    async def one(decoder: Decoder) -> Looked:
        return await decoder.look(path, shown=folder / "s.jpg", thumb=folder / "t.jpg", **more)

    return with_decoder(one)


def with_decoder(use: Callable[[Decoder], Coroutine[Any, Any, Any]], **options: float) -> Any:
    async def main() -> Any:
        decoder = Decoder(**options)
        try:
            return await use(decoder)
        finally:
            await decoder.close()

    return asyncio.run(main())


def placed() -> Image.Exif:
    """As a phone writes it: where it was taken, and that it lies on its side."""
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "Somephone"
    exif.get_ifd(GPS)[1] = "N"
    return exif


def test_what_is_shown_is_upright_and_says_no_place(tmp_path: Path) -> None:
    path = tmp_path / "photo"
    Image.new("RGB", (3000, 1500), "red").save(path, format="JPEG", exif=placed())
    found = look(path, tmp_path)
    assert (found.width, found.height, found.format) == (1500, 3000, "JPEG")
    assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    for name, side in (("s.jpg", SHOWN), ("t.jpg", THUMB)):
        with Image.open(tmp_path / name) as image:
            assert image.size == (side // 2, side)
            assert not image.getexif()
        assert b"Somephone" not in (tmp_path / name).read_bytes()


def test_a_disk_that_takes_nothing_is_not_the_photos_fault(tmp_path: Path) -> None:
    path = tmp_path / "photo"
    path.write_bytes(jpeg())
    with pytest.raises(OSError, match="No such file"):
        look(path, tmp_path / "gone")


def test_a_part_keeps_what_is_transparent(tmp_path: Path) -> None:
    path = tmp_path / "photo"
    image = Image.new("RGBA", (64, 64), (10, 20, 30, 255))
    image.paste((0, 0, 0, 0), (0, 0, 32, 32))
    image.save(path, format="PNG")
    box = {"left": 16, "top": 16, "width": 32, "height": 32}
    look(path, tmp_path, crop=(tmp_path / "cut.png", box))
    with Image.open(tmp_path / "cut.png") as cut:
        assert cut.size == (32, 32)
        assert cut.getpixel((0, 0))[3] == 0  # ty: ignore[not-subscriptable]
        assert cut.getpixel((31, 31)) == (10, 20, 30, 255)
    with pytest.raises(PhotoError, match="64x64"):
        look(path, tmp_path, crop=(tmp_path / "cut.png", {**box, "left": 40}))


def bomb(path: Path) -> None:
    """200 megapixels in a small file."""
    Image.new("1", (20_000, 10_000)).save(path, format="PNG")


BAD: dict[str, Callable[[Path], Any]] = {
    "empty": lambda path: path.write_bytes(b""),
    "cut off": lambda path: path.write_bytes(jpeg(side=256)[:400]),
    "a zip": lambda path: path.write_bytes(b"PK\3\4" + bytes(100)),
    "a page": lambda path: path.write_bytes(b"<svg onload='alert(1)'/>"),
    "huge": bomb,
    "not there": lambda path: None,
}


def test_no_photo_is_said_and_the_next_one_is_read(tmp_path: Path) -> None:
    (tmp_path / "good").write_bytes(jpeg())

    async def all_of_them(decoder: Decoder) -> None:
        places = {"shown": tmp_path / "s.jpg", "thumb": tmp_path / "t.jpg"}
        for name, make in BAD.items():
            make(tmp_path / name)
            with pytest.raises(PhotoError) as refused:
                await decoder.look(tmp_path / name, **places)
            assert str(tmp_path) not in str(refused.value), name
            assert (await decoder.look(tmp_path / "good", **places)).width == 64

    with_decoder(all_of_them)


def test_a_child_that_dies_or_hangs_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "photo"
    path.write_bytes(jpeg())
    places = {"shown": tmp_path / "s.jpg", "thumb": tmp_path / "t.jpg"}

    async def killed(decoder: Decoder) -> None:
        await decoder.look(path, **places)
        assert decoder._child is not None
        decoder._child.kill()
        await decoder._child.wait()
        assert (await decoder.look(path, **places)).width == 64
        decoder.seconds = 0.0
        with pytest.raises(PhotoError, match="takes more than"):
            await decoder.look(path, **places)
        decoder.seconds = 60.0
        assert (await decoder.look(path, **places)).width == 64

    with_decoder(killed)


def test_memory_has_an_end(tmp_path: Path) -> None:
    """In a process of its own: its limit does not come off again."""
    import subprocess
    import sys

    code = (
        "from kaiffin.serve import decoding; decoding.limit_memory()\n"
        "try: bytearray(4 * 2**30)\n"
        "except MemoryError: print('ended')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "ended"
