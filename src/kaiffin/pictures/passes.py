"""The passes that a picture is made in: where each begins, and what becomes of its pictures.

A pass begins from noise alone, or as img2img (Meng et al. 2022, arXiv 2108.01073): from latents
with the noise of the level at which the schedule is joined. As diffusers counts, int(steps *
strength) steps are done. Each further pass begins from the pictures before it, as they are saved.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from kaiffin.models.base import ModelFamily, SizeFacts
from kaiffin.models.diffusion.samplers import Denoise
from kaiffin.models.diffusion.schedule import Schedule
from kaiffin.pictures import canvas, closer
from kaiffin.pictures.request import Request
from kaiffin.pictures.tiles import Tile, tiles

Images = list[Image.Image]
Plan = Callable[[ModelFamily, Sequence[Request], Images], "Pass"]  # from the pictures before it


@dataclass(frozen=True)
class Pass:
    """name: of its noise; size: (width, height) of its pictures; begin: latents (B or 1, C, h, w)
    that are painted over, at `strength`; free: (1, 1, h, w), 0 where they stay; tiles: none where
    the picture is one; finish: what its pictures become."""

    name: str
    size: tuple[int, int]
    begin: Tensor | None = None
    strength: float = 1.0
    free: Tensor | None = None
    tiles: Sequence[Tile] = ()
    finish: Callable[[Images], Images] = list

    def skipped(self, steps: int) -> int:
        """How many of the steps lie before it."""
        return 0 if self.begin is None else steps - int(steps * self.strength)

    def first(self, schedule: Schedule, eps: Tensor, sigma: float) -> Tensor:
        """x of the samplers where it begins."""
        noise = schedule.first_noise(eps, sigma)
        if self.begin is None:
            return noise
        noised = self.begin + sigma * eps
        return noised if self.strength < 1 else torch.lerp(noised, noise, self._free)

    def kept(self, denoise: Denoise) -> Denoise:
        """The same where it may paint; elsewhere the answer is what was there. So each step leaves
        there what was, with the noise of its level."""
        if self.free is None or self.begin is None:
            return denoise
        begin, free = self.begin, self.free
        return lambda x, sigma: torch.lerp(begin, denoise(x, sigma), free)

    @property
    def _free(self) -> Tensor | float:
        return 1.0 if self.free is None else self.free

    def facts(self, downscale: int) -> list[SizeFacts]:
        """Of each tile, or of the whole."""
        whole = SizeFacts.whole(self.size[1], self.size[0])
        return [tile.facts(self.size, downscale) for tile in self.tiles] or [whole]


def passes(request: Request) -> list[Plan]:
    """What there is to do for it, in order."""
    start = request.start
    plans: list[Plan] = [_first]
    if start and start.is_larger:
        plans.append(_larger)
    if start and start.is_closer:
        plans.append(_closer)
    return plans


def _first(family: ModelFamily, batch: Sequence[Request], images: Images) -> Pass:
    """From noise, or over a photo."""
    asked, start = batch[0], batch[0].start
    size = (asked.width, asked.height)
    if start is None or start.image is None or (start.strength == 1 and not start.mask):
        return Pass("picture", size)
    below = canvas.photo(start, size)
    begin = canvas.encoded(family, [below])
    if start.mask is None:
        return Pass("picture", size, begin, start.strength)
    mask = canvas.mask(start, size)
    free = canvas.of_latents(mask, family.downscale).to(begin)
    return Pass(
        "picture", size, begin, start.strength, free,
        finish=lambda made: [canvas.pasted(below, image, mask) for image in made],
    )  # fmt: skip


def _larger(family: ModelFamily, batch: Sequence[Request], images: Images) -> Pass:
    """Over the enlarged pictures; in tiles of the base's own size where that is exceeded."""
    start = batch[0].start
    assert start is not None
    width, height = size = start.size(*images[0].size)
    begin = canvas.encoded(family, [i.resize(size, Image.Resampling.LANCZOS) for i in images])
    over = tiles(*begin.shape[-2:], family.native_size // family.downscale)
    return Pass("upscale", (width, height), begin, start.second, tiles=over)


def _closer(family: ModelFamily, batch: Sequence[Request], images: Images) -> Pass:
    """Over a part of each picture, as large as the base paints best, which is then put back."""
    start = batch[0].start
    assert start is not None
    boxes = [
        closer.by_hand(start) if start.box else closer.by_words(family, one, image, start.detail)
        for one, image in zip(batch, images, strict=True)
    ]
    width, height = size = closer.size_of(boxes, images[0], family.native_size)
    parts = [
        image.crop(box).resize(size, Image.Resampling.LANCZOS)
        for image, box in zip(images, boxes, strict=True)
    ]
    begin = canvas.encoded(family, parts)
    return Pass(
        "detail", (width, height), begin, start.second,
        tiles=tiles(*begin.shape[-2:], family.native_size // family.downscale),
        finish=lambda made: [
            closer.put_back(*each) for each in zip(images, made, boxes, strict=True)
        ],
    )  # fmt: skip
