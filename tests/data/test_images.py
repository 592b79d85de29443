"""Every kind of photo, upright and RGB; every kind of damage, refused by name."""

import io
import os
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from PIL import Image, ImageCms, ImageOps

from kaiffin.data import images
from kaiffin.foundation.errors import ConfigError, PhotoError


def corner_picture(width: int = 60, height: int = 40) -> Image.Image:
    """Four corners of different colours, so that any turning shows."""
    image = Image.new("RGB", (width, height), (128, 128, 128))
    half = (width // 2, height // 2)
    for box, colour in (
        ((0, 0), (255, 0, 0)), ((half[0], 0), (0, 255, 0)),
        ((0, half[1]), (0, 0, 255)), (half, (255, 255, 0)),
    ):  # fmt: skip
        image.paste(colour, (*box, box[0] + half[0], box[1] + half[1]))
    return image


def corners(image: Image.Image) -> list[tuple[int, ...]]:
    width, height = image.size
    places = [(4, 4), (width - 5, 4), (4, height - 5), (width - 5, height - 5)]
    return [tuple(round(v / 255) for v in image.getpixel(p)) for p in places]


FORMATS = {
    "jpg": {"quality": 95}, "png": {}, "webp": {"lossless": True}, "bmp": {}, "tiff": {},
    "avif": {"quality": 95}, "gif": {}, "heic": {},
}  # fmt: skip


@pytest.mark.parametrize("suffix", FORMATS)
def test_formats(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    if suffix == "heic":
        pillow_heif.from_pillow(corner_picture()).save(path, quality=95)
    else:
        corner_picture().save(path, **FORMATS[suffix])
    photo = images.open_photo(path)
    assert photo.image.mode == "RGB"
    assert photo.size == (60, 40)
    assert corners(photo.image) == corners(corner_picture())
    assert len(photo.sha256) == 64


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tiff"])
def test_all_exif_orientations(tmp_path: Path, orientation: int, suffix: str) -> None:
    """What is stored turned, by the table of the EXIF standard, comes out upright."""
    turned = {
        1: lambda i: i,
        2: ImageOps.mirror,
        3: lambda i: i.transpose(Image.Transpose.ROTATE_180),
        4: ImageOps.flip,
        5: lambda i: i.transpose(Image.Transpose.TRANSPOSE),
        6: lambda i: i.transpose(Image.Transpose.ROTATE_90),
        7: lambda i: i.transpose(Image.Transpose.TRANSVERSE),
        8: lambda i: i.transpose(Image.Transpose.ROTATE_270),
    }[orientation](corner_picture())
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{suffix}"
    turned.save(path, exif=exif, **FORMATS[suffix])
    photo = images.open_photo(path)
    assert photo.size == (60, 40)
    assert corners(photo.image) == corners(corner_picture())
    # Pillow turns TIFF files itself, while reading them.
    assert bool(photo.notes) == (orientation != 1 and suffix != "tiff")


def test_sixteen_bit_is_scaled_by_its_range(tmp_path: Path) -> None:
    values = np.array([[0, 32896], [65535, 257]], dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / "a.png")
    photo = images.open_photo(tmp_path / "a.png")
    assert np.asarray(photo.image)[..., 0].tolist() == [[0, 128], [255, 1]]
    assert any("16-bit" in note for note in photo.notes)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGBA", "CMYK", "YCbCr", "F", "I"])
def test_every_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("a.tiff" if mode in ("CMYK", "YCbCr", "F", "I") else "a.png")
    source = corner_picture().convert("L" if mode in ("F", "I", "LA") else "RGB")
    try:
        image = source.convert(mode) if mode != "PA" else source.convert("P")
        image.save(path)
    except (OSError, ValueError):
        pytest.skip(f"Pillow cannot write {mode}")
    photo = images.open_photo(path)
    assert photo.image.mode == "RGB"
    assert photo.size == (60, 40)
    if mode in ("RGBA", "CMYK", "YCbCr", "P"):
        assert corners(photo.image) == corners(corner_picture())


def test_alpha_is_flattened_on_the_colour(tmp_path: Path) -> None:
    image = Image.new("RGBA", (10, 10), (255, 0, 0, 0))
    image.putpixel((0, 0), (0, 0, 255, 255))
    image.save(tmp_path / "a.png")
    photo = images.open_photo(tmp_path / "a.png", "#00ff00")
    assert photo.image.getpixel((5, 5)) == (0, 255, 0)
    assert photo.image.getpixel((0, 0)) == (0, 0, 255)
    assert photo.alpha is not None
    assert photo.alpha.getpixel((5, 5)) == 0
    palette = corner_picture().convert("P")
    palette.save(tmp_path / "p.png", transparency=palette.getpixel((2, 2)))
    assert images.open_photo(tmp_path / "p.png", "black").image.getpixel((2, 2)) == (0, 0, 0)
    with pytest.raises(ConfigError, match="not a colour"):
        images.open_photo(tmp_path / "a.png", "nocolour")


def test_the_first_frame_is_taken_and_said(tmp_path: Path) -> None:
    frames = [corner_picture(), Image.new("RGB", (60, 40), "black")]
    for suffix in ("gif", "webp", "tiff"):
        path = tmp_path / f"a.{suffix}"
        frames[0].save(path, save_all=True, append_images=frames[1:])
        photo = images.open_photo(path)
        assert any("first of 2" in note for note in photo.notes)
        assert corners(photo.image)[0] == (1, 0, 0)


def test_a_colour_profile_is_used(tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
    corner_picture().save(tmp_path / "bad.png", icc_profile=b"no profile at all")
    notes = images.open_photo(tmp_path / "bad.png").notes
    assert any("unusable" in note for note in notes)
    corner_picture().save(tmp_path / "lab.png", icc_profile=profile.tobytes())
    assert images.open_photo(tmp_path / "lab.png").size == (60, 40)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "avif", "gif", "bmp", "tiff"])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.3, 0.7, 0.9])
def test_cut_off_files_are_refused_by_name(tmp_path: Path, suffix: str, share: float) -> None:
    whole = tmp_path / f"whole.{suffix}"
    noisy = Image.fromarray(
        np.random.default_rng(0).integers(0, 255, (128, 128, 3), dtype=np.uint8)
    )
    noisy.save(whole, **FORMATS[suffix])
    path = tmp_path / f"cut.{suffix}"
    path.write_bytes(whole.read_bytes()[: int(share * whole.stat().st_size)])
    with pytest.raises(PhotoError, match=rf"cut\.{suffix}") as caught:
        images.open_photo(path)
    assert "\n" not in str(caught.value)


def test_what_is_no_picture(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("hello")
    with pytest.raises(PhotoError, match=r"text\.jpg: is not a picture"):
        images.open_photo(tmp_path / "text.jpg")
    (tmp_path / "empty.png").write_bytes(b"")
    with pytest.raises(PhotoError, match=r"empty\.png: the file is empty"):
        images.open_photo(tmp_path / "empty.png")
    with pytest.raises(PhotoError, match=r"gone\.png: cannot be read"):
        images.open_photo(tmp_path / "gone.png")
    (tmp_path / "dir.png").mkdir()
    with pytest.raises(PhotoError, match=r"dir\.png"):
        images.open_photo(tmp_path / "dir.png")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_no_right_to_read(tmp_path: Path) -> None:
    path = tmp_path / "secret.png"
    corner_picture().save(path)
    path.chmod(0)
    with pytest.raises(PhotoError, match=r"secret\.png: cannot be read"):
        images.open_photo(path)


def png_header(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    size = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(b"\0" * 1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + body + chunk(b"IEND", b"")


def claiming(suffix: str, width: int, height: int) -> bytes:
    """A small file of its format whose header says another size."""
    if suffix == "png":
        return png_header(width, height)
    file = io.BytesIO()
    corner_picture(300, 200).save(file, {"jpg": "JPEG", "tif": "TIFF"}.get(suffix, suffix))
    data = file.getvalue()
    order = ">" if suffix == "jpg" else "<"
    code = "I" if suffix == "bmp" else "H"
    before = [300, 200] if suffix != "jpg" else [200, 300]
    after = [width, height] if suffix != "jpg" else [height, width]
    for old, new in zip(before, after, strict=True):
        was = struct.pack(order + code, old)
        assert was in data
        data = data.replace(was, struct.pack(order + code, new), 2 if suffix == "gif" else 1)
    return data


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "bmp", "gif"])
def test_a_decompression_bomb_is_refused_before_decoding(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"bomb.{suffix}"
    path.write_bytes(claiming(suffix, 60_000, 60_000))
    Image.core.reset_stats()
    with pytest.raises(PhotoError, match=r"bomb\.\w+: 60000x60000 is more than 100 megapixels"):
        images.open_photo(path)
    stats = Image.core.get_stats()
    assert stats["allocated_blocks"] + stats["reused_blocks"] == 0  # no pixel had a place


def test_rows_that_are_not_there_are_not_black(tmp_path: Path) -> None:
    """A TIFF that says it is higher than its strips are."""
    file = io.BytesIO()
    corner_picture(60, 40).save(file, "TIFF")
    data = file.getvalue()
    entry = struct.pack("<HHI", 257, 4, 1) + struct.pack("<I", 40)  # ImageLength
    assert data.count(entry) == 1
    (tmp_path / "a.tif").write_bytes(data.replace(entry, entry[:-4] + struct.pack("<I", 90)))
    with pytest.raises(PhotoError, match=r"a\.tif: is damaged: it has 40 of its 90 rows"):
        images.open_photo(tmp_path / "a.tif")


def test_square_and_bucket_crops() -> None:
    crop = images.square_crop((1440, 1080), 512)
    assert (crop.resized, crop.corner, crop.size) == ((683, 512), (85, 0), (512, 512))
    assert crop.share_lost == pytest.approx(1 - 512 / 683)
    for size in ((1440, 1080), (1080, 1440), (1000, 1000), (3000, 1000)):
        bucket = images.bucket_crop(size, 512)
        assert all(side % 64 == 0 for side in bucket.size)
        assert bucket.size[0] * bucket.size[1] <= 512 * 512
        assert (bucket.size[0] >= bucket.size[1]) == (size[0] >= size[1])
    assert images.bucket_crop((1000, 1000), 512).size == (512, 512)
    tall = images.bucket_crop((700, 1000), 512)
    assert tall.share_lost < images.square_crop((700, 1000), 512).share_lost


@pytest.mark.parametrize("size", [(100, 100), (101, 77), (64, 999), (513, 512)])
@pytest.mark.parametrize("resolution", [64, 96, 512])
def test_crops_have_exactly_their_size(size: tuple[int, int], resolution: int) -> None:
    image = Image.new("RGB", size)
    for crop in (images.square_crop(size, resolution), images.bucket_crop(size, resolution)):
        assert images.apply(image, crop).size == crop.size
        assert crop.corner[0] + crop.size[0] <= crop.resized[0]
        assert crop.corner[1] + crop.size[1] <= crop.resized[1]


def test_upscaling_is_noticed() -> None:
    assert images.is_upscaled((500, 800), images.square_crop((500, 800), 512))
    assert not images.is_upscaled((512, 800), images.square_crop((512, 800), 512))


def test_memory_is_bounded_by_reading_once(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    corner_picture().save(buffer, "PNG")
    path = tmp_path / "a.png"
    path.write_bytes(buffer.getvalue())
    assert images.open_photo(path).sha256 == images.open_photo(path).sha256


def test_pillows_limit_is_as_it_was_whatever_threads_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is one for the process: two that open at once must not keep each other's."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)  # somebody's own
    path = tmp_path / "a.png"
    Image.new("RGB", (40, 40)).save(path)
    with ThreadPoolExecutor(8) as pool:
        sizes = list(pool.map(lambda _: images.open_photo(path).size, range(64)))
    assert sizes == [(40, 40)] * 64
    assert Image.MAX_IMAGE_PIXELS == 10


@pytest.mark.parametrize(
    ("values", "wanted"),
    [(np.float32([[0, 0.5], [1, 1.02]]), [[0, 128], [255, 255]]),
     (np.float32([[0, 125], [200, 242]]), [[0, 125], [200, 242]]),
     (np.int32([[14, 125], [200, 242]]), [[14, 125], [200, 242]]),
     (np.uint16([[0, 4095], [2048, 1024]]), [[0, 255], [128, 64]]),
     (np.float32([[0, 0]]), [[0, 0]]), (np.float32([[0, 1e-3]]), None),
     (np.float32([[0, 5]]), None), (np.float32([[0, np.nan]]), None),
     (np.float32([[-100, 200]]), None), (np.int32([[0, 1 << 30]]), None)],
)  # fmt: skip
def test_numbers_keep_their_range_or_are_refused(
    tmp_path: Path, values: np.ndarray, wanted: list | None
) -> None:
    Image.fromarray(values).save(tmp_path / "a.tiff")
    if wanted is None:
        with pytest.raises(PhotoError, match=r"a\.tiff: (its values|holds values)"):
            images.open_photo(tmp_path / "a.tiff")
    else:
        found = np.asarray(images.open_photo(tmp_path / "a.tiff").image)[..., 0]
        assert found.tolist() == wanted


def test_a_strip_is_cropped_without_enlarging_it_whole() -> None:
    crop = images.square_crop((1, 300_000), 512)
    assert images.apply(Image.new("RGB", (1, 300_000), "red"), crop).size == (512, 512)
