"""Samplers as functions over `denoise(x, sigma) -> x0` (Karras et al. 2022, arXiv 2206.00364).

State is kept in variance-exploding coordinates `x = x0 + sigma eps`, where `sigma` falls from the
schedule's largest to 0; a model's output, whatever it predicts, is turned into x0 once, in
`denoiser`. In these coordinates DDIM without noise is Euler's method, also Euler's on the straight
paths of a rectified flow, and DPM-Solver++ needs only `log sigma`.
Every sampler draws its noise from `noise(i)`: nothing here owns randomness.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from kaiffin.models.diffusion.schedule import Schedule

Denoise = Callable[[Tensor, float], Tensor]  # (x (B, C, h, w), sigma) -> x0 of the same shape
Noise = Callable[[int], Tensor]  # step index -> standard normal, shaped like x
OnStep = Callable[[int, Tensor], None]  # (step index, current x0)


def denoiser(predict: Callable[[Tensor, float], Tensor], schedule: Schedule) -> Denoise:
    """The border between the model's world and the samplers'.

    predict: (x_t and t as the model takes them) -> its raw output.
    """

    def denoise(x: Tensor, sigma: float) -> Tensor:
        return schedule.to_x0(predict(*schedule.model_input(x, sigma)), x, sigma)

    return denoise


def sample_ddpm(
    denoise: Denoise, x: Tensor, sigmas: Sequence[float], noise: Noise,
    on_step: OnStep | None = None, eta: float = 1.0,
) -> Tensor:  # fmt: skip
    """Ancestral sampling (Ho et al. 2020, arXiv 2006.11239, eq. 6-7, fixed small variance)."""
    return sample_ddim(denoise, x, sigmas, noise, on_step, 1.0)


def sample_ddim(
    denoise: Denoise, x: Tensor, sigmas: Sequence[float], noise: Noise,
    on_step: OnStep | None = None, eta: float = 0.0,
) -> Tensor:  # fmt: skip
    """DDIM (Song et al. 2021, arXiv 2010.02502, eq. 12 and 16); eta = 1 is DDPM.

    With sigma_i^2 = (1 - a_i) / a_i, eq. 16 divided by sqrt(a_next) gives the noise level `up`.
    """
    for i, (sigma, after) in enumerate(itertools.pairwise(sigmas)):
        x0 = denoise(x, sigma)
        up = _ancestral(sigma, after, eta)
        down = math.sqrt(max(after * after - up * up, 0.0))
        x = x0 + (x - x0) * (down / sigma)
        if up > 0:
            x = x + up * noise(i)
        if on_step:
            on_step(i, x0)
    return x


def _ancestral(sigma: float, after: float, eta: float) -> float:
    """Standard deviation of the fresh noise in VE coordinates."""
    return eta * after * math.sqrt(max(sigma * sigma - after * after, 0.0)) / sigma


def sample_euler(
    denoise: Denoise, x: Tensor, sigmas: Sequence[float], noise: Noise,
    on_step: OnStep | None = None, eta: float = 0.0,
) -> Tensor:  # fmt: skip
    """Euler's method on dx/dsigma = (x - x0) / sigma (Karras et al. 2022, algorithm 1)."""
    for i, (sigma, after) in enumerate(itertools.pairwise(sigmas)):
        x0 = denoise(x, sigma)
        x = x + (x - x0) / sigma * (after - sigma)
        if on_step:
            on_step(i, x0)
    return x


def sample_dpmpp_2m(
    denoise: Denoise, x: Tensor, sigmas: Sequence[float], noise: Noise,
    on_step: OnStep | None = None, eta: float = 0.0,
) -> Tensor:  # fmt: skip
    """DPM-Solver++(2M) (Lu et al. 2022, arXiv 2211.01095, algorithm 2), data prediction.

    lambda = -log sigma. The last step, to sigma = 0, is of first order and lands on x0.
    """
    previous: tuple[float, Tensor] | None = None  # lambda and x0 of the step before
    for i, (sigma, after) in enumerate(itertools.pairwise(sigmas)):
        x0 = denoise(x, sigma)
        lam = -math.log(sigma)
        if after == 0:
            x = x0
        else:
            h = -math.log(after) - lam
            x = x * (after / sigma) - math.expm1(-h) * _extrapolated(x0, lam, h, previous)
        previous = (lam, x0)
        if on_step:
            on_step(i, x0)
    return x


def sample_dpmpp_2m_sde(
    denoise: Denoise, x: Tensor, sigmas: Sequence[float], noise: Noise,
    on_step: OnStep | None = None, eta: float = 1.0,
) -> Tensor:  # fmt: skip
    """SDE-DPM-Solver++(2M) (Lu et al. 2022, eq. 18 with the midpoint correction)."""
    previous: tuple[float, Tensor] | None = None
    for i, (sigma, after) in enumerate(itertools.pairwise(sigmas)):
        x0 = denoise(x, sigma)
        lam = -math.log(sigma)
        if after == 0:
            x = x0
        else:
            h = -math.log(after) - lam
            best = _extrapolated(x0, lam, h, previous)
            x = x * (after / sigma * math.exp(-h)) - math.expm1(-2 * h) * best
            x = x + after * math.sqrt(-math.expm1(-2 * h)) * noise(i)
        previous = (lam, x0)
        if on_step:
            on_step(i, x0)
    return x


def _extrapolated(
    x0: Tensor, lam: float, h: float, previous: tuple[float, Tensor] | None
) -> Tensor:
    """x0 at the middle of the step, from this and the previous prediction (second order)."""
    if previous is None:
        return x0
    before, x0_before = previous
    r = (lam - before) / h
    return x0 + (x0 - x0_before) / (2 * r)


def sample_dpmpp_3m_sde(
    denoise: Denoise, x: Tensor, sigmas: Sequence[float], noise: Noise,
    on_step: OnStep | None = None, eta: float = 1.0,
) -> Tensor:  # fmt: skip
    """DPM-Solver++(3M) as an SDE (Lu et al. 2022, section 4.2; with the factors of k-diffusion, by
    which it is known: the quadratic term counts half of what the integral says).

    The first step is of first order, the second of second.
    """
    known: list[tuple[float, Tensor]] = []  # lambda and x0 of the last steps, newest first
    for i, (sigma, after) in enumerate(itertools.pairwise(sigmas)):
        x0 = denoise(x, sigma)
        lam = -math.log(sigma)
        if after == 0:
            x = x0
        else:
            h = -math.log(after) - lam
            x = x * (after / sigma * math.exp(-h)) - math.expm1(-2 * h) * x0
            x = x + _higher_orders(x0, lam, h, known)
            x = x + after * math.sqrt(-math.expm1(-2 * h)) * noise(i)
        known = [(lam, x0), *known[:1]]
        if on_step:
            on_step(i, x0)
    return x


def _higher_orders(
    x0: Tensor, lam: float, h: float, known: Sequence[tuple[float, Tensor]]
) -> Tensor | float:
    """What slope and curvature of x0 over lambda add to a step of the SDE."""
    phi_2 = math.expm1(-2 * h) / (2 * h) + 1
    if not known:
        return 0.0
    r0 = (lam - known[0][0]) / h
    slope = (x0 - known[0][1]) / r0
    if len(known) == 1:
        return phi_2 * slope
    r1 = (known[0][0] - known[1][0]) / h
    bend = (slope - (known[0][1] - known[1][1]) / r1) / (r0 + r1)
    return phi_2 * (slope + r0 * bend) - (phi_2 / (2 * h) - 0.5) * bend


def sample_unipc(
    denoise: Denoise, x: Tensor, sigmas: Sequence[float], noise: Noise,
    on_step: OnStep | None = None, eta: float = 0.0,
) -> Tensor:  # fmt: skip
    """UniPC (Zhao et al. 2023, arXiv 2302.04867, algorithms 5 and 6: data prediction, B2, order 2).

    Each prediction of x0 corrects the step that led to it, and then predicts the next one.
    """
    known: list[tuple[float, Tensor]] = []  # lambda and x0 of the last steps, newest first
    begun = x  # where the step before began
    for i, (sigma, after) in enumerate(itertools.pairwise(sigmas)):
        x0 = denoise(x, sigma)
        lam = -math.log(sigma)
        if known:
            x = _unipc_step(begun, lam, known, x0)
        known, begun = [(lam, x0), *known[:1]], x
        x = x0 if after == 0 else _unipc_step(begun, -math.log(after), known)
        if on_step:
            on_step(i, x0)
    return x


def _unipc_step(
    x: Tensor, lam: float, known: Sequence[tuple[float, Tensor]], found: Tensor | None = None
) -> Tensor:
    """From the newest of `known` to `lam`; found: the x0 predicted there, which corrects it."""
    (start, x0), *older = known
    h = lam - start
    b = math.expm1(-h)
    change: Tensor | float = 0.0
    if older:
        r = (older[0][0] - start) / h
        change = (older[0][1] - x0) / r
    if found is None:
        change = 0.5 * change
    elif not older:
        change = 0.5 * (found - x0)
    else:
        phi_2 = -b / h - 1
        first, second = phi_2 / b, 2 * (-phi_2 / h - 0.5) / b  # the sums that the weights have
        rho = (first - second) / (1 - r)
        change = rho * change + (first - rho) * (found - x0)
    return x * math.exp(-h) - b * (x0 + change)


def sample_heun(
    denoise: Denoise, x: Tensor, sigmas: Sequence[float], noise: Noise,
    on_step: OnStep | None = None, eta: float = 0.0,
) -> Tensor:  # fmt: skip
    """Heun's method (Karras et al. 2022, algorithm 1, without churn): the model is asked twice a
    step, but for the last, to sigma = 0."""
    for i, (sigma, after) in enumerate(itertools.pairwise(sigmas)):
        x0 = denoise(x, sigma)
        slope = (x - x0) / sigma
        ahead = x + slope * (after - sigma)
        if after > 0:
            slope = (slope + (ahead - denoise(ahead, after)) / after) / 2
        x = x + slope * (after - sigma)
        if on_step:
            on_step(i, x0)
    return x


def sample_lcm(
    denoise: Denoise, x: Tensor, sigmas: Sequence[float], noise: Noise,
    on_step: OnStep | None = None, eta: float = 1.0,
) -> Tensor:  # fmt: skip
    """Consistency sampling (Song et al. 2023, arXiv 2303.01469, algorithm 1; latent: Luo et al.
    2023, arXiv 2310.04378): each step lands on x0, and all the noise is drawn anew."""
    for i, (sigma, after) in enumerate(itertools.pairwise(sigmas)):
        x = x0 = denoise(x, sigma)
        if after > 0:
            x = x + after * noise(i)
        if on_step:
            on_step(i, x0)
    return x


def between(one: Tensor, other: Tensor, share: float) -> Tensor:
    """Noise on the arc from one to the other (Shoemake 1985): as far from the origin as noise is,
    which a straight line would cut short."""
    cosine = F.cosine_similarity(one.flatten(), other.flatten(), 0)
    angle = torch.acos(cosine.clamp(-1, 1))
    if angle < 1e-3:  # hardly two
        return torch.lerp(one, other, share)
    return (torch.sin((1 - share) * angle) * one + torch.sin(share * angle) * other) / torch.sin(
        angle
    )


def guided(cond: Tensor, uncond: Tensor, scale: float) -> Tensor:
    """Classifier-free guidance (Ho & Salimans 2022): uncond + scale * (cond - uncond)."""
    return uncond + scale * (cond - uncond)


def rescaled(output: Tensor, cond: Tensor, share: float) -> Tensor:
    """Guided output (B, C, h, w), `share` of it with the standard deviation that each picture's
    `cond` has (Lin et al. 2023, arXiv 2305.08891, eq. 15-16): guidance makes it grow, most of all
    where a schedule ends without signal."""
    over = tuple(range(1, output.dim()))
    calm = output * (cond.std(over, keepdim=True) / output.std(over, keepdim=True))
    return share * calm + (1 - share) * output


SAMPLERS = {
    "ddpm": sample_ddpm,
    "ddim": sample_ddim,
    "euler": sample_euler,
    "euler-a": sample_ddpm,  # in these coordinates the same formula
    "heun": sample_heun,
    "dpm++2m": sample_dpmpp_2m,
    "dpm++2m-sde": sample_dpmpp_2m_sde,
    "dpm++3m-sde": sample_dpmpp_3m_sde,
    "unipc": sample_unipc,
    "lcm": sample_lcm,
}
