"""What comes back through a VAE, on made-up ones and on a small grown one."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from kaiffin.miniature.build import grow, nets
from kaiffin.miniature.build.recipe import BuildConfig
from kaiffin.miniature.judges import quality, showing
from kaiffin.miniature.world import world
from kaiffin.miniature.world.vocabulary import SCENES, SIDE


class Shifts:
    """Adds a tenth of the range, at `sample_size` pixels."""

    def __init__(self, side: int) -> None:
        self.config = {"sample_size": side}

    def encode(self, pixels: torch.Tensor) -> object:
        assert pixels.shape[-1] == self.config["sample_size"]
        mean = pixels + 0.2
        return type("Coded", (), {"latent_dist": type("Dist", (), {"mean": mean})})

    def decode(self, latents: torch.Tensor) -> object:
        return type("Decoded", (), {"sample": latents})


@pytest.mark.parametrize("side", [4, 8])
def test_an_error_of_a_tenth_of_the_range_is_twenty_decibels(side: int) -> None:
    """The range of pixels is 2, and 10 log10(4 / 0.2^2) is 20; also of a smaller VAE."""
    images = np.full((2, 8, 8, 3), 100, np.uint8)
    assert showing.vae_psnr(Shifts(side), images) == pytest.approx(20, abs=1e-4)


def test_before_and_after_growing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What has just been grown shows what it was grown from, so both columns are nearly equal."""
    torch.manual_seed(0)
    small = nets.make_vae((16, 16), 64).eval()
    large = grow.grow(small).eval()
    monkeypatch.setattr(showing, "trained", lambda config, stage: small)
    monkeypatch.setattr(showing, "drawing_vae", lambda config: large)
    config = BuildConfig(out=tmp_path)
    config.done("grow").parent.mkdir()
    config.done("grow").write_text("98888 9000\n")
    found, pictures = showing.vae_facts(config, quality.held_out_specs(4))
    assert (found["side"], found["grown_samples"], found["grown_hours"]) == (128, 98888, 2.5)
    assert found["photo_psnr"] == "not measured"
    *_, row = found["grown"].splitlines()
    name, count, before, now = (cell.strip() for cell in row.strip("|").split("|"))
    assert (name, int(count)) == ("the two characters", 16)
    assert float(now) == pytest.approx(float(before), abs=1.5)  # no bicubic there
    assert pictures.shape == (24, 128, 128, 3)


def test_the_characters_of_the_report() -> None:
    subjects = showing.subject_renders()
    assert subjects.shape == (len(world.SUBJECTS) * len(SCENES), SIDE, SIDE, 3)
    assert len(np.unique(subjects.reshape(len(subjects), -1), axis=0)) == len(subjects)


def test_photos_are_cut_to_squares(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    for name, size in (("a.png", (200, 100)), ("more/b.jpg", (70, 90))):
        Image.new("RGB", size, "red").save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no photo")
    assert showing.read_photos(tmp_path, 32).shape == (2, 32, 32, 3)
