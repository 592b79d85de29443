"""What is no photo, or none that can be read, is named by what it holds."""

import struct
import zipfile
from pathlib import Path

import pytest

from kaiffin.data.images import open_photo
from kaiffin.foundation.errors import PhotoError

UNREAD = {
    "../blobs/none.jpg": r"a link that was stored as a file \(\.\./blobs/none\.jpg\)\. Put",
    "..\\photos\\p1.heic\n": "a link that was stored as a file",
    "../../blobs/0c1a2b": "a link that was stored as a file",
    "p1.JPG": "not a picture",  # a sentence may end so, a link seldom
    "p1.jpg": r"a link that was stored as a file \(p1\.jpg\)",
    "L\0\0\0\x01\x14\x02\0": "a link that was stored as a file. Put",
    "!<symlink>p1.jpg\0": "a link that was stored as a file. Put",
    "<!DOCTYPE html><a href='/p1.jpg'>": "a web page, whatever its name says",
    "\n<HTML>": "a web page",
    "version https://git-lfs.github.com/spec/v1\noid 0\n": "a pointer of Git LFS",
    "\0\0\0\x14ftypqt  \0\0\0\0": "a video, whatever its name says. Export",
    "\0\0\0\x0cJXL \r\n\x87\n": "JPEG XL, whatever",
    "II*\0\x10\0\0\0CR\x02\0": "a raw photo",
    "<?xml version='1.0'?><svg>": "a picture of another format",
    "\x89PNG\r\n\x1a\n\0": "damaged or cut off at its beginning",
    "hello": "not a picture, whatever its name says",
    "see/also\nthis": "not a picture",
}  # fmt: skip


@pytest.mark.parametrize("text", UNREAD)
def test_what_is_no_photo_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.jpg").write_bytes(text.encode("latin-1"))
    with pytest.raises(PhotoError, match=rf"^a\.jpg: is {UNREAD[text]}"):
        open_photo(tmp_path / "a.jpg")


def test_an_archive(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.jpg", "w") as archive:
        archive.writestr("p.jpg", b"x")
    with pytest.raises(PhotoError, match=r"is an archive, whatever its name says\. Unpack"):
        open_photo(tmp_path / "a.jpg")


def tiff(count: int, bits: int, numbers: int, compression: int = 1, order: str = "<") -> bytes:
    """4x4 pixels of `count` values each, by the tags of TIFF 6.0. numbers: its SampleFormat."""
    tags = [(256, 1, [4]), (257, 1, [4]), (258, count, [bits] * count), (259, 1, [compression]),
            (262, 1, [2]), (277, 1, [count]), (278, 1, [4]), (339, count, [numbers] * count),
            (273, 1, [8 + 2 + 12 * 10 + 4]), (279, 1, [2 * count * bits])]  # fmt: skip
    entries, behind = b"", b""
    start = 8 + 2 + 12 * len(tags) + 4
    for tag, length, values in sorted(tags):
        packed = struct.pack(f"{order}{length}H", *values)
        if len(packed) > 4:
            place = struct.pack(f"{order}I", start + len(behind))
            behind, packed = behind + packed, place
        entries += struct.pack(f"{order}HHI", tag, 3, length) + packed.ljust(4, b"\0")
    head = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(f"{order}I", 8)
    count_of_tags = struct.pack(f"{order}H", len(tags))
    return head + count_of_tags + entries + bytes(4) + behind + bytes(2 * count * bits)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize(
    ("layout", "said"),
    [((3, 32, 3), "3 x 32-bit floats"), ((1, 64, 3), "1 x 64-bit floats"),
     ((4, 16, 3), "4 x 16-bit floats"), ((3, 32, 1), "3 x 32-bit integers"),
     ((3, 32, 2), "3 x 32-bit signed integers"), ((3, 8, 1, 34887), "8-bit integers, compression"),
     ((3, 8, 9), None)],
)  # fmt: skip
def test_a_tiff_of_another_kind_says_which(
    tmp_path: Path, layout: tuple[int, ...], said: str | None, order: str
) -> None:
    (tmp_path / "a.tif").write_bytes(tiff(*layout, order=order))
    reason = rf"of a kind that cannot be read: .*{said}" if said else "damaged or cut off"
    with pytest.raises(PhotoError, match=rf"a\.tif: is .*{reason}"):
        open_photo(tmp_path / "a.tif")
