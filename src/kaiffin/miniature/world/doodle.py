"""Random shapes over a picture, for the VAE alone.

A VAE that sees nothing but eight animals learns eight animals: the first one reached 25.7 dB on
unseen renders of them and 20.5 dB on the held-out puffin, whose helmet it redrew as an owl's brow.
Three in four of the pictures it learns from are therefore doodled on: balls, discs, triangles,
rings, stripes, domes and tapering arcs of any colour, often mirrored as faces are, so that it has
to look instead of remember.
"""

import math

import numpy as np
from PIL import Image

from kaiffin.miniature.world.easel import SPHERE, SUPERSAMPLING, Easel
from kaiffin.miniature.world.vocabulary import Colour


def _colour(rng: np.random.Generator) -> Colour:
    """Any colour; often black or white, which eyes and horns are made of."""
    if rng.random() < 0.25:
        return (250, 250, 250) if rng.random() < 0.5 else (24, 24, 28)
    red, green, blue = (int(v) for v in rng.integers(0, 256, 3))
    return red, green, blue


def _stripes(easel: Easel, x: float, y: float, rng: np.random.Generator) -> None:
    colours, width = (_colour(rng), _colour(rng)), float(rng.uniform(0.03, 0.12))
    for number in range(4):
        easel.flat(x, y - number * width * 0.6, width * 1.6, width * 0.3, colours[number % 2])


def _dome(easel: Easel, x: float, y: float, rx: float, ry: float, colour: Colour) -> None:
    """The upper half of a ball."""
    angles = np.linspace(0, math.pi, 20)
    arc = [easel.pixel(x + rx * math.cos(a), y + ry * math.sin(a)) for a in angles]
    easel.shaded(arc, colour, SPHERE)


def _arc(easel: Easel, x: float, y: float, rng: np.random.Generator, side: int) -> None:
    """A bent stroke that tapers to a point, as claws, tails and feathers do."""
    along = np.linspace(0, 1, 12)
    bend = rng.uniform(-0.25, 0.25, (2, 2))
    path = np.outer(2 * along * (1 - along), bend[0]) + np.outer(along**2, bend[1])
    width = (1 - along) * float(rng.uniform(0.02, 0.06))
    across = np.gradient(path, axis=0)[:, ::-1] * (-1, 1)
    across /= np.linalg.norm(across, axis=1, keepdims=True) + 1e-6
    edges = np.concatenate([path + across * width[:, None], (path - across * width[:, None])[::-1]])
    easel.slab([(x + side * float(a), y + float(b)) for a, b in edges], _colour(rng))


def _shape(easel: Easel, x: float, y: float, seed: int, side: int) -> None:
    """One shape at (x, y); its mirror image is the same seed with `side` -1."""
    rng = np.random.default_rng(seed)
    kind, colour = int(rng.integers(8)), _colour(rng)
    rx, ry = (float(v) for v in np.exp(rng.uniform(np.log(0.025), np.log(0.22), 2)))
    angle = float(rng.uniform(-90, 90)) * side
    if kind <= 1:
        easel.ball(x, y, rx, ry, colour, angle)
    elif kind == 2:
        easel.flat(x, y, rx, ry, colour, angle)
    elif kind == 3:
        corners = rng.uniform(-0.22, 0.22, (int(rng.integers(3, 6)), 2))
        corners = corners[np.argsort(np.arctan2(corners[:, 1], corners[:, 0]))]
        easel.slab([(x + side * float(a), y + float(b)) for a, b in corners], colour)
    elif kind == 4:
        easel.ball(x, y, rx, rx, colour)
        easel.ball(x, y, rx * 0.6, rx * 0.6, _colour(rng))
    elif kind == 5:
        _stripes(easel, x, y, rng)
    elif kind == 6:
        _dome(easel, x, y, rx, ry, colour)
    else:
        _arc(easel, x, y, rng, side)


def doodle(background: np.ndarray, seed: int, index: int) -> np.ndarray:
    """`background` (H, W, 3) uint8, perhaps recoloured or mirrored, under 2 to 12 shapes."""
    rng = np.random.default_rng([seed, index, 5])
    if rng.random() < 0.5:
        background = background[:, ::-1]
    if rng.random() < 0.5:
        background = background[:, :, rng.permutation(3)]
    size = len(background)
    easel = Easel(size)
    easel.image.paste(
        Image.fromarray(background).resize((size * SUPERSAMPLING, size * SUPERSAMPLING), 0)
    )
    easel.frame(0.5, 1.0, 1.0)
    for _ in range(int(rng.integers(2, 13))):
        x, y = float(rng.uniform(-0.45, 0.45)), float(rng.uniform(0.05, 0.98))
        shape = int(rng.integers(1 << 30))
        _shape(easel, x, y, shape, 1)
        if rng.random() < 0.5:
            _shape(easel, -x, y, shape, -1)
    return np.asarray(easel.image.reduce(SUPERSAMPLING))
