"""The canvas of the world: shaded balls, slabs and strokes, three times too big."""

import math

import numpy as np
from PIL import Image, ImageDraw, ImageOps

from kaiffin.miniature.world.vocabulary import Colour

SUPERSAMPLING = 3


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


SPHERE, _SLOPE = _sphere_light(), _slope_light()
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
        self.shaded(self.oval(x, y, rx, ry, angle), colour, SPHERE)

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
