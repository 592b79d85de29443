"""Pictures larger than their base was made for: painted in tiles that overlap.

MultiDiffusion (Bar-Tal et al. 2023, arXiv 2302.08113): at each step the model is asked for every
tile of the noisy picture, and what it says of a place is averaged over the tiles that hold it; here
with weights that fall towards a tile's edges, so that no edge is seen.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kaiffin.models.base import SizeFacts

OVERLAP = 0.5  # of a tile, at least


@dataclass(frozen=True)
class Tile:
    """A part of the latents (in cells) of a picture."""

    top: int
    left: int
    height: int
    width: int

    def cut(self, x: Tensor) -> Tensor:
        """The part of x (..., h, w) that it is."""
        return x[..., self.top : self.top + self.height, self.left : self.left + self.width]

    def facts(self, size: tuple[int, int], downscale: int) -> SizeFacts:
        """What a family is told of it, as of a crop; size: (width, height) of the picture."""
        top, left, height, width = (
            cells * downscale for cells in (self.top, self.left, self.height, self.width)
        )
        return SizeFacts((size[1], size[0]), (top, left), (height, width))


def tiles(height: int, width: int, side: int) -> list[Tile]:
    """As few as cover height x width with tiles of at most `side`, at least `OVERLAP` of which lies
    on the next."""
    rows, columns = _begins(height, side), _begins(width, side)
    return [
        Tile(top, left, min(side, height), min(side, width)) for top in rows for left in columns
    ]


def _begins(length: int, side: int) -> list[int]:
    if length <= side:
        return [0]
    count = math.ceil((length - side) / (side * (1 - OVERLAP))) + 1
    return [round(i * (length - side) / (count - 1)) for i in range(count)]


def joined(predict: Callable[[Tile, Tensor], Tensor], x: Tensor, over: Sequence[Tile]) -> Tensor:
    """What `predict` says of each tile of x (B, C, h, w), as one."""
    total, weights = torch.zeros_like(x), torch.zeros_like(x[:1, :1])
    for tile in over:
        weight = _weight(tile.height, x)[:, None] * _weight(tile.width, x)
        tile.cut(total).add_(predict(tile, tile.cut(x)) * weight)
        tile.cut(weights).add_(weight)
    return total / weights


def _weight(length: int, like: Tensor) -> Tensor:
    """A tent, above 0 everywhere."""
    places = torch.arange(length, device=like.device, dtype=like.dtype)
    return torch.minimum(places + 1, length - places) / length
