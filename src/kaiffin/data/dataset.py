"""Which photo, caption, variant and mirroring a step sees: pure functions of (seed, position).

The order of photos is a shuffled epoch after another. Nothing depends on what was drawn before,
so a restart, another number of workers or a changed batch split draws the same.
"""

from __future__ import annotations

import functools
from array import array
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from kaiffin.data import images, variants
from kaiffin.data.images import Crop
from kaiffin.data.prepare import Example
from kaiffin.foundation.config import DataConfig
from kaiffin.foundation.errors import PhotoError
from kaiffin.foundation.folder import file_sha256
from kaiffin.foundation.runtime import generator, uniform


@dataclass(frozen=True)
class Draw:
    """One training item: which example, with which caption, how cut and turned, mirrored or not."""

    example: Example
    caption: str
    flipped: bool
    crop: Crop
    turn: float = 0.0  # degrees

    @property
    def frame(self) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
        """(height, width) of the photo, (top, left) of the crop in the resized photo and (height,
        width) of the crop, in pixels; a mirrored crop starts at its right."""
        crop = self.crop
        left, top = crop.corner
        if self.flipped:
            left = crop.resized[0] - left - crop.size[0]
        return self.example.original_size[::-1], (top, left), crop.size[::-1]


class Dataset:
    """The draws of one training over instance examples and, optionally, prior examples.

    Of the examples it keeps numbers, 4 bytes each; a step looks at those alone that it draws.
    """

    def __init__(
        self,
        instance: Sequence[Example],
        prior: Sequence[Example],
        data: DataConfig,
        seed: int,
    ) -> None:
        self.instance, self.prior = instance, list(prior)
        self.data = data
        self.seed = seed
        by_shape: defaultdict[tuple[int, int], array[int]] = defaultdict(lambda: array("I"))
        for i, example in enumerate(instance):
            by_shape[example.crop.size].extend([i] * example.repeats)
        self._buckets = [by_shape[shape] for shape in sorted(by_shape)]

    def batch(self, number: int, size: int) -> list[Draw]:
        """The `number`-th batch (from 0) of instance photos; all of one crop size."""
        chosen = self._indices(number, size)
        return [
            self._draw(self.instance[i], "instance", number * size + k)
            for k, i in enumerate(chosen)
        ]

    def prior_batch(self, number: int, size: int) -> list[Draw]:
        """The `number`-th batch of class pictures; empty without any."""
        if not self.prior:
            return []
        chosen = _stream(len(self.prior), self.seed, "prior-order", number * size, size)
        return [self._draw(self.prior[i], "prior", number * size + k) for k, i in enumerate(chosen)]

    def num_batches(self, size: int) -> int:
        """Batches in one epoch, rounded up."""
        return sum(-(-len(bucket) // size) for bucket in self._buckets)

    def _indices(self, number: int, size: int) -> list[int]:
        if len(self._buckets) == 1:
            (members,) = self._buckets
            places = _stream(len(members), self.seed, "order", number * size, size)
            return [members[place] for place in places]
        # Several crop sizes: an epoch is a shuffled row of batches, each of one bucket.
        epoch, place = divmod(number, self.num_batches(size))
        chunk = _permutation(self.num_batches(size), self.seed, "batches", epoch)[place]
        bucket = 0
        while chunk >= (batches := -(-len(self._buckets[bucket]) // size)):
            bucket, chunk = bucket + 1, chunk - batches
        members = self._buckets[bucket]
        order = _permutation(len(members), self.seed, f"order-{bucket}", epoch)
        return [members[order[(chunk * size + k) % len(members)]] for k in range(size)]

    def _draw(self, example: Example, role: str, position: int) -> Draw:
        seed, data = self.seed, self.data
        pick = int(uniform(seed, role, "caption", position) * len(example.captions))
        variant = int(uniform(seed, role, "variant", position) * data.variants)
        caption = variants.told(example.captions[pick], data, seed, variant)
        if data.caption_dropout and uniform(seed, role, "drop", position) < data.caption_dropout:
            caption = ""
        flipped = data.flip and uniform(seed, role, "flip", position) < 0.5
        if example.role == "prior" or (data.crops == "fixed" and not data.rotate):
            return Draw(example, caption, flipped, example.crop)
        return Draw(example, caption, flipped, *variants.crop_of(example, data, seed, variant))

    def pixels(self, draw: Draw) -> Tensor:
        """The cropped photo (3, H, W) fp32 in [-1, 1]; PhotoError if the file has changed."""
        return _cut(self._opened(draw.example).image, draw) * 2 - 1

    def mask(self, draw: Draw) -> Tensor | None:
        """Where the loss counts, (1, H, W) in [0, 1]; None without masks."""
        example = draw.example
        if self.data.masks == "none" or example.role == "prior":
            return None
        if self.data.masks == "alpha":
            alpha = self._opened(example).alpha
            if alpha is None:  # an opaque photo counts everywhere
                return torch.ones(1, example.crop.size[1], example.crop.size[0])
        else:
            alpha = _mask_image(example)
        return _cut(alpha, draw)

    def _opened(self, example: Example) -> images.Photo:
        photo = images.open_photo(example.path, self.data.background)
        if photo.sha256 != example.sha256:
            raise PhotoError(
                f"{example.name}: has changed since it was prepared.",
                "Start the training anew, or put the old file back.",
            )
        return photo


def _mask_image(example: Example) -> Image.Image:
    if example.mask_path is None:
        raise PhotoError(f"{example.name}: has no mask.", "Put one into masks/.")
    return images.open_mask(example.mask_path, example.original_size)


def mask_key(example: Example) -> str:
    """Content hash of the example's mask file, "" without one."""
    return file_sha256(example.mask_path) if example.mask_path else ""


def _cut(image: Image.Image, draw: Draw) -> Tensor:
    """What the draw shows of it, (C, H, W) fp32 in [0, 1]."""
    image = images.apply(image, draw.crop, turn=draw.turn)
    if draw.flipped:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    array = np.array(image, dtype=np.float32) / 255
    return torch.from_numpy(array if array.ndim == 3 else array[..., None]).permute(2, 0, 1)


def _stream(count: int, seed: int, what: str, start: int, size: int) -> list[int]:
    """`size` places of an endless stream of shuffled epochs over `count` examples."""
    places = (divmod(start + k, count) for k in range(size))
    return [_permutation(count, seed, what, epoch)[place] for epoch, place in places]


@functools.lru_cache(maxsize=8)
def _permutation(count: int, seed: int, what: str, epoch: int) -> array[int]:
    order = torch.randperm(count, generator=generator(seed, what, epoch))
    return array("I", order.to(torch.uint32).numpy().tobytes())
