"""The schedule against diffusers' tables and against its own definitions."""

import pytest
import torch
from diffusers import DDPMScheduler
from diffusers.training_utils import compute_snr

from kaiffin.models.diffusion.schedule import NoiseSchedule

CONFIGS = [
    {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012},
    {"beta_schedule": "linear", "beta_start": 0.0001, "beta_end": 0.02},
    {"beta_schedule": "squaredcos_cap_v2"},
    {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012,
     "rescale_betas_zero_snr": True, "prediction_type": "v_prediction"},
]  # fmt: skip


@pytest.mark.parametrize("config", CONFIGS)
def test_against_diffusers(config: dict) -> None:
    mine = NoiseSchedule.from_config(config)
    theirs = DDPMScheduler(num_train_timesteps=1000, **config)
    assert torch.allclose(mine.alphas_cumprod.float(), theirs.alphas_cumprod, atol=2e-6)
    x0, eps = torch.randn(4, 4, 8, 8), torch.randn(4, 4, 8, 8)
    t = torch.tensor([0, 10, 500, 998])
    x_t = mine.add_noise(x0, eps, t)
    assert torch.allclose(x_t, theirs.add_noise(x0, eps, t), atol=1e-5)
    if config.get("prediction_type") == "v_prediction":
        assert torch.allclose(mine.target(x0, eps, t), theirs.get_velocity(x0, eps, t), atol=1e-5)
    if not config.get("rescale_betas_zero_snr"):
        assert torch.allclose(mine.snr(t).float(), compute_snr(theirs, t), rtol=1e-3)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_training_and_sampling_see_the_same_noise(prediction: str) -> None:
    """At any time, the samplers' x is the model's x_t in other units, and the target gives x0."""
    schedule = NoiseSchedule.from_config({"prediction_type": prediction})
    x0, eps = torch.randn(1, 4, 8, 8).double(), torch.randn(1, 4, 8, 8).double()
    for step in (3, 400, 990):
        t, sigma = torch.tensor([step]), schedule.sigma(step)
        x = x0 + sigma * eps
        x_t, asked = schedule.model_input(x, sigma)
        assert asked == pytest.approx(step, abs=1e-6)
        assert torch.allclose(x_t, schedule.add_noise(x0, eps, t))
        assert torch.allclose(schedule.to_x0(schedule.target(x0, eps, t), x, sigma), x0)


def test_the_first_noise_is_what_the_model_takes_as_standard_normal() -> None:
    schedule = NoiseSchedule.from_config({})
    eps, sigma = torch.randn(1, 4, 8, 8), schedule.sigma(999)
    x_t, _ = schedule.model_input(schedule.first_noise(eps, sigma), sigma)
    assert torch.allclose(x_t, eps, atol=1e-6)


def test_times_are_drawn_evenly_and_by_the_generator_alone() -> None:
    schedule = NoiseSchedule.from_config({"num_train_timesteps": 10})
    rng = torch.Generator().manual_seed(0)
    drawn = [int(schedule.draw_time(rng)) for _ in range(2000)]
    counts = torch.bincount(torch.tensor(drawn), minlength=10)
    assert len(counts) == 10
    assert counts.min() > 140
    rng.manual_seed(0)
    assert [int(schedule.draw_time(rng)) for _ in range(2000)] == drawn


def test_without_any_signal_at_the_end_sampling_still_starts() -> None:
    """Zero terminal SNR (Lin et al. 2023): the last sigma is large, and not infinite."""
    config = {"rescale_betas_zero_snr": True, "prediction_type": "v_prediction"}
    schedule = NoiseSchedule.from_config({**config, "timestep_spacing": "trailing"})
    sigmas = schedule.sigmas(4)
    assert sigmas[0] == pytest.approx(2**12, rel=1e-3)
    x_t, t = schedule.model_input(schedule.first_noise(torch.ones(1), sigmas[0]), sigmas[0])
    assert (x_t.item(), t) == (pytest.approx(1), 999)


def test_sigma_and_timestep_are_inverse() -> None:
    schedule = NoiseSchedule.from_config({})
    for t in (0, 1, 17.25, 500, 998.5, 999):
        assert schedule.timestep(schedule.sigma(t)) == pytest.approx(t, abs=1e-6)
    assert schedule.sigma(999) == pytest.approx(14.6146, abs=1e-3)  # SD's well-known largest sigma
    assert schedule.sigma(0) == pytest.approx(0.0292, abs=1e-4)


def test_known_spacings() -> None:
    """Lin et al. 2023, table 2, for 10 of 1000 steps."""
    schedule = NoiseSchedule.from_config({"steps_offset": 1})
    assert schedule.timesteps(10, "leading") == [901, 801, 701, 601, 501, 401, 301, 201, 101, 1]
    assert schedule.timesteps(10, "trailing") == [999, 899, 799, 699, 599, 499, 399, 299, 199, 99]
    assert schedule.timesteps(10, "uniform") == [999, 888, 777, 666, 555, 444, 333, 222, 111, 0]
    assert len(schedule.sigmas(10)) == 11
    assert schedule.sigmas(10)[-1] == 0


@pytest.mark.parametrize(
    "config",
    [
        {"prediction_type": "sample"},
        {"beta_schedule": "sigmoid"},
        {"timestep_spacing": "karras"},
    ],
)
def test_what_is_not_known_is_refused(config: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(config.values()))):
        NoiseSchedule.from_config(config)
