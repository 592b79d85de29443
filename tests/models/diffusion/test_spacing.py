"""Noise levels against diffusers' where it has the same, and by numbers worked out by hand."""

from itertools import pairwise

import pytest
import torch
from diffusers import EulerDiscreteScheduler
from diffusers.schedulers import AysSchedules
from scipy.special import betainc

from kaiffin.foundation.errors import ConfigError
from kaiffin.foundation.samplers import BASE, SCHEDULES
from kaiffin.models.diffusion.schedule import NoiseSchedule
from kaiffin.models.diffusion.spacing import ALIGNED_XL, SPACINGS, aligned

SCHEDULE = NoiseSchedule.from_config({})
TABLE = SCHEDULE.sigma_table()
BETAS = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}


@pytest.mark.parametrize("steps", [2, 10, 25])
@pytest.mark.parametrize("name", ["karras", "exponential", "uniform"])
def test_against_diffusers(name: str, steps: int) -> None:
    which = {} if name == "uniform" else {f"use_{name}_sigmas": True}
    scheduler = EulerDiscreteScheduler(**BETAS, timestep_spacing="linspace", **which)
    scheduler.set_timesteps(steps)
    assert SCHEDULE.sigmas(steps, name) == pytest.approx(scheduler.sigmas.tolist(), rel=2e-4)


def test_ten_aligned_steps_are_the_published_ones() -> None:
    for name, levels in (
        ("StableDiffusionSigmas", SCHEDULE.sigmas(10, "ays")),
        ("StableDiffusionXLSigmas", [*aligned(ALIGNED_XL)(TABLE, 10), 0.0]),
    ):
        assert levels == pytest.approx(AysSchedules[name])


def test_twenty_aligned_steps_lie_between() -> None:
    """Each second one is published, the others their neighbours' geometric means."""
    levels = SCHEDULE.sigmas(20, "ays")
    assert levels[::2][:-1] == pytest.approx(SCHEDULE.sigmas(10, "ays")[:-1])
    for left, middle, right in zip(levels[:-3:2], levels[1:-3:2], levels[2:-1:2], strict=False):
        assert middle == pytest.approx((left * right) ** 0.5)


def test_simple_steps() -> None:
    times = [SCHEDULE.timestep(sigma) for sigma in SPACINGS["simple"](TABLE, 4)]
    assert times == pytest.approx([999, 749, 499, 249])
    assert [round(SCHEDULE.timestep(s)) for s in SPACINGS["simple"](TABLE, 3)] == [999, 666, 333]


def test_times_of_the_beta_schedule_have_its_distribution() -> None:
    """By the distribution function, which is not what they are made with."""
    times = [SCHEDULE.timestep(sigma) for sigma in SPACINGS["beta"](TABLE, 8)]
    assert times == sorted(times, reverse=True)
    shares = [float(betainc(0.6, 0.6, t / 999)) for t in times]
    assert shares == pytest.approx([1 - i / 8 for i in range(8)], abs=2e-3)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("steps", [1, 2, 25, 150])
@pytest.mark.parametrize("zero", [False, True])
def test_every_schedule_falls_to_zero(name: str, steps: int, zero: bool) -> None:
    schedule = NoiseSchedule.from_config({"rescale_betas_zero_snr": zero})
    sigmas = schedule.sigmas(steps, name)
    assert len(sigmas) == steps + 1
    assert sigmas == sorted(sigmas, reverse=True)
    assert len(set(sigmas)) == steps + 1
    assert torch.tensor(sigmas).isfinite().all()
    assert sigmas[-1] == 0


def test_the_base_says_what_base_means() -> None:
    for said, name in (("leading", "leading"), ("trailing", "trailing"), ("linspace", "uniform")):
        schedule = NoiseSchedule.from_config({"timestep_spacing": said})
        assert schedule.sigmas(7, BASE) == schedule.sigmas(7, name)
        assert schedule.spacing == name


def test_more_steps_than_noise_levels_are_refused() -> None:
    """Of 1000 steps that leave out the noisiest end, two would be the same; no step may be of no
    length."""
    for name in set(SCHEDULES) - {BASE, "leading"}:
        levels = SCHEDULE.sigmas(1000, name)
        assert all(more > less for more, less in pairwise(levels)), name
    assert len(SCHEDULE.sigmas(999, "leading")) == 1000
    for name in (BASE, "leading"):
        with pytest.raises(ConfigError, match="the schedule leading has 999 noise levels") as error:
            SCHEDULE.sigmas(1000, name)
        assert error.value.fix == "Take 999 steps at most, or another --schedule."
