"""Damaged photos of every format: each is a picture, or refused by name, whatever is broken in it.

Whole files are made here with all that such files carry (profiles, EXIF, texts, tags, frames), then
broken at random, by structure too: chunks with right checksums, tags, segments, lengths.
"""

import io
import random
import re
import resource
import struct
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from PIL import Image, ImageCms, PngImagePlugin

from kaiffin.data import images, inspect
from kaiffin.data.prepare import prepare
from kaiffin.foundation.config import DataConfig, SubjectConfig

SECONDS = 60.0  # for one file; a strip of 40 megapixels takes 7, on a busy machine thrice that
MEMORY = 2_500_000  # KiB that reading may add: 100 megapixels, twice, and what is made of them
EXTREMES = (
    0,
    1,
    2,
    255,
    256,
    9_000,
    60_000,
    65_535,
    1 << 24,
    (1 << 31) - 1,
    1 << 31,
    (1 << 32) - 1,
)


def picture(mode: str = "RGB") -> Image.Image:
    rng = np.random.default_rng(0)
    small = rng.integers(0, 255, (4, 6, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((24, 16), Image.Resampling.BICUBIC).convert(mode)


@cache
def whole() -> dict[str, bytes]:
    """A file of each kind, by a name with its suffix."""
    pillow_heif.register_heif_opener()
    exif = Image.Exif()
    exif[0x0112], exif[0x010F], exif[0x9286] = 6, "maker", "words"
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    both = {"exif": exif.tobytes(), "icc_profile": icc}
    texts = PngImagePlugin.PngInfo()
    raw = exif.tobytes().hex()
    texts.add_text("Raw profile type exif", f"\nexif\n{len(raw) // 2}\n{raw}", zip=True)
    texts.add_text("Comment", "words")
    texts.add_itxt("XML:com.adobe.xmp", '<x tiff:Orientation="6"/>', zip=True)
    wide = np.asarray(picture("L"), dtype=np.uint16) * 257
    found: dict[str, bytes] = {}

    def save(name: str, image: Image.Image, **how: object) -> None:
        buffer = io.BytesIO()
        kinds = {"jpg": "JPEG", "tif": "TIFF", "heic": "HEIF"}
        suffix = name.rpartition(".")[2]
        if name.startswith(("moving", "pages", "pair")):
            how |= {"save_all": True, "append_images": [picture().rotate(180)]}
        image.save(buffer, kinds.get(suffix, suffix.upper()), **how)
        found[name] = buffer.getvalue()

    save("plain.jpg", picture(), **both, comment=b"words")
    save("progressive.jpg", picture(), progressive=True, exif=exif.tobytes())
    save("ink.jpg", picture("CMYK"))
    save("pair.mpo", picture())
    save("plain.png", picture("RGBA"), **both, pnginfo=texts)
    save("palette.png", picture("P"), transparency=1, icc_profile=icc)
    save("sixteen.png", Image.fromarray(wide))
    save("moving.png", picture())
    save("text.png", picture("LA"), pnginfo=texts)
    save("plain.webp", picture("RGBA"), lossless=True, **both)
    save("moving.webp", picture())
    save("plain.avif", picture("RGBA"), **both)
    save("plain.heic", picture(), **both)
    save("moving.gif", picture("P"))
    save("plain.bmp", picture())
    save("palette.bmp", picture("P"))
    for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits"):
        save(f"{compression}.tif", picture(), compression=compression, icc_profile=icc)
    save("turned.tif", picture(), exif=exif)
    save("pages.tif", picture("RGBA"))
    save("fax.tif", picture("1"), compression="group4")
    save("float.tif", Image.fromarray(np.asarray(picture("L"), dtype=np.float32) / 255))
    save("sixteen.tif", Image.fromarray(wide))
    save("int.tif", picture("L").convert("I"))
    return found


# --- ways to break a file -----------------------------------------------------------------------


def _place(rng: random.Random, data: bytes, size: int = 1) -> int:
    """Anywhere, but mostly near the beginning, where formats keep what they are."""
    end = max(1, len(data) - size)
    return rng.randrange(min(end, 400)) if rng.random() < 0.6 else rng.randrange(end)


def _cut(rng: random.Random, data: bytes) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def _flip(rng: random.Random, data: bytes) -> bytes:
    broken = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        broken[_place(rng, data)] = rng.randrange(256)
    return bytes(broken)


def _number(rng: random.Random, data: bytes) -> bytes:
    """A length, size or count, as it may be written, becomes another."""
    code = rng.choice((">I", "<I", ">H", "<H"))
    size = struct.calcsize(code)
    at = _place(rng, data, size)
    value = rng.choice(EXTREMES) % (1 << (8 * size))
    return data[:at] + struct.pack(code, value) + data[at + size :]


def _move(rng: random.Random, data: bytes) -> bytes:
    """A piece is taken out, doubled, or put elsewhere."""
    start = _place(rng, data)
    piece = data[start : start + rng.randrange(1, 200)]
    rest = data[:start] + data[start + len(piece) :]
    at = _place(rng, rest) if rest else 0
    return rng.choice((rest, data[:start] + piece + data[start:], rest[:at] + piece + rest[at:]))


def _splice(rng: random.Random, data: bytes) -> bytes:
    """A piece of another file lies in this one."""
    other = rng.choice(list(whole().values()))
    start, at = rng.randrange(len(other)), _place(rng, data)
    piece = other[start : start + rng.randrange(1, 300)]
    return data[:at] + piece + data[at + rng.choice((0, len(piece))) :]


def _inside(rng: random.Random, data: bytes, pieces: list[tuple[int, int]]) -> bytes:
    """One of the pieces (start, end) of a file is broken, all else is as it was."""
    start, end = rng.choice(pieces)
    way = rng.choice((_flip, _number, _cut, _move))
    return data[:start] + way(rng, data[start:end]) + data[end:] if end > start else data


def _chunks(rng: random.Random, data: bytes) -> bytes:
    """PNG: chunks broken, moved, doubled, with lengths and checksums that are right."""
    if not data.startswith(b"\x89PNG"):
        return _number(rng, data)
    chunks, at = [], 8
    while at + 8 <= len(data):
        (size,) = struct.unpack(">I", data[at : at + 4])
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + size]))
        at += 12 + size
    for _ in range(rng.choice((1, 1, 2))):
        which = rng.randrange(len(chunks))
        kind, body = chunks[which]
        if kind == b"IDAT" and rng.random() < 0.5:
            lines = zlib.decompressobj().decompress(body[:2]) or _flip(rng, bytes(1200))
            chunks[which] = (kind, zlib.compress(lines))
        elif body and rng.random() < 0.7:
            chunks[which] = (kind, rng.choice((_flip, _number, _cut, _move))(rng, body))
        else:
            chunk = chunks.pop(which)
            for _ in range(rng.choice((0, 1, 2))):
                chunks.insert(rng.randrange(len(chunks) + 1), chunk)
    packed = [struct.pack(">I", len(b)) + k + b + struct.pack(">I", zlib.crc32(k + b))
              for k, b in chunks]  # fmt: skip
    return data[:8] + b"".join(packed)


def _tags(rng: random.Random, data: bytes) -> bytes:
    """TIFF, and the EXIF of others: a tag gets another number, type, count or value."""
    heads = [found.start() for found in re.finditer(rb"II\*\x00|MM\x00\*", data)]
    if not heads:
        return _number(rng, data)
    base = rng.choice(heads)
    order = "<" if data[base : base + 1] == b"I" else ">"
    at = base + int.from_bytes(data[base + 4 : base + 8], "little" if order == "<" else "big")
    count = struct.unpack(f"{order}H", data[at : at + 2])[0] if at + 2 <= len(data) else 0
    if not 0 < count < 100 or at + 2 + 12 * count > len(data):
        return _number(rng, data)
    place = at + 2 + 12 * rng.randrange(count)
    offset, code = rng.choice(((0, "H"), (2, "H"), (4, "I"), (8, "I"), (8, "H")))
    values = (*EXTREMES, *range(14), 0x0100, 0x0102, 0x0112, 0x0153)
    value = rng.choice(values) % (1 << (8 * struct.calcsize(code)))
    piece = struct.pack(order + code, value)
    return data[: place + offset] + piece + data[place + offset + len(piece) :]


def _segments(rng: random.Random, data: bytes) -> bytes:
    """JPEG: one of the segments before the pixels; RIFF and ISO files: what is in a box."""
    found = re.finditer(
        rb"\xff[\xc0-\xfe]|EXIF|ICCP|VP8[XL ]|ALPH|ANMF|ispe|iloc|pixi|colr|av1C", data
    )
    pieces = [(one.end(), min(one.end() + rng.choice((4, 16, 80)), len(data))) for one in found]
    return _inside(rng, data, pieces) if pieces else _flip(rng, data)


WAYS: tuple[Callable[[random.Random, bytes], bytes], ...] = (
    _cut, _flip, _number, _move, _splice, _chunks, _tags, _segments, _chunks, _tags,
)  # fmt: skip


def mutants(count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """`count` broken files: (name, bytes)."""
    names = list(whole())
    for i in range(count):
        rng = random.Random(f"{seed}-{i}")
        name = names[i % len(names)]
        data = whole()[name]
        for _ in range(rng.choice((1, 1, 1, 2, 3))):
            data = rng.choice(WAYS)(rng, data) if data else data
        yield f"{i:05}-{name}", data


def outcome(path: Path) -> str:
    """picture, or the reason without what is particular; drawn at a size, too, as training does."""
    facts = inspect.examine(path, "#ffffff")
    if isinstance(facts, str):
        assert facts.strip()
        assert "\n" not in facts
        return re.sub(r"[.\d(].*", "", facts).strip()
    photo = images.open_photo(path)
    assert photo.image.mode == "RGB"
    drawn = images.apply(photo.image, images.bucket_crop(photo.size, 32, 8))
    assert min(drawn.size) > 0
    return "picture, with a note" if photo.notes else "picture"


def walk(count: int, seed: int, place: Path) -> Counter[str]:
    """Outcomes, each file within its time and all within their memory."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    outcomes: Counter[str] = Counter()
    for name, data in mutants(count, seed):
        path = place / name
        path.write_bytes(data)
        started = time.monotonic()
        outcomes[outcome(path)] += 1
        assert time.monotonic() - started < SECONDS, name
        path.unlink()
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < MEMORY, f"{grown:,} KiB"
    return outcomes


def test_whole_files_are_pictures(tmp_path: Path) -> None:
    for name, data in whole().items():
        (tmp_path / name).write_bytes(data)
        assert outcome(tmp_path / name).startswith("picture"), name


def test_broken_files_are_pictures_or_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    outcomes = walk(150, 3, tmp_path)
    assert capfd.readouterr() == ("", "")  # no decoder's own lines
    assert outcomes["picture, with a note"] > 10
    assert outcomes["is damaged or cut off"] > 10


def test_a_folder_of_broken_files_is_prepared(tmp_path: Path) -> None:
    """With the contact sheet, which draws what could be read."""
    for name, data in mutants(60, 2):
        (tmp_path / name).write_bytes(data)
    data = DataConfig(photos=tmp_path, skip_bad=True, upscale=True)
    prepared = prepare(data, SubjectConfig(token="kaiffin"), 32, out=tmp_path / "out")
    assert len(prepared.examples) + len(prepared.refused) == 60
    assert len(prepared.examples) > 10


@pytest.mark.slow
def test_ten_thousand_broken_files(tmp_path: Path) -> None:
    outcomes = walk(10_000, 0, tmp_path)
    for what, count in outcomes.most_common():
        print(f"{count:6} {what}")
    assert outcomes.total() == 10_000
