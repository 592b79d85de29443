"""The samplers: their names here and elsewhere, and the settings that each takes. Torch-free.

The one table: the configuration, the flags, recipes and exports read it. The functions are in
`models.diffusion.samplers`, under the same names.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal


@dataclass(frozen=True)
class Sampler:
    """One way from noise to a picture.

    a1111: its name in A1111's web UI; comfyui: the sampler and the scheduler of ComfyUI's KSampler:
    `ddim_uniform` has our noise levels where the steps divide 1000 (`normal` begins higher);
    options: the fields of `sample` that have an effect on it alone.
    """

    description: str
    a1111: str
    comfyui: tuple[str, str]
    options: tuple[str, ...] = ()


UNIFORM = "ddim_uniform"  # ComfyUI's name of our noise levels

SAMPLERS: dict[str, Sampler] = {
    "ddpm": Sampler("ancestral, fresh noise at every step", "DDPM", ("ddpm", UNIFORM)),
    "ddim": Sampler("noise by eta, none at 0", "DDIM", ("ddim", UNIFORM), ("eta",)),
    "euler": Sampler("first order, no fresh noise", "Euler", ("euler", UNIFORM)),
    "dpm++2m": Sampler("second order, good in few steps", "DPM++ 2M", ("dpmpp_2m", UNIFORM)),
    "dpm++2m-sde": Sampler("second order, fresh noise", "DPM++ 2M SDE", ("dpmpp_2m_sde", UNIFORM)),
}

if TYPE_CHECKING:
    SamplerName = str
else:  # the values of a setting, for its schema and its error message
    SamplerName = Literal[tuple(SAMPLERS)]


def taking(option: str) -> list[str]:
    """The samplers that a setting such as `eta` has an effect on."""
    return [name for name, sampler in SAMPLERS.items() if option in sampler.options]
