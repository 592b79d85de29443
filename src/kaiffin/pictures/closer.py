"""A part of a picture, looked at from closer: found by the words of its subject, or by a box."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor

from kaiffin.foundation.errors import ConfigError
from kaiffin.foundation.runtime import randn
from kaiffin.models.base import ModelFamily, SizeFacts
from kaiffin.pictures import canvas
from kaiffin.pictures.request import Request
from kaiffin.pictures.start import Start

Box = tuple[int, int, int, int]  # left, top, right, bottom

LOOKS = (0.5, 0.7, 0.85)  # how far on the way from noise the subject is looked for
SPREAD = 2.0  # standard deviations of where it is heard: a square of one loudness has 1.73 a side
LEAST = 8  # pixels of a box's side


def refuse_outside(start: Start, width: int, height: int) -> None:
    """ConfigError for a box that is not in the picture as it is asked for."""
    if start.box is None:
        return
    left, top, across, down = start.box
    if left + across > width or top + down > height or min(across, down) < LEAST:
        raise ConfigError(
            f"box {','.join(map(str, start.box))}: is no part of {LEAST} pixels and more of a"
            f" picture of {width}x{height}.", "Write LEFT,TOP,WIDTH,HEIGHT within it.",
        )  # fmt: skip


def by_hand(start: Start) -> Box:
    """The box that was given, in the picture as large as it is by then."""
    assert start.box is not None
    left, top, width, height = (round(side * start.upscale) for side in start.box)
    return left, top, left + width, top + height


def by_words(family: ModelFamily, request: Request, image: Image.Image, words: str) -> Box:
    """The square around what hears `words` in the picture."""
    seen = look(family, request, _small(family, image), words)
    weights = (seen - seen.mean()).clamp(min=1e-12)
    spans = [
        _span(weights.sum(1 - axis) / weights.sum(), length)
        for axis, length in ((1, image.width), (0, image.height))
    ]
    side = round(min(max(LEAST, *(end - begin for begin, end in spans)), *image.size))
    left, top = (
        min(max(round((begin + end - side) / 2), 0), length - side)
        for (begin, end), length in zip(spans, image.size, strict=True)
    )
    return left, top, left + side, top + side


def _span(shares: Tensor, length: int) -> tuple[float, float]:
    """Where, in pixels of `length`, most of it is: the middle, and the spread to both sides."""
    places = (torch.arange(len(shares)) + 0.5) * (length / len(shares))
    middle = (shares * places).sum()
    reach = SPREAD * (shares * (places - middle) ** 2).sum().sqrt()
    return float(middle - reach), float(middle + reach)


def _small(family: ModelFamily, image: Image.Image) -> Image.Image:
    """At the size that the base sees best."""
    times = family.native_size / max(image.size)
    if times >= 1:
        return image
    sides = (max(8, round(side * times / 8) * 8) for side in image.size)
    return image.resize((next(sides), next(sides)), Image.Resampling.LANCZOS)


def look(family: ModelFamily, request: Request, image: Image.Image, words: str) -> Tensor:
    """(h, w): how much each cell of a picture hears of `words`, at some levels of noise."""
    prompt = request.read[0].texts(request.steps)[-1]
    facts = [SizeFacts.whole(image.height, image.width)]
    told = family.encode_text(
        [prompt], facts, chunks=family.num_chunks([prompt]), clip_skip=request.clip_skip
    )
    begin, places = canvas.encoded(family, [image]), family.places(prompt, words)
    levels = family.schedule.sigmas(100)
    eps = randn(begin.shape[1:], request.seed, "look")[None].to(begin)
    total = torch.zeros(begin.shape[-2:])
    for share in LOOKS:
        sigma = levels[int(100 * share)]
        x_t, t = family.schedule.model_input(begin + sigma * eps, sigma)
        total += family.heard(x_t, torch.tensor([t], device=x_t.device), told, places)[0].cpu()
    return total / len(LOOKS)


def size_of(boxes: Sequence[Box], image: Image.Image, native: int) -> tuple[int, int]:
    """(width, height) at which parts are painted: as large as the base paints best, or as the
    shorter side of the picture; of the shape of the first, which all have."""
    side = max(native, min(image.size))
    left, top, right, bottom = boxes[0]
    width, height = right - left, bottom - top
    times = side / (width * height) ** 0.5
    return max(8, round(width * times / 8) * 8), max(8, round(height * times / 8) * 8)


def put_back(image: Image.Image, part: Image.Image, box: Box) -> Image.Image:
    """`part` in its box, with a soft edge within it, but where the picture ends."""
    left, top, right, bottom = box
    soft = min(right - left, bottom - top) // 8
    inner = torch.zeros(image.height, image.width)
    upper, lower = top and top + soft, bottom - (soft if bottom < image.height else 0)
    first, last = left and left + soft, right - (soft if right < image.width else 0)
    inner[upper:lower, first:last] = 1
    above = image.copy()
    above.paste(part.resize((right - left, bottom - top), Image.Resampling.LANCZOS), (left, top))
    return canvas.pasted(image, above, canvas.feathered(inner, soft))
