"""One photo: opened safely, turned by EXIF, alpha taken off, RGB; and the crops. Knows no folders.

Everything that can be refused is refused before pixels are decoded where possible, by name.
"""

from __future__ import annotations

import hashlib
import io
import threading
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms, ImageColor, ImageOps, UnidentifiedImageError

from kaiffin.foundation.errors import ConfigError, PhotoError

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "AVIF", "GIF", "MPO", "HEIF")
SUFFIXES = {
    ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".bmp", ".tif", ".tiff",
    ".avif", ".gif", ".heic", ".heif", ".hif",
}  # fmt: skip
MAX_PIXELS = 100_000_000  # a decompression bomb is refused from its header alone
MAX_BYTES = 400_000_000
HEIF_SUFFIXES = {".heic", ".heif", ".hif"}
_PILLOWS_LIMIT = threading.Lock()


@dataclass(frozen=True)
class Photo:
    """A photo as it is trained on. image: upright RGB; alpha: "L" or None; notes: what was done."""

    image: Image.Image
    alpha: Image.Image | None
    sha256: str
    notes: tuple[str, ...]

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels, upright."""
        return self.image.size


def open_photo(path: Path, background: str = "#ffffff") -> Photo:
    """Reads `path`; raises `PhotoError` with its name and the reason.

    background: colour put behind transparent pixels.
    """
    data = _bytes(path)
    colour = parse_colour(background)
    notes: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # damaged metadata: Pillow warns, we go on or refuse
        image = _decoded(path, data, notes)
        image = _upright(image, notes)
        image = _srgb(image, notes)
        rgb, alpha = _flattened(image, colour, notes)
    return Photo(rgb, alpha, hashlib.sha256(data).hexdigest(), tuple(notes))


def parse_colour(text: str) -> tuple[int, int, int]:
    """A CSS colour such as "#fff" or "grey"."""
    try:
        red, green, blue = ImageColor.getrgb(text)[:3]
    except (ValueError, TypeError):
        raise ConfigError(
            f"data.background = {text!r} is not a colour.", 'Write "#ffffff" or a CSS name.'
        ) from None
    return red, green, blue


def _bytes(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if size == 0:
            raise PhotoError(f"{path.name}: the file is empty.", "Copy it again or remove it.")
        if size > MAX_BYTES:
            raise PhotoError(
                f"{path.name}: {size / 1e6:.0f} MB is more than {MAX_BYTES / 1e6:.0f} MB.",
                "Export a smaller copy.",
            )
        return path.read_bytes()
    except OSError as error:
        raise PhotoError(
            f"{path.name}: cannot be read ({error.strerror or error}).", "Check its permissions."
        ) from None


def _decoded(path: Path, data: bytes, notes: list[str]) -> Image.Image:
    """All pixels of the first frame; `load` and not `verify`, which misses truncated JPEGs."""
    if path.suffix.lower() in HEIF_SUFFIXES or data[4:12] in (
        b"ftypheic",
        b"ftypheix",
        b"ftypmif1",
    ):
        _register_heif(path)
    try:
        image = _header(data)
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise PhotoError(
                f"{path.name}: {width}x{height} is more than {MAX_PIXELS // 10**6} megapixels.",
                "Export a smaller copy.",
            )
        if getattr(image, "n_frames", 1) > 1 and image.format != "MPO":
            frames = getattr(image, "n_frames", 1)
            notes.append(f"animation or several pages: the first of {frames} is used")
        image.load()
    except PhotoError:
        raise
    except UnidentifiedImageError:
        raise PhotoError(
            f"{path.name}: is not a picture, whatever its name says.", "Remove it."
        ) from None
    except MemoryError:
        raise PhotoError(f"{path.name}: too large for this machine's memory.") from None
    except Exception as error:  # decoders raise many kinds on damaged data
        raise PhotoError(
            f"{path.name}: is damaged or cut off ({type(error).__name__}: {error}).",
            "Copy it again from where it came from, or use --skip-bad.",
        ) from None
    return image


def _header(data: bytes) -> Image.Image:
    """The picture known by its first bytes, no pixels read; of any size, which Pillow would refuse
    without saying what it is. Its limit is one for the whole process: it is off for the moment, and
    not for two threads at once, of which one would restore what the other has set."""
    with _PILLOWS_LIMIT:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            Image.init()
            known = [name for name in FORMATS if name in Image.OPEN]
            return Image.open(io.BytesIO(data), formats=known)
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _register_heif(path: Path) -> None:
    try:
        import pillow_heif
    except ImportError:
        raise PhotoError(
            f"{path.name}: HEIC needs the extra heif.",
            "Install it where Kaiffin was cloned: .venv/bin/pip install -e '.[heif]'.",
        ) from None
    pillow_heif.register_heif_opener()


def _upright(image: Image.Image, notes: list[str]) -> Image.Image:
    orientation = image.getexif().get(0x0112, 1)
    if orientation in range(2, 9):
        notes.append(f"turned by EXIF orientation {orientation}")
        return ImageOps.exif_transpose(image)
    return image


def _srgb(image: Image.Image, notes: list[str]) -> Image.Image:
    """Converts by the embedded ICC profile; an unusable profile is said and ignored."""
    profile = image.info.get("icc_profile")
    if not profile or image.mode not in ("RGB", "RGBA", "CMYK", "L"):
        return image
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if "sRGB" in ImageCms.getProfileDescription(source):
            return image
        mode = "RGBA" if image.mode == "RGBA" else "RGB"
        converted = ImageCms.profileToProfile(
            image, source, ImageCms.createProfile("sRGB"), outputMode=mode
        )
    except (ImageCms.PyCMSError, OSError, ValueError):
        notes.append("its colour profile is unusable and was ignored")
        return image
    notes.append("converted to sRGB by its colour profile")
    return converted or image


def _flattened(
    image: Image.Image, colour: tuple[int, int, int], notes: list[str]
) -> tuple[Image.Image, Image.Image | None]:
    """Any mode -> RGB on `colour`, and the alpha channel if it is not all opaque."""
    if image.mode.startswith("I") or image.mode == "F":
        image = _eight_bit(image, notes)
    elif image.mode == "CMYK":
        notes.append("CMYK brought to RGB")
    elif image.mode in ("L", "1", "LA"):
        notes.append("grey brought to RGB")
    elif image.mode in ("P", "PA"):
        notes.append("palette brought to RGB")
    if not (image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info):
        return image.convert("RGB"), None
    rgba = image.convert("RGBA")
    alpha = rgba.getchannel("A")
    if alpha.getextrema()[0] == 255:
        return rgba.convert("RGB"), None
    notes.append("transparent parts filled with the background colour")
    flat = Image.new("RGB", rgba.size, colour)
    flat.paste(rgba, mask=alpha)
    return flat, alpha


def _eight_bit(image: Image.Image, notes: list[str]) -> Image.Image:
    """16-bit (or wider) grey to 8 bits by range of the type, not by its content."""
    values = np.asarray(image).astype(np.float64)
    top = 1.0 if image.mode == "F" and values.max() <= 1 else 65535.0
    notes.append("16-bit brought to 8-bit RGB")
    return Image.fromarray((values / top * 255).round().clip(0, 255).astype(np.uint8))


@dataclass(frozen=True)
class Crop:
    """Resize a photo to `resized`, then cut `size` at `corner`; all (width, height)/(left, top)."""

    resized: tuple[int, int]
    corner: tuple[int, int]
    size: tuple[int, int]

    @property
    def box(self) -> tuple[int, int, int, int]:
        left, top = self.corner
        return left, top, left + self.size[0], top + self.size[1]

    @property
    def share_lost(self) -> float:
        """Share of the photo's area that the crop cuts off."""
        return 1 - (self.size[0] * self.size[1]) / (self.resized[0] * self.resized[1])


def square_crop(size: tuple[int, int], resolution: int) -> Crop:
    """The middle square of a photo of `size` (width, height), at `resolution` pixels."""
    return _covering(size, (resolution, resolution))


def buckets(resolution: int, step: int) -> list[tuple[int, int]]:
    """(width, height) with sides divisible by `step`, area at most resolution^2, aspect to 1:2."""
    area = resolution * resolution
    found = {(resolution, resolution)}
    shortest = max(step, int(resolution / 2**0.5) // step * step)
    for width in range(shortest, resolution * 2 + 1, step):
        height = area // width // step * step
        if height >= shortest:
            found |= {(width, height), (height, width)}
    return sorted(found)


def bucket_crop(size: tuple[int, int], resolution: int, step: int = 64) -> Crop:
    """The crop to the bucket of nearest aspect ratio (in log), largest area among equals."""
    step = min(step, max(8, resolution // 8))
    aspect = np.log(size[0] / size[1])

    def distance(bucket: tuple[int, int]) -> tuple[float, int]:
        return abs(np.log(bucket[0] / bucket[1]) - aspect), -bucket[0] * bucket[1]

    return _covering(size, min(buckets(resolution, step), key=distance))


def _covering(size: tuple[int, int], target: tuple[int, int]) -> Crop:
    """Scaled to just cover `target`, cut in the middle."""
    scale = max(target[0] / size[0], target[1] / size[1])
    resized = tuple(max(t, round(s * scale)) for s, t in zip(size, target, strict=True))
    corner = ((resized[0] - target[0]) // 2, (resized[1] - target[1]) // 2)
    return Crop((resized[0], resized[1]), corner, target)


def is_upscaled(size: tuple[int, int], crop: Crop) -> bool:
    return crop.resized[0] > size[0] or crop.resized[1] > size[1]


def apply(image: Image.Image, crop: Crop) -> Image.Image:
    """The cropped picture, resampled once (Lanczos)."""
    return image.resize(crop.resized, Image.Resampling.LANCZOS).crop(crop.box)
