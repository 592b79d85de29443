"""Sheets of what was learnt: each picture in its place."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from kaiffin.foundation.tell import Tell
from kaiffin.miniature.build import nets
from kaiffin.miniature.build.recipe import BuildConfig
from kaiffin.miniature.build.workshop import new_network
from kaiffin.miniature.judges.looking import grow_sheet, preview_specs, sheet, to_images
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


def test_growth_is_shown_beside_the_truth_and_what_was_before(tmp_path: Path) -> None:
    """Of untrained networks, which is enough to find everything in its place."""
    told: list[str] = []

    class Hears(Tell):
        def note(self, text: str) -> None:
            told.append(text)

    config = BuildConfig(out=tmp_path, vae_channels=(16, 8, 8, 8), device="cpu")
    (tmp_path / "grow").mkdir()
    grow_sheet(config, new_network(config, "grow").vae, 5, Hears())
    page = np.asarray(Image.open(tmp_path / "grow" / "preview.png"))
    assert page.shape == (6 * nets.GROWN, 8 * nets.GROWN, 3)
    first = world.render(preview_specs(1)[0], nets.GROWN)
    assert np.array_equal(page[: nets.GROWN, : nets.GROWN], np.asarray(first))
    assert told[0].count("unseen characters") == 2
