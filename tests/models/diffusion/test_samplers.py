"""Samplers against diffusers' schedulers over whole trajectories, and against exact solutions."""

import math

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
    LCMScheduler,
    UniPCMultistepScheduler,
)
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import rescale_noise_cfg

from kaiffin.models.diffusion.samplers import SAMPLERS, between, denoiser, guided, rescaled
from kaiffin.models.diffusion.schedule import NoiseSchedule

SHAPE = (2, 4, 8, 8)
COMMON = {
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "num_train_timesteps": 1000,
}


def toy(x: torch.Tensor, t: float) -> torch.Tensor:
    """A smooth nonlinear stand-in for the UNet, in float64."""
    mixed = x.flip(-1) * 0.3 + x
    return torch.tanh(0.8 * mixed + math.sin(t / 150)) + 0.1 * x


def noises(count: int) -> list[torch.Tensor]:
    rng = torch.Generator().manual_seed(5)
    return [torch.randn(SHAPE, generator=rng, dtype=torch.float64) for _ in range(count + 1)]


def ours(name: str, prediction: str, steps: int, spacing: str, **options) -> torch.Tensor:
    config = {**COMMON, "prediction_type": prediction, "timestep_spacing": spacing}
    schedule = NoiseSchedule.from_config({**config, "steps_offset": 1})
    draws = noises(steps)
    sigmas = schedule.sigmas(steps)
    x = draws[-1] * math.sqrt(1 + sigmas[0] ** 2)
    return SAMPLERS[name](denoiser(toy, schedule), x, sigmas, lambda i: draws[i], **options)


def theirs(scheduler, steps: int, monkeypatch, scaled: bool = False, **options) -> torch.Tensor:
    draws = noises(steps)
    scheduler.set_timesteps(steps)
    queue = iter(draws)
    for module in (
        "diffusers.schedulers.scheduling_ddpm",
        "diffusers.schedulers.scheduling_ddim",
        "diffusers.schedulers.scheduling_dpmsolver_multistep",
        "diffusers.schedulers.scheduling_euler_ancestral_discrete",
        "diffusers.schedulers.scheduling_lcm",
    ):
        monkeypatch.setattr(f"{module}.randn_tensor", lambda *a, **k: next(queue))
    x = draws[-1] * scheduler.init_noise_sigma
    for t in scheduler.timesteps:
        value = scheduler.scale_model_input(x, t)
        output = toy(value, float(t))
        x = scheduler.step(output, t, x, **options).prev_sample
    return x


def close(a: torch.Tensor, b: torch.Tensor) -> None:
    """float32 accuracy: diffusers keeps its tables in float32."""
    assert torch.isfinite(a).all()
    assert (a - b).abs().max() <= 2e-5 * b.abs().max().clamp(min=1)


PREDICTIONS = ("epsilon", "v_prediction")
STEPS = (10, 25, 50)


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("spacing", ["leading", "trailing"])
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_ddim(prediction, steps, spacing, eta, monkeypatch) -> None:
    scheduler = DDIMScheduler(
        **COMMON, prediction_type=prediction, timestep_spacing=spacing, steps_offset=1,
        clip_sample=False, set_alpha_to_one=True,
    )  # fmt: skip
    expected = theirs(scheduler, steps, monkeypatch, eta=eta)
    close(ours("ddim", prediction, steps, spacing, eta=eta), expected)


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("steps", STEPS)
def test_ddpm(prediction, steps, monkeypatch) -> None:
    scheduler = DDPMScheduler(
        **COMMON, prediction_type=prediction, timestep_spacing="leading", steps_offset=1,
        clip_sample=False, variance_type="fixed_small",
    )  # fmt: skip
    close(ours("ddpm", prediction, steps, "leading"), theirs(scheduler, steps, monkeypatch))


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
def test_euler(prediction, steps, spacing, monkeypatch) -> None:
    scheduler = EulerDiscreteScheduler(
        **COMMON, prediction_type=prediction, timestep_spacing=spacing, steps_offset=1
    )
    if spacing == "leading":  # there, its start is scaled like ours: sqrt(sigma^2 + 1)
        close(ours("euler", prediction, steps, spacing), theirs(scheduler, steps, monkeypatch))
    else:
        monkeypatch.setattr(
            EulerDiscreteScheduler,
            "init_noise_sigma",
            property(lambda self: (self.sigmas.max() ** 2 + 1) ** 0.5),
        )
        close(ours("euler", prediction, steps, spacing), theirs(scheduler, steps, monkeypatch))


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize(
    ("name", "algorithm"), [("dpm++2m", "dpmsolver++"), ("dpm++2m-sde", "sde-dpmsolver++")]
)
def test_dpmpp(prediction, steps, name, algorithm, monkeypatch) -> None:
    scheduler = DPMSolverMultistepScheduler(
        **COMMON, prediction_type=prediction, timestep_spacing="trailing", solver_order=2,
        algorithm_type=algorithm, final_sigmas_type="zero", lower_order_final=False,
        euler_at_final=True,
    )  # fmt: skip
    # Below 15 steps diffusers lowers the order near the end only when asked to: not asked here.
    close(ours(name, prediction, steps, "trailing"), theirs(scheduler, steps, monkeypatch))


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize(
    ("name", "scheduler"),
    [("euler-a", EulerAncestralDiscreteScheduler), ("heun", HeunDiscreteScheduler)],
)
def test_of_k_diffusion(prediction, steps, name, scheduler, monkeypatch) -> None:
    found = scheduler(
        **COMMON, prediction_type=prediction, timestep_spacing="leading", steps_offset=1
    )
    close(ours(name, prediction, steps, "leading"), theirs(found, steps, monkeypatch))


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("steps", STEPS)
def test_unipc(prediction, steps, monkeypatch) -> None:
    scheduler = UniPCMultistepScheduler(
        **COMMON, prediction_type=prediction, timestep_spacing="trailing", solver_order=2,
        solver_type="bh2", final_sigmas_type="zero",
    )  # fmt: skip
    close(ours("unipc", prediction, steps, "trailing"), theirs(scheduler, steps, monkeypatch))


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("steps", [2, 4, 8])
def test_lcm(prediction, steps, monkeypatch) -> None:
    scheduler = LCMScheduler(**COMMON, prediction_type=prediction, clip_sample=False)
    expected = theirs(scheduler, steps, monkeypatch)
    schedule = NoiseSchedule.from_config({**COMMON, "prediction_type": prediction})
    sigmas = [*(schedule.sigma(float(t)) for t in scheduler.timesteps), 0.0]
    draws = noises(steps)
    x = schedule.first_noise(draws[-1], sigmas[0])
    close(SAMPLERS["lcm"](denoiser(toy, schedule), x, sigmas, lambda i: draws[i]), expected)


@pytest.mark.parametrize("power", [1, 2])
def test_dpmpp_3m_sde_against_its_integral(power: int) -> None:
    """Where x0 is a line over lambda = -log sigma, the step is exact from the second on; of a
    parabola's bend it takes half, as k-diffusion does. (diffusers has another sign there.)

    mean of x at h = e^(-2 h) x + integral of 2 e^(-2 (h - u)) x0(u) over u from 0 to h.
    """
    sigmas = [6.0, 3.0, 1.4, 0.8]
    lams = [-math.log(sigma) for sigma in sigmas]
    line = lambda x, sigma: torch.tensor((0.3 - math.log(sigma)) ** power).double()  # noqa: E731
    no_noise = lambda i: torch.zeros(()).double()  # noqa: E731
    at = torch.tensor(2.0).double()
    before, found = (SAMPLERS["dpm++3m-sde"](line, at, sigmas[:n], no_noise).item() for n in (3, 4))
    h = lams[3] - lams[2]
    u = torch.linspace(0, h, 20_001).double()
    kernel = 2 * torch.exp(-2 * (h - u))
    exact = torch.trapezoid(kernel * (0.3 + lams[2] + u) ** power, u).item()
    bend = torch.trapezoid(kernel * u * u, u).item() if power == 2 else 0.0
    assert found == pytest.approx(math.exp(-2 * h) * before + exact - bend / 2, abs=1e-7)


@pytest.mark.parametrize("name", ["ddim", "euler", "dpm++2m", "unipc", "heun", "dpm++2m-sde"])
def test_zero_terminal_snr(name: str, monkeypatch) -> None:
    """From no signal at all: all go on finitely, DDIM as diffusers' does."""
    config = {**COMMON, "prediction_type": "v_prediction", "rescale_betas_zero_snr": True}
    schedule = NoiseSchedule.from_config({**config, "timestep_spacing": "leading"})
    sigmas, draws = schedule.sigmas(20), noises(20)
    assert schedule.spacing == "trailing"
    assert 1000 < sigmas[0] < 1e5
    x = schedule.first_noise(draws[-1], sigmas[0])
    found = SAMPLERS[name](denoiser(toy, schedule), x, sigmas, lambda i: draws[i])
    assert found.isfinite().all()
    assert found.abs().max() < 10
    if name == "ddim":
        scheduler = DDIMScheduler(**config, timestep_spacing="trailing", clip_sample=False)
        assert torch.allclose(found, theirs(scheduler, 20, monkeypatch), atol=2e-3)


def gaussian(sigma_data: float):
    """The exact denoiser of data ~ N(0, sigma_data^2)."""
    return lambda x, sigma: x * sigma_data**2 / (sigma_data**2 + sigma**2)


def error(name: str, steps: int) -> float:
    """Distance to the exact solution of the probability flow, x(0) = x(s) * d / sqrt(d^2 + s^2)."""
    data, top, low = 0.7, 14.0, 0.05
    ratio = (low / top) ** (1 / steps)
    sigmas = [top * ratio**i for i in range(steps + 1)]
    x = torch.tensor(1.5, dtype=torch.float64) * top
    exact = x * math.sqrt((data**2 + low**2) / (data**2 + top**2))
    got = SAMPLERS[name](gaussian(data), x, sigmas, lambda i: torch.zeros(()))
    return abs((got - exact) / exact).item()


@pytest.mark.parametrize(
    ("name", "order"), [("euler", 1), ("ddim", 1), ("dpm++2m", 2), ("heun", 2), ("unipc", 3)]
)
def test_order_of_convergence(name: str, order: int) -> None:
    """Halving the step divides the error by 2^order."""
    coarse, fine = error(name, 64), error(name, 128)
    assert math.log2(coarse / fine) == pytest.approx(order, abs=0.35)
    assert fine < 0.05


@pytest.mark.parametrize("name", ["ddpm", "dpm++2m-sde", "dpm++3m-sde"])
def test_stochastic_samplers_end_in_the_data_distribution(name: str) -> None:
    data, steps, n = 0.7, 60, 20_000
    ratio = (0.02 / 14.0) ** (1 / steps)
    sigmas = [14.0 * ratio**i for i in range(steps + 1)] + [0.0]
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(n, generator=rng, dtype=torch.float64) * math.sqrt(14**2 + data**2)
    noise = lambda i: torch.randn(n, generator=rng, dtype=torch.float64)  # noqa: E731
    got = SAMPLERS[name](gaussian(data), x, sigmas, noise)
    assert got.mean().item() == pytest.approx(0, abs=0.02)
    assert got.std().item() == pytest.approx(data, rel=0.06)


def test_guidance() -> None:
    cond, uncond = torch.tensor([3.0]), torch.tensor([1.0])
    assert guided(cond, uncond, 5.0).item() == 11.0
    assert guided(cond, uncond, 1.0).item() == 3.0


@pytest.mark.parametrize("share", [0.0, 0.7, 1.0])
def test_rescaled_guidance(share: float) -> None:
    output, cond = torch.randn(3, 4, 8, 8) * 5 + 1, torch.randn(3, 4, 8, 8)
    expected = rescale_noise_cfg(output, cond, guidance_rescale=share)
    assert torch.allclose(rescaled(output, cond, share), expected)


def test_steps_are_reported_in_order() -> None:
    seen: list[int] = []
    for sampler in SAMPLERS.values():
        seen.clear()
        sampler(gaussian(1.0), torch.ones(1), [3.0, 1.0, 0.0], lambda i: torch.zeros(1),
                lambda i, x0: seen.append(i))  # fmt: skip
        assert seen == [0, 1]


def test_between_two_noises() -> None:
    """As far from the origin all the way, and by equal angles."""
    one, other = noises(1)
    one, other = (noise / noise.norm() for noise in (one, other))
    whole = torch.acos((one * other).sum())
    for share in (0.0, 0.2, 0.5, 1.0):
        found = between(one, other, share)
        assert found.norm().item() == pytest.approx(1, abs=1e-9)
        assert (one * found).sum().item() == pytest.approx(torch.cos(share * whole).item())
    assert torch.allclose(between(one, one, 0.3), one)
