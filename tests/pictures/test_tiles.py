"""Tiles: they cover, they overlap, and what they say is one picture."""

import itertools

import pytest
import torch
from torch import Tensor

from kaiffin.pictures.tiles import OVERLAP, Tile, joined, tiles


@pytest.mark.parametrize(("height", "width"), [(8, 8), (16, 8), (9, 17), (32, 20), (5, 40)])
def test_they_cover_and_overlap(height: int, width: int) -> None:
    found = tiles(height, width, 8)
    seen = torch.zeros(height, width)
    for tile in found:
        tile.cut(seen).add_(1)
        assert (tile.height, tile.width) == (min(8, height), min(8, width))
    assert (seen > 0).all()
    lefts = sorted({tile.left for tile in found})
    assert all(b - a <= 8 * (1 - OVERLAP) for a, b in itertools.pairwise(lefts))


def test_what_is_said_alike_is_said_once() -> None:
    """A model that sees no neighbours says the same in tiles; one that says its place, the mean."""
    x = torch.randn(2, 4, 20, 12)
    found = tiles(20, 12, 8)
    assert torch.allclose(joined(lambda tile, part: part * 3, x, found), x * 3, atol=1e-5)

    def place(tile: Tile, part: Tensor) -> Tensor:
        return torch.full_like(part, tile.top)

    said = joined(place, x, found)[0, 0, :, 0]
    assert said[0] == 0
    assert said[-1] == pytest.approx(12)
    assert (said.diff() >= -1e-5).all(), "no edge is seen"
    assert said.diff().max() <= 2


def test_what_a_family_is_told_of_a_tile() -> None:
    facts = Tile(2, 4, 8, 6).facts((160, 96), 8)
    assert (facts.original, facts.crop, facts.target) == ((96, 160), (16, 32), (64, 48))
