"""The eight places, each painted over the whole canvas; ground and horizon keep their layout."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from kaiffin.miniature.world.easel import WHITE, Easel
from kaiffin.miniature.world.vocabulary import Colour, Spec

SKY = {
    "day": ((92, 176, 246), (196, 230, 252)),
    "sunset": ((150, 70, 130), (255, 170, 80)),
    "night": ((10, 14, 44), (40, 54, 110)),
}
TINT = {"day": (1.0, 1.0, 1.0), "sunset": (1.0, 0.90, 0.82), "night": (0.74, 0.78, 0.98)}


def _untinted(colour: Colour, tint: tuple[float, float, float]) -> Any:
    """The colour that the tint turns into `colour`."""
    return tuple(min(255, c / t) for c, t in zip(colour, tint, strict=True))


def _sky(easel: Easel, spec: Spec) -> None:
    """Sky with the sun or the moon, painted so that the later tint leaves it as meant."""
    tint = TINT[spec.time]
    top, bottom = (_untinted(colour, tint) for colour in SKY[spec.time])
    easel.gradient(top, bottom, 0.3, 1.0)
    if spec.time == "night":
        easel.flat(0.84, 0.86, 0.07, 0.07, (255, 255, 240))
    elif spec.time == "sunset":
        easel.flat(0.85, 0.52, 0.09, 0.09, (255, 240, 120))
    else:
        easel.flat(0.86, 0.87, 0.08, 0.08, (255, 240, 120))


def _beach(easel: Easel, spec: Spec, rng: np.random.Generator) -> None:
    _sky(easel, spec)
    easel.gradient((22, 110, 190), (60, 190, 210), 0.34, 0.50)
    easel.gradient((250, 226, 160), (232, 194, 120), 0.0, 0.34)
    easel.stroke([(0.10, 0.30), (0.13, 0.74)], (120, 80, 46), 0.03)
    for angle in (-10, 35, 80, 125, 190):
        dx, dy = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        easel.ball(0.13 + 0.09 * dx, 0.75 + 0.07 * dy, 0.11, 0.035, (40, 150, 60), angle)


def _snow(easel: Easel, spec: Spec, rng: np.random.Generator) -> None:
    _sky(easel, spec)
    easel.slab([(-0.1, 0.3), (0.22, 0.72), (0.5, 0.3)], (150, 176, 206))
    easel.patch([(0.12, 0.59), (0.22, 0.72), (0.32, 0.57), (0.22, 0.61)], WHITE)
    easel.slab([(0.5, 0.3), (0.80, 0.66), (1.1, 0.3)], (134, 162, 198))
    easel.patch([(0.71, 0.55), (0.80, 0.66), (0.89, 0.55), (0.80, 0.58)], WHITE)
    easel.gradient((240, 248, 255), (212, 228, 246), 0.0, 0.36)
    for x, y in rng.random((16, 2)):
        easel.flat(x, 0.30 + 0.68 * y, 0.012, 0.012, WHITE)


def _forest(easel: Easel, spec: Spec, rng: np.random.Generator) -> None:
    easel.gradient((40, 96, 60), (70, 130, 70), 0.3, 1.0)
    for x in (0.06, 0.24, 0.76, 0.94):
        easel.stroke([(x, 0.25), (x, 0.75)], (78, 52, 34), 0.05)
    for x, y in ((0.05, 0.80), (0.25, 0.86), (0.5, 0.90), (0.75, 0.86), (0.95, 0.80)):
        easel.ball(x, y + 0.02 * rng.random(), 0.17, 0.17, (24, 92, 44))
    easel.gradient((54, 96, 40), (40, 72, 30), 0.0, 0.34)


def _city(easel: Easel, spec: Spec, rng: np.random.Generator) -> None:
    _sky(easel, spec)
    lit = (255, 226, 110) if spec.time != "day" else (190, 216, 236)
    towers = (
        (0.0, 0.17, 0.84),
        (0.18, 0.34, 0.70),
        (0.35, 0.55, 0.92),
        (0.56, 0.76, 0.72),
        (0.77, 1.0, 0.88),
    )
    for number, (left, right, top) in enumerate(towers):
        grey = (120, 124, 140) if number % 2 else (92, 96, 116)
        easel.slab([(left, 0.3), (left, top), (right, top), (right, 0.3)], grey)
        for x in (left + 0.045, right - 0.045):
            for y in np.arange(0.40, top - 0.05, 0.10):
                easel.flat(x, y, 0.022, 0.026, lit)
    easel.gradient((110, 110, 116), (78, 78, 84), 0.0, 0.32)
    for x in (0.0, 0.4, 0.8):
        easel.patch([(x, 0.03), (x + 0.2, 0.03), (x + 0.2, 0.055), (x, 0.055)], (240, 240, 220))


def _desert(easel: Easel, spec: Spec, rng: np.random.Generator) -> None:
    _sky(easel, spec)
    easel.slab([(-0.1, 0.3), (0.2, 0.50), (0.6, 0.3)], (224, 140, 70))
    easel.slab([(0.4, 0.3), (0.85, 0.54), (1.3, 0.3)], (214, 126, 60))
    easel.gradient((236, 160, 84), (206, 120, 58), 0.0, 0.36)
    for x, height in ((0.10, 0.66), (0.92, 0.58)):
        green = (44, 122, 60)
        easel.ball(x, height - 0.18, 0.04, 0.20, green)
        easel.ball(x - 0.06, height - 0.14, 0.025, 0.08, green)
        easel.ball(x + 0.06, height - 0.08, 0.025, 0.08, green)


def _kitchen(easel: Easel, spec: Spec, rng: np.random.Generator) -> None:
    easel.gradient((250, 232, 186), (244, 218, 160), 0.3, 1.0)
    easel.patch([(0.60, 0.62), (0.60, 0.94), (0.94, 0.94), (0.94, 0.62)], (120, 80, 50))
    easel.patch([(0.63, 0.65), (0.63, 0.91), (0.91, 0.91), (0.91, 0.65)], (150, 212, 246))
    easel.stroke([(0.77, 0.63), (0.77, 0.93)], (120, 80, 50), 0.02)
    easel.slab([(0.0, 0.28), (0.0, 0.52), (0.30, 0.52), (0.30, 0.28)], (214, 214, 220))
    easel.slab([(0.70, 0.28), (0.70, 0.48), (1.0, 0.48), (1.0, 0.28)], (196, 120, 70))
    easel.ball(0.15, 0.58, 0.08, 0.06, (200, 50, 50))
    for row in range(3):
        for column in range(6):
            shade = (236, 236, 236) if (row + column) % 2 else (120, 160, 180)
            x, y = column / 6, row * 0.10
            easel.patch([(x, y), (x, y + 0.1), (x + 0.17, y + 0.1), (x + 0.17, y)], shade)


def _space(easel: Easel, spec: Spec, rng: np.random.Generator) -> None:
    easel.gradient((6, 4, 22), (30, 14, 62), 0.2, 1.0)
    for x, y in rng.random((22, 2)):
        easel.flat(x, 0.32 + 0.66 * y, 0.010, 0.010, WHITE)
    easel.ball(0.16, 0.82, 0.11, 0.11, (70, 140, 230))
    easel.ball(0.88, 0.70, 0.07, 0.07, (230, 120, 60))
    easel.stroke([(0.75, 0.66), (1.0, 0.74)], (250, 210, 150), 0.015)
    easel.gradient((176, 176, 184), (120, 120, 130), 0.0, 0.30)
    for x, y in ((0.14, 0.20), (0.86, 0.22), (0.76, 0.06), (0.22, 0.05)):
        easel.flat(x, y, 0.08, 0.03, (104, 104, 112))


def _meadow(easel: Easel, spec: Spec, rng: np.random.Generator) -> None:
    _sky(easel, spec)
    easel.ball(0.18, 0.86, 0.13, 0.05, WHITE)
    easel.ball(0.2, 0.25, 0.5, 0.22, (120, 200, 84))
    easel.ball(0.85, 0.25, 0.5, 0.18, (104, 188, 76))
    easel.gradient((126, 210, 80), (84, 172, 60), 0.0, 0.36)
    petals = ((240, 70, 90), (250, 220, 60), WHITE, (220, 90, 210))
    for number, (x, y) in enumerate(rng.random((14, 2))):
        easel.flat(x, 0.02 + 0.30 * y, 0.022, 0.022, petals[number % 4])


SCENE_PAINTERS: dict[str, Callable[[Easel, Spec, np.random.Generator], None]] = {
    "beach": _beach,
    "snow": _snow,
    "forest": _forest,
    "city": _city,
    "desert": _desert,
    "kitchen": _kitchen,
    "space": _space,
    "meadow": _meadow,
}
