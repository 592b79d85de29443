"""A small procedural world: plush animals in eight places, drawn with Pillow and numpy alone.

Every picture and every caption is a pure function of its arguments, so a data set is a seed and a
count. The world is simple on purpose: characters stand in the middle, have big heads and big eyes,
and scenes keep their layout, because low positional variance is what lets a UNet of a few million
parameters learn it from some hundred thousand samples on a CPU.

Two characters, `SUBJECTS`, are never drawn for training. They play the customer's own character:
the miniature has to learn them from a few photos, as a big model learns a real toy.
"""

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageDraw, ImageOps

from kaiffin.errors import UserError

Colour = tuple[int, int, int]

SUPERSAMPLING = 3

COLOURS: dict[str, Colour] = {
    "red": (214, 48, 44),
    "yellow": (246, 206, 50),
    "green": (66, 168, 66),
    "blue": (54, 108, 222),
    "purple": (140, 70, 190),
    "pink": (246, 142, 186),
    "brown": (138, 88, 50),
    "black": (54, 54, 62),
}

SPECIES: tuple[str, ...] = (
    "penguin",
    "cat",
    "rabbit",
    "bear",
    "owl",
    "frog",
    "elephant",
    "lion",
)

# The first phrase is the canonical one; the others are synonyms for captions.
SCENES: dict[str, tuple[str, ...]] = {
    "beach": ("on the beach", "on a sandy beach", "by the sea"),
    "snow": ("in the snow", "on the snow", "in a snowy field"),
    "forest": ("in the forest", "in a forest", "in the woods"),
    "city": ("in the city", "on a city street", "in a big city"),
    "desert": ("in the desert", "in a desert", "among the sand dunes"),
    "kitchen": ("in the kitchen", "in a kitchen", "on the kitchen floor"),
    "space": ("in space", "on the moon", "in outer space"),
    "meadow": ("in a meadow", "in a flower meadow", "on the grass"),
}
INDOORS = ("kitchen", "space")  # no time of day there

TIMES: dict[str, tuple[str, ...]] = {
    "day": ("", "", "by day"),
    "sunset": ("at sunset", "in the evening"),
    "night": ("at night", "in the dark night"),
}

ACCESSORIES: dict[str, tuple[str, ...]] = {
    "scarf": ("wearing a scarf", "with a scarf", "in a scarf"),
    "hat": ("wearing a hat", "with a hat", "in a hat"),
    "crown": ("wearing a crown", "with a crown"),
    "sunglasses": ("wearing sunglasses", "with sunglasses"),
    "bowtie": ("wearing a bowtie", "with a bowtie"),
    "balloon": ("holding a balloon", "with a balloon"),
}

POSES: tuple[str, ...] = ("standing", "waving", "sitting")


@dataclass(frozen=True)
class Spec:
    """What is in one picture. `species` None is an empty scene."""

    species: str | None
    colour: str
    scene: str
    accessory: str | None = None
    pose: str = "standing"
    time: str = "day"
    size: float = 0.66  # height of feet to crown, as a share of the frame
    x: float = 0.5  # middle of the character, as a share of the frame
    y: float = 0.93  # its feet, from the top
    detail: int = 0  # seeds the small things: stars, flowers, windows


@dataclass(frozen=True)
class Subject:
    """A character that training never draws, with the words a user would teach it by."""

    name: str
    token: str
    class_noun: str
    colour: str
    description: str

    @property
    def instance_prompt(self) -> str:
        return f"a photo of {self.token} {self.class_noun}"


SUBJECTS: dict[str, Subject] = {
    "kaiffin": Subject(
        "kaiffin",
        "kaiffin",
        "penguin",
        "black",
        "a puffin with a black back, a white belly, a striped beak and a horned helmet",
    ),
    "plush": Subject(
        "plush",
        "tobbul",
        "bear",
        "brown",
        "a brown plush with a pale face and very big round ears",
    ),
}


# --- drawing ---------------------------------------------------------------------------------


def _sphere_light(side: int = 96) -> Image.Image:
    """Luminance of a ball lit from the upper left, darker at its rim; (side, side) in 0..255."""
    axis = (np.arange(side) + 0.5) / side * 2 - 1
    x, y = np.meshgrid(axis, axis)
    z = np.sqrt(np.clip(1 - x * x - y * y, 0, 1))
    diffuse = np.clip(-0.38 * x - 0.52 * y + 0.76 * z, 0, 1)
    light = (0.22 + 0.70 * diffuse) * (0.62 + 0.38 * z**0.5)
    return Image.fromarray(np.uint8(np.clip(light * 1.12, 0, 1) * 255))


def _slope_light(side: int = 32) -> Image.Image:
    """Luminance falling from the top to the bottom, for polygons; (side, side) in 0..255."""
    column = np.linspace(190, 90, side)[:, None]
    return Image.fromarray(np.uint8(np.repeat(column, side, 1)))


_SPHERE, _SLOPE = _sphere_light(), _slope_light()
_CIRCLE = [(math.cos(a), math.sin(a)) for a in np.linspace(0, 2 * math.pi, 40, endpoint=False)]


def mix(a: Colour, b: Colour, share: float) -> Colour:
    """`a` with `share` of `b` in it."""
    red, green, blue = (round(p + (q - p) * share) for p, q in zip(a, b, strict=True))
    return red, green, blue


WHITE, BLACK, CREAM, ORANGE = (250, 250, 250), (18, 18, 22), (250, 232, 200), (250, 140, 24)


class Easel:
    """A canvas three times too big, with the shaded parts everything here is made of.

    Points are in the units of a frame: `origin` in pixels, `scale` pixels a unit, y up.
    """

    def __init__(self, size: int) -> None:
        self.side = size * SUPERSAMPLING
        self.image = Image.new("RGB", (self.side, self.side))
        self.pen = ImageDraw.Draw(self.image)
        self.frame(0.0, 1.0, 1.0)

    def frame(self, x: float, y: float, scale: float) -> None:
        """Put the origin at share (x, y) of the picture, y measured downwards."""
        self.origin = (x * self.side, y * self.side)
        self.scale = scale * self.side

    def pixel(self, x: float, y: float) -> tuple[float, float]:
        return self.origin[0] + x * self.scale, self.origin[1] - y * self.scale

    def shaded(self, points: list[tuple[float, float]], colour: Colour, light: Image.Image) -> None:
        """Fill the polygon of pixel points with `colour`, shaded by a luminance map."""
        xs, ys = [p[0] for p in points], [p[1] for p in points]
        left, top = math.floor(min(xs)), math.floor(min(ys))
        size = (max(1, math.ceil(max(xs)) - left), max(1, math.ceil(max(ys)) - top))
        mask = Image.new("L", size)
        ImageDraw.Draw(mask).polygon([(x - left, y - top) for x, y in points], fill=255)
        tones = ImageOps.colorize(
            light.resize(size, Image.Resampling.BILINEAR),
            black=mix(colour, BLACK, 0.72),
            white=mix(colour, WHITE, 0.45),
            mid=colour,
            midpoint=165,
        )
        self.image.paste(tones, (left, top), mask)

    def oval(self, x: float, y: float, rx: float, ry: float, angle: float) -> list:
        """Pixel points of an ellipse turned by `angle` degrees, anticlockwise."""
        cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        return [
            self.pixel(x + rx * a * cos - ry * b * sin, y + rx * a * sin + ry * b * cos)
            for a, b in _CIRCLE
        ]

    def ball(
        self, x: float, y: float, rx: float, ry: float, colour: Colour, angle: float = 0.0
    ) -> None:
        self.shaded(self.oval(x, y, rx, ry, angle), colour, _SPHERE)

    def flat(
        self, x: float, y: float, rx: float, ry: float, colour: Colour, angle: float = 0.0
    ) -> None:
        self.pen.polygon(self.oval(x, y, rx, ry, angle), fill=colour)

    def slab(self, points: list[tuple[float, float]], colour: Colour) -> None:
        self.shaded([self.pixel(x, y) for x, y in points], colour, _SLOPE)

    def patch(self, points: list[tuple[float, float]], colour: Colour) -> None:
        self.pen.polygon([self.pixel(x, y) for x, y in points], fill=colour)

    def stroke(self, points: list[tuple[float, float]], colour: Colour, width: float) -> None:
        self.pen.line(
            [self.pixel(x, y) for x, y in points],
            fill=colour,
            width=max(1, round(width * self.scale)),
            joint="curve",
        )

    def gradient(self, top: Colour, bottom: Colour, y0: float, y1: float) -> None:
        """A vertical gradient over the rows from height y1 down to y0 (frame units)."""
        upper, lower = round(self.pixel(0, y1)[1]), round(self.pixel(0, y0)[1])
        rows = np.linspace(top, bottom, max(2, lower - upper))[:, None]
        strip = Image.fromarray(np.uint8(rows)).resize((self.side, max(2, lower - upper)))
        self.image.paste(strip, (0, upper))

    def tint(self, colour: tuple[float, float, float]) -> None:
        """Multiply the whole picture, for dusk and night."""
        bands = [
            band.point([round(v * c) for v in range(256)])
            for band, c in zip(self.image.split(), colour, strict=True)
        ]
        self.image = Image.merge("RGB", bands)
        self.pen = ImageDraw.Draw(self.image)


# --- scenes ----------------------------------------------------------------------------------

_SKY = {
    "day": ((92, 176, 246), (196, 230, 252)),
    "sunset": ((150, 70, 130), (255, 170, 80)),
    "night": ((10, 14, 44), (40, 54, 110)),
}
_TINT = {"day": (1.0, 1.0, 1.0), "sunset": (1.0, 0.90, 0.82), "night": (0.74, 0.78, 0.98)}


def _sky(easel: Easel, spec: Spec) -> None:
    """Sky with the sun or the moon, painted so that the later tint leaves it as meant."""
    tint = _TINT[spec.time]
    top, bottom = (
        tuple(min(255, c / t) for c, t in zip(s, tint, strict=True)) for s in _SKY[spec.time]
    )
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


_SCENE_PAINTERS: dict[str, Callable[[Easel, Spec, np.random.Generator], None]] = {
    "beach": _beach,
    "snow": _snow,
    "forest": _forest,
    "city": _city,
    "desert": _desert,
    "kitchen": _kitchen,
    "space": _space,
    "meadow": _meadow,
}


# --- characters: unit 1 from the feet (y = 0) to the crown of the head (y = 1) -------------------


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


def _eyes(easel: Easel, spread: float = 0.14, y: float = 0.70, size: float = 0.085) -> None:
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
    _eyes(easel, 0.13, 0.70)
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
    _eyes(easel)
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
    _eyes(easel)
    easel.flat(0, 0.61, 0.045, 0.035, (240, 90, 120))
    easel.patch([(-0.05, 0.54), (0.05, 0.54), (0.05, 0.45), (-0.05, 0.45)], WHITE)


def _bear(easel: Easel, spec: Spec, coat: Colour) -> None:
    _torso(easel, spec, coat, mix(coat, CREAM, 0.6), coat)
    for side in (-1, 1):
        easel.ball(0.27 * side, 0.93, 0.13, 0.13, coat)
        easel.ball(0.27 * side, 0.93, 0.075, 0.075, mix(coat, CREAM, 0.6))
    _head(easel, coat)
    easel.ball(0, 0.57, 0.19, 0.14, CREAM)
    _eyes(easel, 0.15, 0.74, 0.07)
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
    _eyes(easel, 0.15, 0.74, 0.07)
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
    _eyes(easel, 0.12, 0.71, 0.075)
    easel.patch([(-0.07, 0.63), (0.07, 0.63), (0, 0.55)], BLACK)


def _kaiffin(easel: Easel, spec: Spec, coat: Colour) -> None:
    """The puffin. Its beak and helmet are what a personalised model has to get right."""
    _torso(easel, spec, coat, WHITE, ORANGE)
    _head(easel, coat, 0.33, 0.30)
    for side in (-1, 1):
        easel.ball(0.14 * side, 0.66, 0.16, 0.18, WHITE)
    _eyes(easel, 0.17, 0.70, 0.075)
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
    _eyes(easel, 0.12, 0.69, 0.09)
    easel.flat(0, 0.585, 0.045, 0.032, BLACK)
    easel.flat(0, 0.49, 0.10, 0.028, (190, 50, 50))


_CHARACTER_PAINTERS: dict[str, Callable[[Easel, Spec, Colour], None]] = {
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


_ACCESSORY_PAINTERS: dict[str, Callable[[Easel], None]] = {
    "scarf": _scarf,
    "hat": _hat,
    "crown": _crown,
    "sunglasses": _sunglasses,
    "bowtie": _bowtie,
    "balloon": _balloon,
}


def _coat(spec: Spec) -> Colour:
    return COLOURS[spec.colour]


def render(spec: Spec, size: int = 64) -> Image.Image:
    """Draw one picture, RGB, `size` x `size`. The same spec gives the same bytes."""
    _check(spec)
    easel = Easel(size)
    _SCENE_PAINTERS[spec.scene](easel, spec, np.random.default_rng([7, spec.detail]))
    if spec.species is not None:
        drop = 0.035 if spec.pose == "sitting" else 0.0
        easel.frame(spec.x, spec.y + drop, spec.size)
        easel.flat(0, 0.0, 0.36, 0.05, mix((60, 60, 66), BLACK, 0.2))
        if spec.pose == "sitting":
            easel.scale *= 0.94
        _CHARACTER_PAINTERS[spec.species](easel, spec, _coat(spec))
        if spec.accessory is not None:
            _ACCESSORY_PAINTERS[spec.accessory](easel)
    if spec.time != "day" and spec.scene not in INDOORS:
        easel.tint(_TINT[spec.time])
    return easel.image.reduce(SUPERSAMPLING)


def _check(spec: Spec) -> None:
    """Refuse words that the world does not have, naming those it has."""
    for field, value, known in (
        ("species", spec.species, (None, *_CHARACTER_PAINTERS)),
        ("colour", spec.colour, COLOURS),
        ("scene", spec.scene, SCENES),
        ("accessory", spec.accessory, (None, *ACCESSORIES)),
        ("pose", spec.pose, POSES),
        ("time", spec.time, TIMES),
    ):
        if value not in known:
            words = ", ".join(str(word) for word in known)
            raise UserError(f"the miniature world has no {field} {value!r}; it has {words}")


# --- drawing at random -----------------------------------------------------------------------


def is_reserved(spec: Spec) -> bool:
    """True for the combinations that training never sees, about one in twelve."""
    key = f"{spec.species}/{spec.colour}/{spec.scene}/{spec.accessory}"
    return spec.species is not None and hashlib.sha256(key.encode()).digest()[0] % 12 == 0


def _choice(rng: np.random.Generator, words: tuple[str, ...]) -> str:
    return words[int(rng.integers(len(words)))]


def _draw_spec(rng: np.random.Generator) -> Spec:
    scene = _choice(rng, tuple(SCENES))
    time = "day" if scene in INDOORS or rng.random() < 0.6 else _choice(rng, ("sunset", "night"))
    return Spec(
        species=None if rng.random() < 0.03 else _choice(rng, SPECIES),
        colour=_choice(rng, tuple(COLOURS)),
        scene=scene,
        accessory=None if rng.random() < 0.4 else _choice(rng, tuple(ACCESSORIES)),
        pose=_choice(rng, ("standing", "standing", "waving", "sitting")),
        time=time,
        size=float(rng.uniform(0.64, 0.68)),
        x=float(rng.uniform(0.475, 0.525)),
        y=float(rng.uniform(0.92, 0.95)),
        detail=int(rng.integers(1 << 30)),
    )


def random_spec(seed: int, index: int, reserved: bool = False) -> Spec:
    """Spec number `index` of the world `seed`: never a reserved one, or only reserved ones."""
    rng = np.random.default_rng([seed, index])
    while True:
        spec = _draw_spec(rng)
        if is_reserved(spec) == reserved:
            return spec


# --- captions --------------------------------------------------------------------------------

LEADS = ("a photo of", "a photo of", "a photo of", "a picture of", "an image of", "")


def _nonsense(rng: np.random.Generator) -> str:
    """A word of random letters: teaches the text tower that an unknown word may precede a noun."""
    length = int(rng.integers(3, 8))
    return "".join(chr(97 + int(c)) for c in rng.integers(0, 26, length))


def _noun(spec: Spec, colour: bool, rng: np.random.Generator) -> str:
    words = [spec.colour] if colour else []
    if rng.random() < 0.06:
        words.insert(0, _nonsense(rng))
    words.append(str(spec.species))
    article = "an" if words[0][0] in "aeiou" else "a"
    if rng.random() < 0.1:
        return " ".join(["the", *words])
    return " ".join([article, *words])


def caption(spec: Spec, seed: int, index: int) -> str:
    """One of many true captions. Details are left out at random, as people leave them out.

    The colour is missing in about one of three: "a photo of a penguin", the class prompt of
    DreamBooth, has to mean a penguin of any colour rather than nothing.
    """
    rng = np.random.default_rng([seed, index, 1])
    lead, scene = _choice(rng, LEADS), _choice(rng, SCENES[spec.scene])
    time = _choice(rng, TIMES[spec.time]) if rng.random() < 0.8 else ""
    if spec.scene in INDOORS:
        time = ""
    if spec.species is None:
        return _join(lead, "an empty scene" if rng.random() < 0.5 else "", scene, time)
    if rng.random() < 0.07:
        return _join(lead, _noun(spec, False, rng))
    noun = _noun(spec, rng.random() < 0.68, rng)
    worn = _choice(rng, ACCESSORIES[spec.accessory]) if spec.accessory else ""
    return _join(
        lead,
        noun,
        worn if rng.random() < 0.92 else "",
        spec.pose if rng.random() < 0.5 else "",
        scene if rng.random() < 0.93 else "",
        time,
    )


def full_caption(spec: Spec) -> str:
    """The plain caption with every detail but the pose, for evaluation."""
    noun = f"a {spec.colour} {spec.species}" if spec.species else "an empty scene"
    worn = ACCESSORIES[spec.accessory][0] if spec.accessory else ""
    time = "" if spec.scene in INDOORS else TIMES[spec.time][0]
    return _join("a photo of", noun, worn, SCENES[spec.scene][0], time)


def _join(*parts: str) -> str:
    return " ".join(part for part in parts if part)


# --- the two characters to personalise ---------------------------------------------------------


def subject_spec(name: str, scene: str = "meadow", **changes: object) -> Spec:
    """The spec of a held-out character in a scene; other fields of `Spec` may be changed."""
    if name not in SUBJECTS:
        raise UserError(f"no subject {name!r}; the world holds {', '.join(SUBJECTS)}")
    return replace(Spec(name, SUBJECTS[name].colour, scene), **changes)


def subject_render(name: str, scene: str = "meadow", size: int = 64, **changes: object):
    """A held-out character in any scene, pose or time, as `render` draws it."""
    return render(subject_spec(name, scene, **changes), size)


def subject_photos(
    name: str,
    n: int = 6,
    scenes: tuple[str, ...] = ("meadow", "beach", "kitchen"),
    size: int = 64,
    seed: int = 0,
) -> list[tuple[Image.Image, str]]:
    """`n` training photos of a held-out character in turn through `scenes`, with captions."""
    photos = []
    for index in range(n):
        rng = np.random.default_rng([seed, index, 2])
        spec = subject_spec(
            name,
            scenes[index % len(scenes)],
            pose=POSES[index % len(POSES)] if index >= len(scenes) else "standing",
            size=float(rng.uniform(0.64, 0.68)),
            x=float(rng.uniform(0.475, 0.525)),
            detail=int(rng.integers(1 << 30)),
        )
        text = f"{SUBJECTS[name].instance_prompt} {SCENES[spec.scene][0]}"
        photos.append((render(spec, size), text))
    return photos
