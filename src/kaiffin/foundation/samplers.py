"""The samplers and their schedules: names here and elsewhere, and what each takes. Torch-free.

The two tables that the configuration, the flags, recipes and exports read. The functions are in
`models.diffusion.samplers` and `models.diffusion.spacing`, under the same names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal


@dataclass(frozen=True)
class Sampler:
    """One way from noise to a picture.

    a1111, comfyui: its names in A1111's web UI and in ComfyUI's KSampler; options: the fields of
    `sample` that have an effect on it alone.
    """

    description: str
    a1111: str
    comfyui: str
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Schedule:
    """Which noise levels are visited. The names elsewhere as in `Sampler`; "" where there is none.

    `ddim_uniform` has the levels of `leading` where the steps divide 1000.
    """

    description: str
    a1111: str
    comfyui: str


SAMPLERS: dict[str, Sampler] = {
    "ddpm": Sampler("ancestral, fresh noise at every step", "DDPM", "ddpm"),
    "ddim": Sampler("noise by eta, none at 0", "DDIM", "ddim", ("eta",)),
    "euler": Sampler("first order, no fresh noise", "Euler", "euler"),
    "euler-a": Sampler("Euler, fresh noise at every step", "Euler a", "euler_ancestral"),
    "heun": Sampler("second order, twice the time of a step", "Heun", "heun"),
    "dpm++2m": Sampler("second order, good in few steps", "DPM++ 2M", "dpmpp_2m"),
    "dpm++2m-sde": Sampler("second order, fresh noise", "DPM++ 2M SDE", "dpmpp_2m_sde"),
    "dpm++3m-sde": Sampler("third order, fresh noise", "DPM++ 3M SDE", "dpmpp_3m_sde"),
    "unipc": Sampler("predicts and corrects, good in few steps", "UniPC", "uni_pc_bh2"),
    "lcm": Sampler("for few-step adapters, 2 to 8 steps at guidance 1 to 2", "LCM", "lcm"),
}

BASE = "base"  # the schedule that the base itself says
SCHEDULES: dict[str, Schedule] = {
    BASE: Schedule("what the base says: one of the next three", "Automatic", ""),
    "leading": Schedule("even in time, without the noisiest end", "DDIM", "ddim_uniform"),
    "trailing": Schedule("even in time, from the noisiest on", "SGM Uniform", "sgm_uniform"),
    "uniform": Schedule("even in time, with both ends", "Uniform", "normal"),
    "simple": Schedule("even in time, by the table", "Simple", "simple"),
    "karras": Schedule("more of the small levels", "Karras", "karras"),
    "exponential": Schedule("even in the logarithm", "Exponential", "exponential"),
    "beta": Schedule("more at both ends", "Beta", "beta"),
    "ays": Schedule("optimised for ten steps", "Align Your Steps", ""),
}

# What diffusers, trainers and older versions of A1111 call them, as `_plain` spells it.
OTHERWISE = {"dpm++": "dpm++2m", "dpmsolver++": "dpm++2m", "dpm++sde": "dpm++2m-sde"}

if TYPE_CHECKING:
    SamplerName = ScheduleName = str
else:  # the values of a setting, for its schema and its error message
    SamplerName, ScheduleName = Literal[tuple(SAMPLERS)], Literal[tuple(SCHEDULES)]


def taking(option: str) -> list[str]:
    """The samplers that a setting such as `eta` has an effect on."""
    return [name for name, sampler in SAMPLERS.items() if option in sampler.options]


def elsewhere(sampler: str, schedule: str = "") -> tuple[str | None, str | None]:
    """Ours behind another program's names; None for what is not here.

    Some say both in one name: "DPM++ 2M Karras" in A1111 before 1.9, EULER_KARRAS in OneTrainer.
    """
    samplers, schedules = _names(SAMPLERS) | OTHERWISE, _names(SCHEDULES)
    name, kind = _plain(sampler), schedules.get(_plain(schedule))
    both = {f"{first}{last}": (first, last) for first in samplers for last in schedules}
    if name not in samplers and name in both:
        name, last = both[name]
        kind = kind or schedules[last]
    return samplers.get(name), kind


def _names(table: Mapping[str, Sampler | Schedule]) -> dict[str, str]:
    """Every name of each, here and elsewhere, and which of ours it is."""
    spelled = {n: key for key, one in table.items() for n in (key, one.a1111, one.comfyui) if n}
    return {_plain(name): key for name, key in spelled.items()}


def _plain(name: str) -> str:
    """One spelling of `Euler a`, `k_euler_a` and `euler_ancestral`."""
    name = re.sub(r"[\s_-]", "", name.lower().removeprefix("k_"))
    return name.replace("dpmpp", "dpm++").replace("ancestral", "a")
