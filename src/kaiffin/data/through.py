"""What a base's own autoencoder makes of the photos: no training on it shows more. Torch-free.

Whether it holds the subject is judged as one sees a small picture, 64 pixels wide: what is finer is
texture, which a good autoencoder draws anew rather than keeps.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from PIL import Image

from kaiffin.data import images
from kaiffin.data.inspect import SHEET_PHOTOS, TILE, Finding, Item
from kaiffin.data.sources import Source
from kaiffin.foundation.config import DataConfig
from kaiffin.foundation.tell import Progress

SMALL = 64  # pixels of the longer side on which the likeness is judged
WINDOW = 7
# Likeness of photos that a base holds. Medians of sets through the miniature: the demo's renders
# 0.92 and 0.96, real photos of four subjects 0.66 to 0.82 (at 128 px 0.97, and 0.86 to 0.88).
HOLDS = 0.86


class Autoencoder(Protocol):
    """fix, press: the way out where it cannot hold the photos; see `Finding`."""

    fix: str
    press: str

    def __call__(self, photo: Image.Image, sha256: str) -> Image.Image | None:
        """What comes back of a cropped photo; None where there is no memory for it. sha256: of the
        photo's file and crop, by which it may be kept."""
        ...

    def progress(self, total: int) -> AbstractContextManager[Progress]:
        """The wait for so many photos."""
        ...


@dataclass(frozen=True)
class Seen:
    """A photo after its way through. psnr: dB at the size of the training; likeness: of small
    pictures, 1 is the same; picture: as large as the contact sheet shows it."""

    psnr: float
    likeness: float
    picture: Image.Image

    def as_json(self) -> dict[str, float]:
        return {"psnr": round(self.psnr, 2), "likeness": round(self.likeness, 3)}

    def __str__(self) -> str:
        return f"what the base's autoencoder\nmakes of it: {self.psnr:.1f} dB"


def look(kept: Sequence[tuple[Source, Item]], data: DataConfig, through: Autoencoder) -> list[Seen]:
    """The first SHEET_PHOTOS, one by one, until one finds no memory."""
    some, seen = kept[:SHEET_PHOTOS], []
    with through.progress(len(some)) as wait:
        for source, item in some:
            photo = images.open_photo(source.path, data.background)
            cropped = images.apply(photo.image, item.crop)
            back = through(cropped, f"{item.facts.sha256} {item.crop} {data.background}")
            if back is None:
                break
            mask = _mask(source, photo, data)
            seen.append(_compared(cropped, back, mask and images.apply(mask, item.crop)))
            wait.advance()
    return seen


def _mask(source: Source, photo: images.Photo, data: DataConfig) -> Image.Image | None:
    """Where the subject is, if that is known."""
    if data.masks == "none":
        return None
    return images.open_mask(source.mask_path, photo.size) if source.mask_path else photo.alpha


def _compared(photo: Image.Image, back: Image.Image, mask: Image.Image | None) -> Seen:
    factor = min(1, SMALL / max(photo.size))
    small = [max(WINDOW, round(side * factor)) for side in photo.size]
    one, other = (_numbers(p.resize(small, Image.Resampling.BOX)) for p in (photo, back))
    weight = None if mask is None else _numbers(mask.resize(small, Image.Resampling.BOX))
    picture = back.copy()
    picture.thumbnail((TILE, TILE), Image.Resampling.LANCZOS)
    return Seen(psnr(_numbers(photo), _numbers(back)), likeness(one, other, weight), picture)


def _numbers(image: Image.Image) -> np.ndarray:
    return np.asarray(image, dtype=np.float64) / 255


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB of numbers in [0, 1]; 99 at most."""
    return float(-10 * np.log10(max(np.square(one - other).mean(), 10**-9.9)))


def likeness(one: np.ndarray, other: np.ndarray, weight: np.ndarray | None = None) -> float:
    """Structural similarity (Wang et al. 2004) of (H, W, 3) in [0, 1], over windows of 7 x 7 pixels
    and all channels. weight: (H, W), how much each place counts."""

    def mean(x: np.ndarray) -> np.ndarray:
        return sliding_window_view(x, (WINDOW, WINDOW), axis=(0, 1)).mean((-2, -1))

    a, b = mean(one), mean(other)
    spread = mean(one * one) - a * a + mean(other * other) - b * b
    common = mean(one * other) - a * b
    c1, c2 = 0.01**2, 0.03**2
    local = (2 * a * b + c1) * (2 * common + c2) / ((a * a + b * b + c1) * (spread + c2))
    places = local.mean(-1)
    counts = np.ones_like(places) if weight is None else mean(weight)
    return float((places * counts).sum() / counts.sum()) if counts.sum() else float(places.mean())


def cannot_show(seen: Sequence[Seen], through: Autoencoder) -> list[Finding]:
    """A warning where the base holds less than half of the photos."""
    middle = statistics.median(one.likeness for one in seen) if seen else 1.0
    if middle >= HOLDS:
        return []
    what = (
        "this base cannot show these photos: what its own autoencoder makes of them is only"
        f" {middle:.2f} like them (below {HOLDS}; beside them on the contact sheet)"
    )
    return [Finding("warning", None, what, through.fix, through.press)]
