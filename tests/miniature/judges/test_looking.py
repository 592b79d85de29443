"""Sheets of what was learnt: each picture in its place."""

import numpy as np
import torch

from kaiffin.miniature.build import nets
from kaiffin.miniature.judges.looking import preview_specs, sheet, to_images
from kaiffin.miniature.world import world
from kaiffin.miniature.world.vocabulary import SPECIES


def test_a_sheet_goes_row_by_row_and_ends_in_white() -> None:
    images = np.stack([np.full((4, 6, 3), value, np.uint8) for value in (10, 20, 30)])
    page = np.asarray(sheet(images, 2))
    assert page.shape == (8, 12, 3)
    assert [page[y, x, 0] for y, x in ((0, 0), (0, 6), (4, 0), (4, 6))] == [10, 20, 30, 255]


def test_pixels_become_the_bytes_that_they_were() -> None:
    images = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)
    assert np.array_equal(to_images(nets.to_pixels(torch.from_numpy(images))), images)
    beyond = to_images(torch.tensor([-3.0, 3.0]).reshape(1, 1, 1, 2).repeat(1, 3, 1, 1))
    assert beyond[0, 0, :, 0].tolist() == [0, 255]


def test_preview_prompts_are_reserved():
    specs = preview_specs()
    assert len(specs) == 32
    assert all(world.is_reserved(spec) for spec in specs)
    assert {spec.species for spec in specs} == set(SPECIES)
