"""Animals of unusual build: what a nonsense word before the noun means to the miniature.

A model that has only ever seen eight plain animals can be taught a ninth in the scenes of the
photos and nowhere else: the first miniature painted the plush's big ears over the snow that it knew
from the photos, and lost them in the forest. Three in ten of the training pictures therefore show
an animal with random ears, horns, cap, mask, muzzle, belly or coat, in any scene, and are captioned
as a user would caption them: "a photo of zubrik penguin in the forest". Sizes, places and colours
are random, so that `SUBJECTS` are two more of their kind and neither of them is ever drawn.
"""

from collections.abc import Callable

import numpy as np

from kaiffin.miniature.world.characters import eyes
from kaiffin.miniature.world.easel import BLACK, WHITE, Easel, mix
from kaiffin.miniature.world.vocabulary import Colour

Part = Callable[[Easel, Colour, np.random.Generator], None]


def _colour(rng: np.random.Generator) -> Colour:
    """Any colour, pale ones and dark ones more often."""
    red, green, blue = (int(v) for v in rng.integers(0, 256, 3))
    tone = rng.random()
    shade = WHITE if tone < 0.3 else BLACK
    return mix((red, green, blue), shade, float(rng.uniform(0.4, 0.9)) if tone < 0.45 else 0.0)


def _of_coat(coat: Colour, rng: np.random.Generator) -> Colour:
    return coat if rng.random() < 0.5 else _colour(rng)


def _ears(easel: Easel, coat: Colour, rng: np.random.Generator) -> None:
    x, y = rng.uniform(0.15, 0.5), rng.uniform(0.7, 1.12)
    rx, ry = rng.uniform(0.09, 0.3, 2)
    angle, inner = rng.uniform(-30, 30), rng.uniform(0.45, 0.7)
    outside, inside = _of_coat(coat, rng), _colour(rng)
    for side in (-1, 1):
        easel.ball(x * side, y, rx, ry, outside, angle * side)
        easel.ball(x * side, y, rx * inner, ry * inner, inside, angle * side)


def _horns(easel: Easel, coat: Colour, rng: np.random.Generator) -> None:
    x, y = rng.uniform(0.1, 0.3), rng.uniform(0.82, 0.94)
    tip = x + rng.uniform(-0.05, 0.28), y + rng.uniform(0.14, 0.36)
    width, bend, colour = rng.uniform(0.06, 0.14), rng.uniform(-0.08, 0.14), _colour(rng)
    middle = (x + tip[0]) / 2 + bend, (y + tip[1]) / 2
    for side in (-1, 1):
        path = [
            (x - width / 2, y), (x + width / 2, y - 0.04),
            (middle[0] + width / 2, middle[1] - 0.04), tip,
            (middle[0] - width / 2, middle[1] + 0.02),
        ]  # fmt: skip
        easel.slab([(px * side, py) for px, py in path], colour)


def _mask(easel: Easel, coat: Colour, rng: np.random.Generator) -> None:
    """A face of another colour, in one piece or two, with its own eyes and muzzle."""
    y, rx, ry = rng.uniform(0.58, 0.68), rng.uniform(0.14, 0.29), rng.uniform(0.12, 0.24)
    colour, halves = _colour(rng), rng.random() < 0.4
    for x in (-0.14, 0.14) if halves else (0.0,):
        easel.ball(x, y, rx * (0.65 if halves else 1), ry, colour)
    eyes(easel, rng.uniform(0.11, 0.18), rng.uniform(0.67, 0.75), rng.uniform(0.06, 0.1))
    _muzzle(easel, coat, rng)


def _muzzle(easel: Easel, coat: Colour, rng: np.random.Generator) -> None:
    y, rx, ry = rng.uniform(0.52, 0.6), rng.uniform(0.05, 0.16), rng.uniform(0.04, 0.18)
    colour, kind = _colour(rng), int(rng.integers(3))
    if kind == 0:
        easel.ball(0, y, rx, ry, colour)
    elif kind == 1:
        easel.slab([(-rx, y + ry * 0.6), (rx, y + ry * 0.6), (0, y - ry * 0.7)], colour)
    else:
        easel.flat(0, y + 0.03, rx * 0.5, ry * 0.3, colour)
        easel.flat(0, y - 0.08, rx, 0.028, _colour(rng))
    if kind == 0 and rng.random() < 0.5:
        stripe = _colour(rng)
        for at in (0.35, -0.35):
            easel.flat(0, y + at * ry, rx * 0.94, ry * 0.17, stripe)


def _cap(easel: Easel, coat: Colour, rng: np.random.Generator) -> None:
    y, rx, ry = rng.uniform(0.88, 0.97), rng.uniform(0.2, 0.36), rng.uniform(0.1, 0.22)
    easel.ball(0, y, rx, ry, _colour(rng))
    if rng.random() < 0.6:
        low, high = y - rng.uniform(0.08, 0.14), y - rng.uniform(0.0, 0.04)
        easel.slab([(-rx - 0.02, low), (-rx - 0.02, high), (rx + 0.02, high), (rx + 0.02, low)],
                   _colour(rng))  # fmt: skip


def _belly(easel: Easel, coat: Colour, rng: np.random.Generator) -> None:
    easel.ball(0, rng.uniform(0.18, 0.25), rng.uniform(0.1, 0.22), rng.uniform(0.1, 0.22),
               _colour(rng))  # fmt: skip


BEHIND: tuple[tuple[Part, float], ...] = ((_ears, 0.55), (_horns, 0.35))
IN_FRONT: tuple[tuple[Part, float], ...] = (
    (_belly, 0.35), (_mask, 0.5), (_muzzle, 0.2), (_cap, 0.35),
)  # fmt: skip


class Individual:
    """One unusual animal, a function of its seed."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        rng = np.random.default_rng([seed, 6])
        while True:  # two parts at least: a plain animal would unteach the word
            self.parts = [part for part, share in (*BEHIND, *IN_FRONT) if rng.random() < share]
            if len(self.parts) > 1:
                break

    def coat(self, plain: Colour) -> Colour:
        """Its coat: the animal's own colour, or any."""
        return _of_coat(plain, np.random.default_rng([self.seed, 7]))

    def paint(self, easel: Easel, coat: Colour, layer: tuple[tuple[Part, float], ...]) -> None:
        """Its parts of `layer`: BEHIND before the animal is painted, IN_FRONT after it."""
        for number, (part, _) in enumerate(layer):
            if part in self.parts:
                part(easel, coat, np.random.default_rng([self.seed, 8, len(layer), number]))
