"""What the families share: freezing, hashing, naming, and pictures to latents and back."""

import contextlib
import gc
from pathlib import Path

import pytest
import torch
from torch import nn

from kaiffin.foundation.tell import SILENT
from kaiffin.models import parts
from kaiffin.models.base import ModelFamily
from kaiffin.train.memory import lived


def test_frozen_is_without_gradients_and_drop_out() -> None:
    made = parts.frozen(
        nn.Sequential(nn.Linear(2, 2), nn.Dropout()), torch.device("cpu"), torch.bfloat16
    )
    assert not made.training
    assert {(p.requires_grad, p.dtype) for p in made.parameters()} == {(False, torch.bfloat16)}
    assert parts.num_bytes([made, made]) == 2 * 6 * 2


def test_what_is_there_already_stays_where_it_is() -> None:
    model = nn.BatchNorm1d(2)
    places = [t.data_ptr() for t in (*model.parameters(), model.running_mean)]
    made = parts.frozen(model, torch.device("cpu"), torch.float32)
    assert [t.data_ptr() for t in (*made.parameters(), made.running_mean)] == places
    made.running_mean = made.running_mean.double()
    assert (
        parts.frozen(made, torch.device("cpu"), torch.float32).running_mean.dtype == torch.float32
    )


@pytest.mark.parametrize("is_on", [True, False])
def test_garbage_is_collected_as_before_after_a_load(is_on: bool) -> None:
    (gc.enable if is_on else gc.disable)()
    try:
        with contextlib.suppress(ValueError), parts.quiet(), parts.quiet():
            assert not gc.isenabled()
            raise ValueError
        assert gc.isenabled() == is_on
    finally:
        gc.enable()


def test_targets_are_linear_layers_and_convolutions() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2), nn.Conv2d(1, 1, 1))
    assert list(parts.named_targets(model, lambda path: f"m.{path}")) == ["m.0", "m.2"]


def test_a_revision_is_of_contents_in_order_of_names(tmp_path: Path) -> None:
    one, two = tmp_path / "1", tmp_path / "2"
    one.write_bytes(b"a")
    two.write_bytes(b"b")
    before = parts.revision([one, two], tell=SILENT)
    assert parts.revision([two, one], tell=SILENT) == before
    two.write_bytes(b"c")
    assert parts.revision([one, two], tell=SILENT) != before


def test_a_shift_of_the_latents_is_taken_off_and_put_back(sd: ModelFamily) -> None:
    """SD 3 and Flux have one; SD 1.x and SDXL do not."""
    pixels = torch.rand(1, 3, 64, 64) * 2 - 1
    plain, std = parts.encode_images(sd.vae, pixels)
    sd.vae.register_to_config(shift_factor=0.5)
    shifted, same = parts.encode_images(sd.vae, pixels)
    assert torch.allclose(shifted, plain - 0.5 * sd.vae.config.scaling_factor, atol=1e-6)
    assert torch.equal(std, same)
    decoded = parts.decode(sd.vae, shifted)
    sd.vae.register_to_config(shift_factor=None)
    assert torch.allclose(decoded, parts.decode(sd.vae, plain), atol=1e-5)


def test_tiles_are_512_pixels_whatever_the_vae(sd: ModelFamily) -> None:
    parts.decode_in_tiles(sd.vae)
    assert (sd.vae.tile_sample_min_size, sd.vae.tile_latent_min_size) == (512, 64)


def test_a_decoder_holds_at_least_what_is_said(sd: ModelFamily) -> None:
    """By the bytes that live while it runs on tensors without contents; not six times as much."""

    def decode(_: object) -> None:
        sd.decode(torch.zeros(1, sd.latent_channels, 48, 64))

    height, width = (side * sd.downscale for side in (48, 64))
    least = parts.decoder_bytes(sd.vae, width, height)
    assert least <= lived(decode) <= 6 * least
