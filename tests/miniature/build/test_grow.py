"""Growth changes nothing to begin with, and its training goes on to the same bytes."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from kaiffin.foundation.errors import UserError
from kaiffin.miniature.build import nets, stages, workshop
from kaiffin.miniature.build.build import ORDER
from kaiffin.miniature.build.grow import Growing, grow, grow_stage
from kaiffin.miniature.build.marathon import Every, Marathon, Plan
from kaiffin.miniature.build.recipe import BuildConfig
from kaiffin.miniature.world import world

CHANNELS = (16, 8, 8, 8)


def vae(channels: tuple[int, ...] = CHANNELS):
    """One whose layers all have something to say, biases and norms too."""
    torch.manual_seed(0)
    made = nets.make_vae(channels).eval()
    with torch.no_grad():
        for weight in made.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    return made


@torch.no_grad()
def test_a_grown_vae_does_what_the_old_one_does() -> None:
    old = vae()
    grown = grow(old)
    assert grown.config["sample_size"] == nets.GROWN
    latents = torch.randn(2, nets.LATENT_CHANNELS, 4, 4)
    made = grown.decode(latents).sample
    assert made.shape[-1] == 64
    torch.testing.assert_close(F.avg_pool2d(made, 2), old.decode(latents).sample)
    pictures = torch.rand(2, 3, 32, 32) * 2 - 1
    told = grown.encode(F.interpolate(pictures, scale_factor=2)).latent_dist.parameters
    torch.testing.assert_close(told, old.encode(pictures).latent_dist.parameters,
                               rtol=1e-4, atol=1e-5)  # fmt: skip


def test_what_is_too_narrow_to_grow_says_so() -> None:
    with pytest.raises(UserError, match="8 channels cannot be grown"):
        grow(vae((8, 8, 8, 8)))


def pool(count: int = 6, side: int = 32) -> stages.Pool:
    specs = [world.training_spec(1, index) for index in range(count)]
    return stages.Pool(np.stack([np.asarray(world.render(spec, side)) for spec in specs]), 1)


def trained(folder: Path, dies_at: int | None = None) -> Growing:
    old = vae().requires_grad_(False)
    torch.manual_seed(1)
    growing = Growing(grow(old))
    step_loss = grow_stage(growing, old, pool(), batch=4, sharp_from=8)

    def loss(step: int, part: slice) -> torch.Tensor:
        if step == dies_at:
            raise InterruptedError
        return step_loss(step, part)

    Marathon(folder, growing, Plan(1e-3, 4, 4, 60, samples=24), loss, every=Every(save_s=0)).run()
    return growing


def test_the_stage_goes_on_to_the_same_bytes_and_keeps_the_latents(tmp_path: Path) -> None:
    """Killed after the critic came in; of the encoder only the new stage has learnt."""
    whole = trained(tmp_path / "whole")
    with pytest.raises(InterruptedError):
        trained(tmp_path / "killed", dies_at=4)
    again = trained(tmp_path / "killed").state_dict()
    fresh = Growing(grow(vae())).vae.state_dict()
    for name, weight in whole.state_dict().items():
        assert torch.equal(weight, again[name]), name
        part = name.removeprefix("vae.")
        if part in fresh:
            learns = part.startswith(("decoder.", "encoder.conv_in.", "encoder.down_blocks.0."))
            assert torch.equal(weight, fresh[part]) != learns, name


def test_the_stage_is_run_by_request_and_the_export_takes_what_it_made(tmp_path: Path) -> None:
    config = BuildConfig(out=tmp_path, vae_channels=CHANNELS, grow_pictures=4, device="cpu")
    old = workshop.drawing_vae(config)
    assert old.config["sample_size"] == nets.SIZE
    growing = workshop.new_network(config, "grow")
    plan = Plan(1e-3, 4, 4, 60, samples=0)
    Marathon(tmp_path / "grow", growing, plan, lambda step, part: torch.zeros(())).run()
    assert workshop.drawing_vae(config).config["sample_size"] == nets.GROWN
    assert "grow" not in ORDER
