"""One photo: opened safely, turned by EXIF, alpha taken off, RGB; and the crops. Knows no folders.

Everything that can be refused is refused before pixels are decoded where possible, by name.
"""

from __future__ import annotations

import hashlib
import io
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms, ImageColor, TiffImagePlugin, UnidentifiedImageError

from kaiffin.data import unread
from kaiffin.data.exif import orientation
from kaiffin.data.quiet import hush
from kaiffin.foundation.errors import ConfigError, PhotoError
from kaiffin.foundation.extras import needs

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "AVIF", "GIF", "MPO", "HEIF")
MAX_PIXELS = 100_000_000  # a decompression bomb is refused from its header alone
MAX_BYTES = 400_000_000
HEIF_SUFFIXES = {".heic", ".heif", ".hif"}
HEIF_BEGINS = {b"ftypheic", b"ftypheix", b"ftypmif1"}  # behind the first four bytes
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
    hush()
    data = _bytes(path)
    colour = parse_colour(background)
    notes: list[str] = []
    with warnings.catch_warnings(), _named(path):
        warnings.simplefilter("ignore")  # damaged metadata: Pillow warns, we go on or refuse
        image = _decoded(path, data, notes)
        image = _upright(image, notes)
        image = _plain(path, image, notes)
        image = _srgb(image, notes)
        rgb, alpha = _flattened(image, colour, notes)
    return Photo(rgb, alpha, hashlib.sha256(data).hexdigest(), tuple(notes))


def open_mask(path: Path, size: tuple[int, int]) -> Image.Image:
    """The mask "L" of a photo of `size` (width, height); `PhotoError` where it has another."""
    mask = open_photo(path).image.convert("L")
    if mask.size != size:
        raise PhotoError(
            f"{path.name}: {mask.width}x{mask.height} is not the size of its photo,"
            f" {size[0]}x{size[1]}."
        )
    return mask


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
    if path.suffix.lower() in HEIF_SUFFIXES or data[4:12] in HEIF_BEGINS:
        _register_heif(path)
    image = _header(path, data)
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise PhotoError(
            f"{path.name}: {width}x{height} is more than {MAX_PIXELS // 10**6} megapixels.",
            "Export a smaller copy.",
        )
    _refuse_missing_rows(path, image)
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":
        notes.append(f"animation or several pages: the first of {frames} is used")
    image.load()
    return image


def _refuse_missing_rows(path: Path, image: Image.Image) -> None:
    """Of a TIFF that holds less than it says; Pillow would leave the rest black."""
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        wanted = image.tag_v2.get(TiffImagePlugin.IMAGELENGTH, 0)
        found = max((tile.extents[3] for tile in image.tile if tile.extents), default=wanted)
        if found < wanted:
            raise PhotoError(
                f"{path.name}: is damaged: it has {found} of its {wanted} rows.", unread.DAMAGED
            )


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Whatever a decoder raises, while opening, turning or converting, becomes a PhotoError."""
    try:
        yield
    except PhotoError:
        raise
    except MemoryError:
        raise PhotoError(f"{path.name}: too large for this machine's memory.") from None
    except Exception as error:  # decoders raise many kinds on damaged data; the cause is for logs
        raise PhotoError(f"{path.name}: is damaged or cut off.", unread.DAMAGED) from error


def _header(path: Path, data: bytes) -> Image.Image:
    """The picture known by its first bytes, no pixels read; of any size, which Pillow would refuse
    without saying what it is. Its limit is one for the whole process: it is off for the moment, and
    not for two threads at once, of which one would restore what the other has set."""
    with _PILLOWS_LIMIT:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            Image.init()
            known = [name for name in FORMATS if name in Image.OPEN]
            return Image.open(io.BytesIO(data), formats=known)
        except (UnidentifiedImageError, KeyError):  # a KeyError for numbers of unknown layouts
            what, way = unread.why(data, known)
            raise PhotoError(f"{path.name}: {what}", way) from None
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _register_heif(path: Path) -> None:
    with needs("heif", f"{path.name}: HEIC", PhotoError):
        import pillow_heif
    pillow_heif.register_heif_opener()


TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_90,
}  # fmt: skip


def _upright(image: Image.Image, notes: list[str]) -> Image.Image:
    turn = orientation(image, notes)
    if turn == 1:
        return image
    notes.append(f"turned by EXIF orientation {turn}")
    return image.transpose(TURNS[turn])


def _plain(path: Path, image: Image.Image, notes: list[str]) -> Image.Image:
    """8 bits a channel, palettes resolved: what a colour profile can be applied to."""
    if image.mode.startswith("I") or image.mode == "F":
        return _eight_bit(path, image, notes)
    if image.mode in ("P", "PA"):
        notes.append("palette brought to RGB")
        transparent = image.mode == "PA" or "transparency" in image.info
        return _with_profile_of(image, image.convert("RGBA" if transparent else "RGB"))
    if image.mode in ("La", "RGBa"):
        return _with_profile_of(image, image.convert(image.mode.upper()))
    if image.mode == "1":
        return _with_profile_of(image, image.convert("L"))
    return image


def _with_profile_of(image: Image.Image, other: Image.Image) -> Image.Image:
    if "icc_profile" in image.info:
        other.info["icc_profile"] = image.info["icc_profile"]
    return other


def _srgb(image: Image.Image, notes: list[str]) -> Image.Image:
    """Converts by the embedded ICC profile, whatever it calls itself; alpha stays. An unusable
    profile is said and ignored; one that changes no colour by more than rounding is not told."""
    data = image.info.get("icc_profile")
    if not data:
        return image
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(data))
        grey = profile.profile.xcolor_space.strip() == "GRAY"
        alpha = image.getchannel("A") if image.mode in ("LA", "RGBA") else None
        if image.mode in ("L", "LA"):
            plain = image.convert("L" if grey else "RGB")
        else:
            plain = image.convert("RGB") if image.mode == "RGBA" else image
        target = ImageCms.createProfile("sRGB")
        transform = ImageCms.buildTransform(profile, target, plain.mode, "RGB")
        if plain.mode != "CMYK" and _changes_nothing(transform, plain.mode):
            return image
        converted = ImageCms.applyTransform(plain, transform)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError, AttributeError):
        notes.append("its colour profile is unusable and was ignored")
        return image
    if converted is None:
        return image
    transparency = image.info.get("transparency")
    if alpha is None and transparency is not None:  # one colour is clear: as it was before
        alpha = image.convert("RGBA").getchannel("A")
    if alpha is not None:
        converted.putalpha(alpha)
    converted.info.pop("transparency", None)
    notes.append("converted to sRGB by its colour profile")
    return converted


def _changes_nothing(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """Whether it leaves a cube of colours (a ramp of greys) as it is, but for rounding."""
    steps = np.arange(0, 256, 51, dtype=np.uint8)
    colours = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(1, -1, 3)
    probe = np.arange(256, dtype=np.uint8)[None] if mode == "L" else colours
    found = ImageCms.applyTransform(Image.fromarray(probe), transform)
    wanted = np.asarray(Image.fromarray(probe).convert("RGB"), dtype=np.int16)
    return bool(np.abs(np.asarray(found, dtype=np.int16) - wanted).max() <= 2)


def _flattened(
    image: Image.Image, colour: tuple[int, int, int], notes: list[str]
) -> tuple[Image.Image, Image.Image | None]:
    """Any mode -> RGB on `colour`, and the alpha channel if it is not all opaque."""
    if image.mode == "CMYK":
        notes.append("CMYK brought to RGB")
    elif image.mode in ("L", "1", "LA"):
        notes.append("grey brought to RGB")
    if not (image.mode in ("RGBA", "LA") or "transparency" in image.info):
        return image.convert("RGB"), None
    rgba = image.convert("RGBA")
    alpha = rgba.getchannel("A")
    if alpha.getextrema()[0] == 255:
        return rgba.convert("RGB"), None
    notes.append("transparent parts filled with the background colour")
    flat = Image.new("RGB", rgba.size, colour)
    flat.paste(rgba, mask=alpha)
    return flat, alpha


def _eight_bit(path: Path, image: Image.Image, notes: list[str]) -> Image.Image:
    """Grey of 16 bits, 32 bits or floats to 8 bits by the smallest usual range that holds it.

    PhotoError for values that are no numbers, and for those that fit no range or would be black.
    """
    values = np.asarray(image)
    if not np.isfinite(values).all():
        raise PhotoError(
            f"{path.name}: holds values that are no numbers (NaN or infinite).",
            "Export it with 8 or 16 bits.",
        )
    low, high = float(values.min()), float(values.max())
    ranges = (1, 255, 65535) if image.mode == "F" else (1, 255, 4095, 65535)
    over = 0.1 if image.mode == "F" else 0.0  # resampling overshoots a little
    top = next((top for top in ranges if high <= top * (1 + over)), None)
    dark = 0 < high < (0.05 if top != 1 else 0.02) * (top or 1)
    if top is None or low < -over * top or dark:
        raise PhotoError(
            f"{path.name}: its values, {low:g} to {high:g}, fill no usual range (1, 255, 65535).",
            "Export it with 8 or 16 bits.",
        )
    bits = {"F": "floats", "I": "32-bit integers"}.get(image.mode, "16-bit")
    notes.append(f"{bits} brought to 8-bit RGB, {top} as white")
    scaled = (values.astype(np.float32) * (255 / top)).round().clip(0, 255).astype(np.uint8)
    return _with_profile_of(image, Image.fromarray(scaled))


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
    return covering(size, (resolution, resolution))


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
    step = min(step, max(16, resolution // 8))  # whole cells, also of 16 pixels
    aspect = np.log(size[0] / size[1])

    def distance(bucket: tuple[int, int]) -> tuple[float, int]:
        return abs(np.log(bucket[0] / bucket[1]) - aspect), -bucket[0] * bucket[1]

    return covering(size, min(buckets(resolution, step), key=distance))


def covering(size: tuple[int, int], target: tuple[int, int]) -> Crop:
    """Scaled to just cover `target`, cut in the middle."""
    scale = max(target[0] / size[0], target[1] / size[1])
    resized = tuple(max(t, round(s * scale)) for s, t in zip(size, target, strict=True))
    corner = ((resized[0] - target[0]) // 2, (resized[1] - target[1]) // 2)
    return Crop((resized[0], resized[1]), corner, target)


def is_upscaled(size: tuple[int, int], crop: Crop) -> bool:
    return crop.resized[0] > size[0] or crop.resized[1] > size[1]


def apply(
    image: Image.Image, crop: Crop, how: Image.Resampling = Image.Resampling.LANCZOS, *,
    turn: float = 0.0,
) -> Image.Image:  # fmt: skip
    """The cropped picture, resampled once, or twice where it is turned by `turn` degrees about the
    middle of the crop."""
    if turn:
        left, top, right, bottom = crop.box
        middle = ((left + right) / 2, (top + bottom) / 2)
        turned = image.resize(crop.resized, how).rotate(
            turn, Image.Resampling.BICUBIC, center=middle
        )
        return turned.crop(crop.box)
    if crop.resized[0] * crop.resized[1] <= MAX_PIXELS:
        return image.resize(crop.resized, how).crop(crop.box)
    # A strip: enlarged whole it would fill the memory, and nearly all of it is cut off.
    across, down = (new / old for new, old in zip(crop.resized, image.size, strict=True))
    left, top, right, bottom = crop.box
    box = (left / across, top / down, right / across, bottom / down)
    return image.resize(crop.size, how, box=box)
