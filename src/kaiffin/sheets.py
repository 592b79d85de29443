"""Labelled sheets of pictures: what a person looks at first. Torch-free."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

PAPER, INK, SOFT = "#fbfaf7", "#22211f", "#6b6862"
GAP = 12  # pixels between tiles
MIN_TILE, MAX_TILE = 160, 512


def sheet(
    images: Sequence[Image.Image],
    labels: Sequence[str] | None = None,
    *,
    columns: int | None = None,
    column_titles: Sequence[str] = (),
    title: str = "",
) -> Image.Image:
    """A grid of pictures with a caption under each.

    images: at least one, of any sizes; labels: one per image; columns: default about square;
    column_titles: one per column, above the first row.
    """
    if not images:
        raise ValueError("a sheet needs at least one picture")
    columns = columns or min(len(images), max(1, round(len(images) ** 0.5 + 0.49)))
    side = min(max(max(max(image.size) for image in images), MIN_TILE), MAX_TILE)
    font, small = ImageFont.load_default(14), ImageFont.load_default(12)
    texts = [_wrapped(label, side, 12) for label in labels or [""] * len(images)]
    caption = max((text.count("\n") + 1 if text else 0) for text in texts) * 16
    top = GAP + (30 if title else 0) + (22 if column_titles else 0)
    rows = -(-len(images) // columns)
    cell = (side + GAP, side + caption + GAP)
    page = Image.new("RGB", (columns * cell[0] + GAP, top + rows * cell[1] + GAP), PAPER)
    draw = ImageDraw.Draw(page)
    if title:
        draw.text((GAP, GAP - 2), title, INK, ImageFont.load_default(18))
    for column, text in enumerate(column_titles):
        draw.text((GAP + column * cell[0], top - 22), text, INK, font)
    for i, (image, text) in enumerate(zip(images, texts, strict=True)):
        left, upper = GAP + i % columns * cell[0], top + i // columns * cell[1]
        tile = _fitted(image, side)
        page.paste(tile, (left + (side - tile.width) // 2, upper + (side - tile.height) // 2))
        draw.multiline_text((left, upper + side + 2), text, SOFT, small, spacing=3)
    return page


def _fitted(image: Image.Image, side: int) -> Image.Image:
    """Scaled so that its longer side is `side`."""
    factor = side / max(image.size)
    size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    return image.convert("RGB").resize(size, Image.Resampling.LANCZOS)


def _wrapped(text: str, width: int, points: int) -> str:
    """At most three lines of about `width` pixels."""
    letters = max(8, int(width / (points * 0.56)))
    return "\n".join(textwrap.wrap(text, letters, max_lines=3, placeholder=" …"))
