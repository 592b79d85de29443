"""The variants of a photo: crops, small turns, orders of tags. Pure functions of their numbers.

A photo has `data.variants` of them, each the same whenever it is drawn: what frozen towers say of
it is encoded once, and there is an end to what is kept.
"""

from __future__ import annotations

import math

import torch

from kaiffin.data.images import MAX_PIXELS, Crop
from kaiffin.data.inspect import KEPT
from kaiffin.data.prepare import Example
from kaiffin.foundation.config import DataConfig
from kaiffin.foundation.runtime import generator, uniform

ZOOM = 1.25  # how much nearer a random crop may be than the fixed one


def crop_of(example: Example, data: DataConfig, seed: int, variant: int) -> tuple[Crop, float]:
    """The crop of one variant, and by how many degrees the photo is turned about its middle.

    No corner of it is empty. No photo is enlarged for a nearer crop unless `data.upscale` allows
    it; for a turn it is, as far as that needs.
    """
    fixed, what = example.crop, (seed, "variant", example.sha256, variant)
    turn = data.rotate * (2 * uniform(*what, "turn") - 1)
    wide = _bounding(fixed.size, turn)
    scale = _scale(example, data, uniform(*what, "scale"))
    sides = zip(example.original_size, wide, strict=True)
    scale = max(scale, *(need / side for side, need in sides))
    resized = [
        max(need, round(side * scale))
        for side, need in zip(example.original_size, wide, strict=True)
    ]
    random = data.crops == "random"
    places = [uniform(*what, axis) if random else 0.5 for axis in ("x", "y")]
    corner = [_corner(*sides) for sides in zip(places, resized, fixed.size, wide, strict=True)]
    crop = Crop((resized[0], resized[1]), (corner[0], corner[1]), fixed.size)
    return crop, turn if resized[0] * resized[1] <= MAX_PIXELS else 0.0  # a strip is never whole


def _bounding(size: tuple[int, int], degrees: float) -> tuple[int, int]:
    """Width and height of what a crop of `size` covers when it is turned about its middle, and as
    much on both sides of it."""
    sine, cosine = abs(math.sin(math.radians(degrees))), math.cos(math.radians(degrees))
    width, height = size
    covered = width * cosine + height * sine, width * sine + height * cosine
    margins = [max(0, math.ceil((c - s) / 2)) for c, s in zip(covered, size, strict=True)]
    return width + 2 * margins[0], height + 2 * margins[1]


def _scale(example: Example, data: DataConfig, share: float) -> float:
    """Of the photo, before it is cut: that of the fixed crop, or some nearer one."""
    covering = max(r / o for r, o in zip(example.crop.resized, example.original_size, strict=True))
    if data.crops == "fixed":
        return covering
    nearest = ZOOM * covering if data.upscale else max(covering, min(ZOOM * covering, 1.0))
    return covering + share * (nearest - covering)


def _corner(place: float, whole: int, size: int, wide: int) -> int:
    """Where a crop begins, `place` (0 to 1) of the way that it has."""
    return (wide - size) // 2 + round(place * (whole - wide))


def told(caption: str, data: DataConfig, seed: int, variant: int) -> str:
    """The caption as one variant says it: its tags shuffled, some left out, the first ones kept.

    Where it has KEPT in it, that says what is kept instead of `data.keep_tags`, as in sd-scripts.
    """
    if not (data.shuffle_tags or data.tag_dropout):
        return caption
    first, *parts = caption.split(KEPT, 2)
    head, middle, tail = _tags(first), *map(_tags, [*parts, "", ""][:2])
    if not parts:
        head, middle = head[: data.keep_tags], head[data.keep_tags :]
    numbers = generator(seed, "tags", caption, variant)
    order = torch.randperm(len(middle), generator=numbers).tolist()
    stays = (torch.rand(len(middle), generator=numbers) >= data.tag_dropout).tolist()
    order = order if data.shuffle_tags else sorted(order)
    return ", ".join([*head, *(middle[i] for i in order if stays[i]), *tail])


def _tags(text: str) -> list[str]:
    return [tag for part in text.split(",") if (tag := part.strip())]
