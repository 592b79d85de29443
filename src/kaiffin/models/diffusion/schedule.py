"""The noise schedule: one place for betas, alphas_cumprod, sigmas and the prediction types.

Notation of Ho et al. 2020 (arXiv 2006.11239) and Karras et al. 2022 (arXiv 2206.00364):
variance preserving `x_t = sqrt(a_t) x0 + sqrt(1 - a_t) eps` with `a = alphas_cumprod`;
`sigma = sqrt((1 - a) / a)`, so that `x_t / sqrt(a_t) = x0 + sigma eps`; `snr = a / (1 - a)`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

PREDICTION_TYPES = ("epsilon", "v_prediction")
SPACINGS = ("leading", "trailing", "linspace")


@dataclass(frozen=True)
class NoiseSchedule:
    """alphas_cumprod: (T,) float64, descending; the rest as in diffusers' scheduler_config.json.

    config: what it was read from, to be written beside a changed base.
    """

    alphas_cumprod: Tensor
    prediction_type: str = "epsilon"
    spacing: str = "leading"
    steps_offset: int = 1
    config: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.prediction_type not in PREDICTION_TYPES:
            raise ValueError(f"prediction_type {self.prediction_type!r} not in {PREDICTION_TYPES}")
        if self.spacing not in SPACINGS:
            raise ValueError(f"spacing {self.spacing!r} not in {SPACINGS}")

    @staticmethod
    def from_config(config: Mapping[str, Any]) -> NoiseSchedule:
        """Reads a diffusers scheduler config; ValueError names what is not supported."""
        betas = _betas(
            config.get("beta_schedule", "scaled_linear"),
            config.get("beta_start", 0.00085),
            config.get("beta_end", 0.012),
            config.get("num_train_timesteps", 1000),
        )
        alphas_cumprod = torch.cumprod(1.0 - betas, 0)
        if config.get("rescale_betas_zero_snr"):
            alphas_cumprod = _zero_terminal_snr(alphas_cumprod)
        return NoiseSchedule(
            alphas_cumprod,
            config.get("prediction_type", "epsilon"),
            config.get("timestep_spacing", "leading"),
            config.get("steps_offset", 1),
            dict(config),
        )

    @property
    def num_timesteps(self) -> int:
        return len(self.alphas_cumprod)

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

    def to_x0(self, output: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """x0 from the model's raw output at integer timesteps t (B,)."""
        a = self._like(x_t, t)
        if self.prediction_type == "epsilon":
            return (x_t - (1 - a).sqrt() * output) / a.sqrt()
        return a.sqrt() * x_t - (1 - a).sqrt() * output

    def sigma_table(self) -> Tensor:
        """(T,) float64 sigmas of all timesteps, ascending."""
        a = self.alphas_cumprod
        return ((1 - a) / a).sqrt()

    def sigma(self, t: float) -> float:
        """sigma at an integer or fractional timestep; log sigma is interpolated."""
        logs = self.sigma_table().log()
        low = min(max(math.floor(t), 0), self.num_timesteps - 1)
        high = min(low + 1, self.num_timesteps - 1)
        weight = t - low
        return float(((1 - weight) * logs[low] + weight * logs[high]).exp())

    def timestep(self, sigma: float) -> float:
        """The inverse of `sigma`, clamped to [0, T - 1]."""
        logs = self.sigma_table().log()
        value = math.log(max(sigma, 1e-12))
        low = int((logs <= value).sum().clamp(1, self.num_timesteps - 1)) - 1
        weight = float((value - logs[low]) / (logs[low + 1] - logs[low]))
        return low + min(max(weight, 0.0), 1.0)

    def timesteps(self, num_steps: int, spacing: str | None = None) -> list[float]:
        """Descending timesteps of a trajectory (Lin et al. 2023, table 2)."""
        last = self.num_timesteps
        kind = spacing or self.spacing
        if kind == "linspace":
            return torch.linspace(last - 1, 0, num_steps, dtype=torch.float64).tolist()
        if kind == "leading":
            ratio = last // num_steps
            steps = [float(i * ratio + self.steps_offset) for i in reversed(range(num_steps))]
            return [min(t, last - 1) for t in steps]
        ratio = last / num_steps
        return [float(round(last - i * ratio) - 1) for i in range(num_steps)]

    def sigmas(self, num_steps: int, spacing: str | None = None) -> list[float]:
        """(num_steps + 1) descending sigmas of those timesteps, and 0 at the end."""
        return [self.sigma(t) for t in self.timesteps(num_steps, spacing)] + [0.0]

    def _at(self, t: Tensor) -> Tensor:
        return self.alphas_cumprod.to(t.device)[t.long()]

    def _like(self, x: Tensor, t: Tensor) -> Tensor:
        """alphas_cumprod at t, as (B, 1, 1, 1) in the dtype of x."""
        return self._at(t).to(x.dtype).view(-1, *[1] * (x.dim() - 1))


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
