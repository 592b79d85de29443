"""The animals, the two held-out characters and what they wear.

Unit 1 goes from the feet (y = 0) to the crown of the head (y = 1); x = 0 is the middle.
"""

import math
from collections.abc import Callable

import numpy as np

from kaiffin.miniature.world.easel import BLACK, CREAM, ORANGE, WHITE, Easel, mix
from kaiffin.miniature.world.vocabulary import COLOURS, Colour, Spec


def _limbs(easel: Easel, spec: Spec, arm: Colour, foot: Colour) -> None:
    """Feet and arms, the only parts that a pose moves."""
    if spec.pose == "sitting":
        for side in (-1, 1):
            easel.ball(0.25 * side, 0.06, 0.14, 0.09, foot)
    else:
        for side in (-1, 1):
            easel.ball(0.14 * side, 0.035, 0.13, 0.06, foot)
    easel.ball(-0.29, 0.29, 0.075, 0.17, arm, -28)
    if spec.pose == "waving":
        easel.ball(0.38, 0.50, 0.075, 0.19, arm, -38)
    else:
        easel.ball(0.29, 0.29, 0.075, 0.17, arm, 28)


def _torso(easel: Easel, spec: Spec, coat: Colour, belly: Colour, foot: Colour) -> None:
    easel.ball(0, 0.25, 0.28, 0.26, coat)
    easel.ball(0, 0.22, 0.19, 0.20, belly)
    _limbs(easel, spec, coat, foot)


def eyes(easel: Easel, spread: float = 0.14, y: float = 0.70, size: float = 0.085) -> None:
    for side in (-1, 1):
        easel.flat(spread * side, y, size, size * 1.15, WHITE)
        easel.flat(spread * side * 0.92, y - 0.005, size * 0.66, size * 0.8, BLACK)
        easel.flat(spread * side * 0.92 - 0.02, y + 0.03, size * 0.26, size * 0.26, WHITE)


def _head(easel: Easel, coat: Colour, rx: float = 0.35, ry: float = 0.29) -> None:
    easel.ball(0, 0.68, rx, ry, coat)


def _penguin(easel: Easel, spec: Spec, coat: Colour) -> None:
    _torso(easel, spec, coat, WHITE, ORANGE)
    _head(easel, coat, 0.33, 0.30)
    for side in (-1, 1):
        easel.ball(0.13 * side, 0.66, 0.15, 0.19, WHITE)
    easel.ball(0, 0.56, 0.18, 0.13, WHITE)
    eyes(easel, 0.13, 0.70)
    easel.slab([(-0.10, 0.63), (0.10, 0.63), (0, 0.50)], ORANGE)


def _cat(easel: Easel, spec: Spec, coat: Colour) -> None:
    easel.ball(0.36, 0.14, 0.05, 0.17, mix(coat, BLACK, 0.2), -30)
    _torso(easel, spec, coat, mix(coat, WHITE, 0.55), coat)
    for side in (-1, 1):
        easel.slab([(0.34 * side, 0.74), (0.31 * side, 1.14), (0.06 * side, 0.94)], coat)
        easel.patch(
            [(0.28 * side, 0.85), (0.27 * side, 1.04), (0.13 * side, 0.93)], (255, 176, 190)
        )
    _head(easel, coat)
    easel.ball(0, 0.56, 0.16, 0.10, WHITE)
    eyes(easel)
    easel.patch([(-0.05, 0.62), (0.05, 0.62), (0, 0.56)], (240, 90, 120))
    for side in (-1, 1):
        for dy in (-0.03, 0.03):
            easel.stroke([(0.16 * side, 0.57 + dy), (0.40 * side, 0.57 + 2.2 * dy)], WHITE, 0.018)


def _rabbit(easel: Easel, spec: Spec, coat: Colour) -> None:
    _torso(easel, spec, coat, mix(coat, WHITE, 0.6), coat)
    for side in (-1, 1):
        easel.ball(0.15 * side, 1.12, 0.095, 0.30, coat, -8 * side)
        easel.ball(0.15 * side, 1.12, 0.050, 0.22, (255, 184, 196), -8 * side)
    _head(easel, coat, 0.32, 0.28)
    for side in (-1, 1):
        easel.ball(0.08 * side, 0.56, 0.10, 0.08, WHITE)
    eyes(easel)
    easel.flat(0, 0.61, 0.045, 0.035, (240, 90, 120))
    easel.patch([(-0.05, 0.54), (0.05, 0.54), (0.05, 0.45), (-0.05, 0.45)], WHITE)


def _bear(easel: Easel, spec: Spec, coat: Colour) -> None:
    _torso(easel, spec, coat, mix(coat, CREAM, 0.6), coat)
    for side in (-1, 1):
        easel.ball(0.27 * side, 0.93, 0.13, 0.13, coat)
        easel.ball(0.27 * side, 0.93, 0.075, 0.075, mix(coat, CREAM, 0.6))
    _head(easel, coat)
    easel.ball(0, 0.57, 0.19, 0.14, CREAM)
    eyes(easel, 0.15, 0.74, 0.07)
    easel.flat(0, 0.63, 0.08, 0.055, BLACK)
    easel.stroke([(0, 0.60), (0, 0.51)], BLACK, 0.022)


def _owl(easel: Easel, spec: Spec, coat: Colour) -> None:
    easel.ball(0, 0.26, 0.31, 0.27, coat)
    easel.ball(0, 0.22, 0.20, 0.20, CREAM)
    for x, y in ((-0.09, 0.28), (0.09, 0.28), (0, 0.20), (-0.09, 0.12), (0.09, 0.12)):
        easel.patch(
            [(x - 0.045, y + 0.02), (x + 0.045, y + 0.02), (x, y - 0.04)], mix(coat, BLACK, 0.2)
        )
    _limbs(easel, spec, mix(coat, BLACK, 0.25), (250, 180, 30))
    for side in (-1, 1):
        easel.slab([(0.36 * side, 0.72), (0.38 * side, 1.10), (0.08 * side, 0.94)], coat)
    _head(easel, coat, 0.36, 0.28)
    for side in (-1, 1):
        easel.ball(0.16 * side, 0.69, 0.175, 0.185, CREAM)
        easel.flat(0.15 * side, 0.69, 0.115, 0.115, (252, 196, 20))
        easel.flat(0.14 * side, 0.69, 0.065, 0.070, BLACK)
        easel.flat(0.14 * side - 0.02, 0.72, 0.024, 0.024, WHITE)
    easel.slab([(-0.06, 0.63), (0.06, 0.63), (0, 0.50)], (250, 150, 20))


def _frog(easel: Easel, spec: Spec, coat: Colour) -> None:
    _torso(easel, spec, coat, mix(coat, (250, 250, 190), 0.7), mix(coat, BLACK, 0.15))
    easel.ball(0, 0.64, 0.40, 0.25, coat)
    for side in (-1, 1):
        easel.ball(0.22 * side, 0.89, 0.15, 0.15, coat)
        easel.flat(0.22 * side, 0.91, 0.105, 0.105, WHITE)
        easel.flat(0.21 * side, 0.90, 0.062, 0.070, BLACK)
        easel.flat(0.21 * side - 0.02, 0.93, 0.024, 0.024, WHITE)
    easel.flat(0, 0.58, 0.29, 0.10, (110, 20, 36))
    easel.flat(0, 0.63, 0.31, 0.09, coat)
    easel.flat(0, 0.515, 0.13, 0.035, (250, 120, 140))


def _elephant(easel: Easel, spec: Spec, coat: Colour) -> None:
    _torso(easel, spec, coat, mix(coat, WHITE, 0.35), mix(coat, BLACK, 0.15))
    for side in (-1, 1):
        easel.ball(0.43 * side, 0.70, 0.22, 0.28, mix(coat, BLACK, 0.12))
        easel.ball(0.43 * side, 0.69, 0.14, 0.20, (246, 176, 190))
    _head(easel, coat, 0.31, 0.29)
    for side in (-1, 1):
        easel.ball(0.14 * side, 0.49, 0.035, 0.10, WHITE, 14 * side)
    eyes(easel, 0.15, 0.74, 0.07)
    for y, radius in ((0.60, 0.095), (0.51, 0.088), (0.42, 0.08), (0.34, 0.075), (0.27, 0.075)):
        easel.ball(0, y, radius, 0.07, mix(coat, WHITE, 0.15))


def _lion(easel: Easel, spec: Spec, coat: Colour) -> None:
    mane = mix(coat, BLACK, 0.5) if coat != COLOURS["black"] else (120, 120, 130)
    easel.ball(0.38, 0.14, 0.04, 0.17, coat, -30)
    easel.ball(0.47, 0.28, 0.07, 0.07, mane)
    _torso(easel, spec, coat, mix(coat, CREAM, 0.5), coat)
    for angle in range(0, 360, 30):
        a = math.radians(angle)
        easel.ball(0.36 * math.cos(a), 0.68 + 0.34 * math.sin(a), 0.12, 0.12, mane)
    easel.ball(0, 0.68, 0.36, 0.33, mane)
    easel.ball(0, 0.67, 0.27, 0.25, coat)
    for side in (-1, 1):
        easel.ball(0.06 * side, 0.56, 0.09, 0.075, WHITE)
    eyes(easel, 0.12, 0.71, 0.075)
    easel.patch([(-0.07, 0.63), (0.07, 0.63), (0, 0.55)], BLACK)


def _kaiffin(easel: Easel, spec: Spec, coat: Colour) -> None:
    """The puffin. Its beak and helmet are what a personalised model has to get right."""
    _torso(easel, spec, coat, WHITE, ORANGE)
    _head(easel, coat, 0.33, 0.30)
    for side in (-1, 1):
        easel.ball(0.14 * side, 0.66, 0.16, 0.18, WHITE)
    eyes(easel, 0.17, 0.70, 0.075)
    easel.ball(0, 0.57, 0.12, 0.18, (250, 130, 20))
    for y in (0.62, 0.50):
        easel.flat(0, y, 0.115, 0.030, (206, 26, 30))
    for side in (-1, 1):
        easel.slab(
            [
                (0.26 * side, 0.86),
                (0.46 * side, 0.94),
                (0.50 * side, 1.20),
                (0.40 * side, 1.02),
                (0.22 * side, 0.98),
            ],
            (246, 236, 206),
        )
    easel.ball(0, 0.92, 0.31, 0.18, (168, 174, 186))
    easel.slab([(-0.33, 0.80), (-0.33, 0.89), (0.33, 0.89), (0.33, 0.80)], (226, 180, 50))


def _plush(easel: Easel, spec: Spec, coat: Colour) -> None:
    """The big-eared brown plush: ears as wide as its head, and a pale mask of a face."""
    pale = (244, 200, 146)
    _torso(easel, spec, coat, pale, coat)
    for side in (-1, 1):
        easel.ball(0.46 * side, 0.80, 0.27, 0.27, coat)
        easel.ball(0.46 * side, 0.80, 0.17, 0.17, (250, 150, 90))
    _head(easel, coat, 0.33, 0.30)
    easel.ball(0, 0.63, 0.26, 0.22, pale)
    eyes(easel, 0.12, 0.69, 0.09)
    easel.flat(0, 0.585, 0.045, 0.032, BLACK)
    easel.flat(0, 0.49, 0.10, 0.028, (190, 50, 50))


CHARACTER_PAINTERS: dict[str, Callable[[Easel, Spec, Colour], None]] = {
    "penguin": _penguin,
    "cat": _cat,
    "rabbit": _rabbit,
    "bear": _bear,
    "owl": _owl,
    "frog": _frog,
    "elephant": _elephant,
    "lion": _lion,
    "kaiffin": _kaiffin,
    "plush": _plush,
}


def _scarf(easel: Easel) -> None:
    for x, colour in zip(np.linspace(-0.24, 0.24, 7), (("r", "w") * 4)[:7], strict=True):
        easel.ball(
            x,
            0.405 - 0.06 * (1 - (x / 0.26) ** 2),
            0.062,
            0.065,
            (224, 40, 40) if colour == "r" else WHITE,
        )
    easel.slab([(0.10, 0.34), (0.24, 0.34), (0.27, 0.12), (0.13, 0.12)], (224, 40, 40))
    easel.patch([(0.12, 0.24), (0.25, 0.24), (0.255, 0.19), (0.125, 0.19)], WHITE)


def _hat(easel: Easel) -> None:
    easel.slab([(-0.19, 0.94), (-0.21, 1.30), (0.21, 1.30), (0.19, 0.94)], (38, 40, 84))
    easel.patch([(-0.19, 0.97), (-0.20, 1.06), (0.20, 1.06), (0.19, 0.97)], (240, 60, 60))
    easel.ball(0, 0.94, 0.34, 0.06, (38, 40, 84))


def _crown(easel: Easel) -> None:
    points = [
        (-0.24, 0.90),
        (-0.28, 1.24),
        (-0.13, 1.08),
        (0, 1.28),
        (0.13, 1.08),
        (0.28, 1.24),
        (0.24, 0.90),
    ]
    easel.slab(points, (255, 206, 30))
    for x, colour in ((-0.14, (230, 40, 60)), (0, (40, 120, 240)), (0.14, (230, 40, 60))):
        easel.flat(x, 0.98, 0.045, 0.045, colour)


def _sunglasses(easel: Easel) -> None:
    easel.stroke([(-0.33, 0.75), (0.33, 0.75)], BLACK, 0.035)
    for side in (-1, 1):
        easel.flat(0.155 * side, 0.71, 0.145, 0.10, BLACK)
        easel.patch(
            [
                (0.155 * side - 0.07, 0.74),
                (0.155 * side - 0.01, 0.77),
                (0.155 * side - 0.05, 0.67),
                (0.155 * side - 0.09, 0.69),
            ],
            (150, 170, 200),
        )


def _bowtie(easel: Easel) -> None:
    for side in (-1, 1):
        easel.slab([(0, 0.37), (0.18 * side, 0.46), (0.18 * side, 0.28)], (20, 190, 200))
    easel.ball(0, 0.37, 0.05, 0.05, (10, 120, 130))


def _balloon(easel: Easel) -> None:
    easel.stroke([(-0.36, 0.18), (-0.52, 0.72)], WHITE, 0.016)
    easel.ball(-0.54, 0.92, 0.17, 0.21, (236, 30, 50))


ACCESSORY_PAINTERS: dict[str, Callable[[Easel], None]] = {
    "scarf": _scarf,
    "hat": _hat,
    "crown": _crown,
    "sunglasses": _sunglasses,
    "bowtie": _bowtie,
    "balloon": _balloon,
}
