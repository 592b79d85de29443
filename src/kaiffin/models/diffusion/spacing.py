"""Which noise levels a trajectory visits, from the table of a schedule's sigmas.

Each function: (T,) ascending float64 sigmas and the number of steps -> as many descending sigmas,
to which the end, 0, is still to be added. Their names are in `foundation/samplers.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

Spacing = Callable[[Tensor, int], list[float]]
RHO = 7.0  # of Karras et al. 2022
CURVE = 0.6  # both parameters of the beta distribution
# "Align Your Steps" (Sabour et al. 2024, arXiv 2404.14507), the ten steps of the authors' page.
ALIGNED = (14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152, 0.029)
ALIGNED_XL = (14.615, 6.315, 3.771, 2.181, 1.342, 0.862, 0.555, 0.380, 0.234, 0.113, 0.029)


def karras(table: Tensor, steps: int) -> list[float]:
    """Even in sigma^(1/7) over the whole table (Karras et al. 2022, arXiv 2206.00364, eq. 5)."""
    high, low = float(table[-1]) ** (1 / RHO), float(table[0]) ** (1 / RHO)
    return (_line(high, low, steps) ** RHO).tolist()


def exponential(table: Tensor, steps: int) -> list[float]:
    """Even in log sigma over the whole table."""
    return _line(math.log(table[-1]), math.log(table[0]), steps).exp().tolist()


def beta(table: Tensor, steps: int) -> list[float]:
    """More at both ends: the timesteps are quantiles of a beta distribution (Lee et al. 2024, arXiv
    2407.12173), rounded as A1111 and ComfyUI do where that leaves them apart."""
    from scipy.stats import beta as distribution

    quantiles = distribution.ppf(1 - torch.arange(steps) / steps, CURVE, CURVE)
    places = torch.as_tensor(quantiles) * (len(table) - 1)
    rounded = places.round()
    if len(rounded.unique()) == steps:
        places = rounded
    below = places.floor().clamp(max=len(table) - 2).long()
    return torch.lerp(table[below].log(), table[below + 1].log(), places - below).exp().tolist()


def simple(table: Tensor, steps: int) -> list[float]:
    """Every so many of the table, from its end, as ComfyUI does."""
    stride = len(table) / steps
    return [float(table[-1 - int(i * stride)]) for i in range(steps)]


def aligned(ten: tuple[float, ...]) -> Spacing:
    """Between the levels that were optimised for `ten` steps, log-linear for other numbers."""

    def spacing(table: Tensor, steps: int) -> list[float]:
        levels = torch.tensor(ten, dtype=torch.float64).log()
        places = torch.linspace(0, len(ten) - 1, steps + 1, dtype=torch.float64)[:-1]
        below = places.floor().long()
        return torch.lerp(levels[below], levels[below + 1], places - below).exp().tolist()

    return spacing


def _line(start: float, end: float, steps: int) -> Tensor:
    return torch.linspace(start, end, steps, dtype=torch.float64)


SPACINGS: dict[str, Spacing] = {
    "karras": karras,
    "exponential": exponential,
    "beta": beta,
    "simple": simple,
}
