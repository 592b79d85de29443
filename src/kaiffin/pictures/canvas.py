"""Photos and masks that pictures are painted over: opened, fitted, feathered, and pasted back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from kaiffin.data.images import Crop, apply, bucket_crop, covering, open_photo
from kaiffin.foundation.errors import PhotoError
from kaiffin.foundation.tell import Tell
from kaiffin.models.base import ModelFamily
from kaiffin.pictures.start import Start

SMALLEST = 8  # pixels of a side: fewer are less than one cell of the latents
ENLARGED = 2.0  # times, from which on it is said
CUT = 0.02  # share of a photo, from which on it is said
FEATHER = 32  # the soft edge is this part of the shorter side


def refuse_unusable(start: Start | None) -> None:
    """Opens what is named, before anything is loaded; PhotoError where it is of no use."""
    if start is None or start.image is None:
        return
    photo = open_photo(Path(start.image.path)).image
    if min(photo.size) < SMALLEST:
        raise PhotoError(
            f"{start.image.name}: {photo.width}x{photo.height} pixels are too few to paint over.",
            f"Give one of {SMALLEST}x{SMALLEST} or more, or leave it out.",
        )
    if start.mask and not _mask(start, photo.size).getbbox():
        raise PhotoError(
            f"{start.mask.name}: the mask is all black, so nothing would be painted.",
            "Paint white what is to change.",
        )


def own_size(start: Start, native: int) -> tuple[int, int]:
    """The photo's, where a base of this native side can paint that; else the nearest it can."""
    assert start.image is not None
    width, height = open_photo(Path(start.image.path)).size
    is_right = native**2 / 2 <= width * height <= native**2 * 2
    if is_right and width % 8 == 0 == height % 8:
        return width, height
    return bucket_crop((width, height), native).size


def fitted(start: Start, size: tuple[int, int]) -> Start:
    """With what follows from the size (width, height) written out."""
    if start.mask is None or start.feather is not None:
        return start
    return start.model_copy(update={"feather": min(size) // FEATHER})


def remarks(start: Start, size: tuple[int, int], steps: int, tell: Tell) -> None:
    """What becomes of the photo and the mask, where that is not what they were. PhotoError where
    nothing of the mask is left."""
    assert start.image is not None
    photo = open_photo(Path(start.image.path))
    crop, name = covering(photo.size, size), start.image.name
    for note in photo.notes:
        tell.note(f"note: {name}: {note}")
    if crop.share_lost >= CUT:
        tell.note(
            f"note: {name}: {crop.share_lost:.0%} is cut off to make {size[0]}x{size[1]} of it;"
            " --size says another size"
        )
    if (times := crop.resized[0] / photo.size[0]) > ENLARGED:
        tell.note(f"note: {name}: is enlarged {times:.1f} times")
    _remark_on_strength(start, steps, tell)
    if start.mask:
        of_mask = open_photo(Path(start.mask.path)).size
        if of_mask != photo.size:
            tell.note(
                f"note: {start.mask.name}: {of_mask[0]}x{of_mask[1]}, resized to the"
                f" {photo.size[0]}x{photo.size[1]} of {name}"
            )
        low, high = _cut(start, photo.size, crop).getextrema()
        if high == 0:
            raise PhotoError(
                f"{start.mask.name}: what is white in it is cut off.", "Give --size of its shape."
            )
        if low == 255:
            tell.note(f"note: {start.mask.name}: is all white: all is painted over")


def _remark_on_strength(start: Start, steps: int, tell: Tell) -> None:
    if start.strength == 1:
        tell.note("note: strength 1 is from noise alone: nothing is left of what is painted over")
    elif int(steps * start.strength) == 0:
        tell.note(
            f"note: strength {start.strength:g} of {steps} steps is none of them: the photo goes"
            " through the VAE, and that is all"
        )


def photo(start: Start, size: tuple[int, int]) -> Image.Image:
    """What is painted over, of this size."""
    assert start.image is not None
    image = open_photo(Path(start.image.path)).image
    return apply(image, covering(image.size, size))


def mask(start: Start, size: tuple[int, int]) -> Tensor:
    """(height, width) from 0, where the photo stays, to 1; its soft edge lies around what is
    white."""
    assert start.image is not None
    of_photo = open_photo(Path(start.image.path)).size
    image = _cut(start, of_photo, covering(of_photo, size))
    hard = torch.from_numpy(np.array(image, dtype=np.float32) / 255)
    return feathered(hard, fitted(start, size).feather or 0)


def _mask(start: Start, size: tuple[int, int]) -> Image.Image:
    """As the photo is before it is fitted. What is transparent counts as black."""
    assert start.mask is not None
    image = open_photo(Path(start.mask.path), "#000000").image.convert("L")
    return image if image.size == size else image.resize(size, Image.Resampling.BILINEAR)


def _cut(start: Start, of_photo: tuple[int, int], crop: Crop) -> Image.Image:
    """The mask as its photo is cut; linear, which rings around no edge."""
    return apply(_mask(start, of_photo), crop, Image.Resampling.BILINEAR)


def feathered(hard: Tensor, width: int) -> Tensor:
    """A mask (height, width), grown by half of `width` and smoothed over as much: where it was 1 it
    stays so, and it is 0 beyond `width` pixels around."""
    reach = width // 2
    if reach == 0:
        return hard
    grown = hard[None, None]
    for sides in ((2 * reach + 1, 1), (1, 2 * reach + 1)):
        pad = (sides[0] // 2, sides[1] // 2)
        grown = F.max_pool2d(grown, sides, 1, pad)
    for sides in ((2 * reach + 1, 1), (1, 2 * reach + 1)):
        padded = F.pad(grown, (sides[1] // 2,) * 2 + (sides[0] // 2,) * 2, mode="replicate")
        grown = F.avg_pool2d(padded, sides, 1)
    return grown[0, 0].clamp(0, 1)


def of_latents(mask: Tensor, downscale: int) -> Tensor:
    """(1, 1, h, w) of a mask (height, width): every cell that a pixel of it lies in."""
    return F.max_pool2d(mask[None, None], downscale)


def pasted(below: Image.Image, above: Image.Image, mask: Tensor) -> Image.Image:
    """`above` where the mask (height, width) is 1, `below` to the last grey level where it is 0."""
    share = mask.numpy()[..., None]
    mixed = np.asarray(below) * (1 - share) + np.asarray(above) * share
    return Image.fromarray(mixed.round().astype(np.uint8))


def encoded(family: ModelFamily, images: list[Image.Image]) -> Tensor:
    """Pictures of one size -> the means of their latents (B, C, h, w), one by one as they are
    decoded."""
    return torch.cat([family.encode_images(_tensor(image))[0] for image in images])


def _tensor(image: Image.Image) -> Tensor:
    """(1, 3, H, W) in [-1, 1]."""
    values = torch.from_numpy(np.array(image.convert("RGB"), dtype=np.float32))
    return (values / 127.5 - 1).permute(2, 0, 1)[None]
