"""What noise does to latents, and back: asked alike by training and by sampling.

A schedule knows the model's own coordinates; samplers know one kind only, the variance-exploding
`x = x0 + sigma eps` of Karras et al. 2022 (arXiv 2206.00364), to which every schedule translates.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from kaiffin.foundation.errors import ConfigError
from kaiffin.foundation.samplers import BASE
from kaiffin.models.diffusion.loss import min_snr_weight
from kaiffin.models.diffusion.spacing import ALIGNED, SPACINGS, aligned

PREDICTION_TYPES = ("epsilon", "v_prediction")
TIMES = {"leading": "leading", "trailing": "trailing", "linspace": "uniform"}  # diffusers' and ours


# The smallest level of signal in the table of sigmas: at none at all, where a schedule with zero
# terminal SNR ends, sigma would be infinite. diffusers takes the same (2 ** -24).
LEAST_SIGNAL = 2.0**-24


class Schedule(Protocol):
    """What training and sampling ask of a family's noise. t: (B,) times in the model's own count;
    sigma: noise over signal, from the largest to 0.
    """

    @property
    def prediction_type(self) -> str:
        """What the model says: "epsilon", "v_prediction" or another's word for it."""
        ...

    @property
    def config(self) -> Mapping[str, Any]:
        """What it was read from, to be written beside a changed base."""
        ...

    def draw_time(self, generator: torch.Generator) -> Tensor:
        """A time to train at, 0-dimensional."""
        ...

    def time_at(self, share: float) -> Tensor:
        """The time below which this share of all times lies, 0 to 1; 0-dimensional."""
        ...

    def share_of(self, t: Tensor) -> Tensor:
        """The share (B,) of all times that lies below each: the inverse of `time_at`."""
        ...

    def middle(self) -> Tensor:
        """The time in the middle of all, 0-dimensional: where the export proof probes."""
        ...

    def add_noise(self, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """x_t (B, C, h, w), as the model takes it, from latents and standard normal noise."""
        ...

    def target(self, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """What the model should say of that x_t."""
        ...

    def weight(self, t: Tensor, gamma: float) -> Tensor:
        """min-SNR factor (B,) on the squared error of the target; see `min_snr_weight`."""
        ...

    @property
    def spacing(self) -> str:
        """A name of `foundation.samplers.SCHEDULES`: what "base" means for this base."""
        ...

    def sigmas(self, num_steps: int, spacing: str = BASE) -> list[float]:
        """(num_steps + 1) descending sigmas of a trajectory, and 0 at the end. ConfigError for a
        spacing that it has not."""
        ...

    def first_noise(self, eps: Tensor, sigma: float) -> Tensor:
        """x of the samplers at their first sigma, from standard normal noise."""
        ...

    def model_input(self, x: Tensor, sigma: float) -> tuple[Tensor, float]:
        """The samplers' x = x0 + sigma eps as the model takes it: (x_t, t)."""
        ...

    def to_x0(self, output: Tensor, x: Tensor, sigma: float) -> Tensor:
        """x0 from what the model says of x = x0 + sigma eps."""
        ...


@dataclass(frozen=True)
class NoiseSchedule:
    """Stable Diffusion's: variance preserving, with betas at integer timesteps.

    Notation of Ho et al. 2020 (arXiv 2006.11239): `x_t = sqrt(a_t) x0 + sqrt(1 - a_t) eps` with
    `a = alphas_cumprod`; `sigma = sqrt((1 - a) / a)`, so that `x_t / sqrt(a_t) = x0 + sigma eps`;
    `snr = a / (1 - a)`.

    alphas_cumprod: (T,) float64, descending; spacing: leading, trailing or uniform; aligned: the
    sigmas of "Align Your Steps" for its family; the rest as in diffusers' scheduler_config.json.
    """

    alphas_cumprod: Tensor
    prediction_type: str = "epsilon"
    spacing: str = "leading"
    steps_offset: int = 1
    config: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
    aligned: tuple[float, ...] = ALIGNED

    def __post_init__(self) -> None:
        if self.prediction_type not in PREDICTION_TYPES:
            raise ValueError(f"prediction_type {self.prediction_type!r} not in {PREDICTION_TYPES}")

    @staticmethod
    def from_config(config: Mapping[str, Any]) -> NoiseSchedule:
        """Reads a diffusers scheduler config; ValueError names what is not supported.

        Where training went on to no signal at all, sampling has to begin there: the spacing is
        then trailing, whatever the config says (Lin et al. 2023, section 3.3).
        """
        betas = _betas(
            config.get("beta_schedule", "scaled_linear"),
            config.get("beta_start", 0.00085),
            config.get("beta_end", 0.012),
            config.get("num_train_timesteps", 1000),
        )
        alphas_cumprod = torch.cumprod(1.0 - betas, 0)
        spacing = config.get("timestep_spacing", "leading")
        if spacing not in TIMES:
            raise ValueError(f"timestep_spacing {spacing!r} not in {tuple(TIMES)}")
        if config.get("rescale_betas_zero_snr"):
            alphas_cumprod, spacing = _zero_terminal_snr(alphas_cumprod), "trailing"
        return NoiseSchedule(
            alphas_cumprod,
            config.get("prediction_type", "epsilon"),
            TIMES[spacing],
            config.get("steps_offset", 1),
            dict(config),
        )

    @property
    def num_timesteps(self) -> int:
        return len(self.alphas_cumprod)

    def draw_time(self, generator: torch.Generator) -> Tensor:
        return torch.randint(self.num_timesteps, (), generator=generator)

    def time_at(self, share: float) -> Tensor:
        return torch.tensor(min(int(share * self.num_timesteps), self.num_timesteps - 1))

    def share_of(self, t: Tensor) -> Tensor:
        return t / self.num_timesteps

    def middle(self) -> Tensor:
        return torch.tensor(self.num_timesteps // 2)

    def snr(self, t: Tensor) -> Tensor:
        """Signal-to-noise ratio at integer timesteps t (B,), float64 (B,)."""
        a = self._at(t)
        return a / (1 - a)

    def add_noise(self, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """x_t (B, C, h, w) at integer timesteps t (B,)."""
        a = self._like(x0, t)
        return a.sqrt() * x0 + (1 - a).sqrt() * eps

    def target(self, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """What the model should say: eps, or v = sqrt(a) eps - sqrt(1 - a) x0 (Salimans 2022)."""
        if self.prediction_type == "epsilon":
            return eps
        a = self._like(x0, t)
        return a.sqrt() * eps - (1 - a).sqrt() * x0

    def weight(self, t: Tensor, gamma: float) -> Tensor:
        return min_snr_weight(self.snr(t), gamma, self.prediction_type)

    def first_noise(self, eps: Tensor, sigma: float) -> Tensor:
        # Variance preserving noise at the first step is x_t ~ N(0, 1); in VE coordinates that is
        # scaled by 1 / sqrt(a) = sqrt(1 + sigma^2), as the published samplers start.
        return eps * (1 + sigma**2) ** 0.5

    def model_input(self, x: Tensor, sigma: float) -> tuple[Tensor, float]:
        return x * _root_a(sigma), self.timestep(sigma)

    def to_x0(self, output: Tensor, x: Tensor, sigma: float) -> Tensor:
        if self.prediction_type == "epsilon":
            return x - sigma * output
        root_a = _root_a(sigma)
        return x * root_a * root_a - output * (sigma * root_a)

    def sigma_table(self) -> Tensor:
        """(T,) float64 sigmas of all timesteps, ascending."""
        a = self.alphas_cumprod.clamp(min=LEAST_SIGNAL)
        return ((1 - a) / a).sqrt()

    @functools.cached_property
    def _logs(self) -> Tensor:
        """log sigma of all timesteps, which every step of a sampler looks at."""
        return self.sigma_table().log()

    def sigma(self, t: float) -> float:
        """sigma at an integer or fractional timestep; log sigma is interpolated."""
        logs = self._logs
        low = min(max(math.floor(t), 0), self.num_timesteps - 1)
        high = min(low + 1, self.num_timesteps - 1)
        weight = t - low
        return float(((1 - weight) * logs[low] + weight * logs[high]).exp())

    def timestep(self, sigma: float) -> float:
        """The inverse of `sigma`, clamped to [0, T - 1]."""
        logs = self._logs
        value = math.log(max(sigma, 1e-12))
        low = int((logs <= value).sum().clamp(1, self.num_timesteps - 1)) - 1
        weight = float((value - logs[low]) / (logs[low + 1] - logs[low]))
        return low + min(max(weight, 0.0), 1.0)

    def timesteps(self, num_steps: int, spacing: str) -> list[float]:
        """Descending timesteps of a trajectory (Lin et al. 2023, table 2)."""
        last = self.num_timesteps
        if spacing == "uniform":
            return torch.linspace(last - 1, 0, num_steps, dtype=torch.float64).tolist()
        if spacing == "leading":
            ratio = last // num_steps
            steps = [float(i * ratio + self.steps_offset) for i in reversed(range(num_steps))]
            return [min(t, last - 1) for t in steps]
        ratio = last / num_steps
        return [float(round(last - i * ratio) - 1) for i in range(num_steps)]

    def sigmas(self, num_steps: int, spacing: str = BASE) -> list[float]:
        kind = self.spacing if spacing == BASE else spacing
        spaced = {**SPACINGS, "ays": aligned(self.aligned)}
        if kind in spaced:
            levels = spaced[kind](self.sigma_table(), num_steps)
        else:
            levels = [self.sigma(t) for t in self.timesteps(num_steps, kind)]
        if (there := len(set(levels))) < num_steps:  # no sampler can take a step of no length
            raise ConfigError(
                f"sample.steps {num_steps}: the schedule {kind} has {there} noise levels.",
                f"Take {there} steps at most, or another --schedule.",
            )
        return [*levels, 0.0]

    def _at(self, t: Tensor) -> Tensor:
        return self.alphas_cumprod.to(t.device)[t.long()]

    def _like(self, x: Tensor, t: Tensor) -> Tensor:
        """alphas_cumprod at t, as (B, 1, 1, 1) in the dtype of x."""
        return self._at(t).to(x.dtype).view(-1, *[1] * (x.dim() - 1))


def _root_a(sigma: float) -> float:
    """sqrt(alphas_cumprod) at this sigma."""
    return 1 / math.sqrt(1 + sigma * sigma)


def _betas(kind: str, start: float, end: float, count: int) -> Tensor:
    if kind == "scaled_linear":
        return torch.linspace(start**0.5, end**0.5, count, dtype=torch.float64) ** 2
    if kind == "linear":
        return torch.linspace(start, end, count, dtype=torch.float64)
    if kind == "squaredcos_cap_v2":
        edges = torch.linspace(0, 1, count + 1, dtype=torch.float64)
        level = torch.cos((edges + 0.008) / 1.008 * math.pi / 2) ** 2
        return (1 - level[1:] / level[:-1]).clamp(max=0.999)
    raise ValueError(f"beta_schedule {kind!r} is not known")


def _zero_terminal_snr(alphas_cumprod: Tensor) -> Tensor:
    """Shifts sqrt(alphas_cumprod) so that the last is 0 and the first stays (Lin et al. 2023)."""
    root = alphas_cumprod.sqrt()
    first, last = root[0].clone(), root[-1].clone()
    return ((root - last) * first / (first - last)) ** 2
