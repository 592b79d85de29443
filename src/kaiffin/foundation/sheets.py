"""Labelled sheets of pictures: what a person looks at first. Torch-free."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

PAPER, INK, SOFT = "#fbfaf7", "#22211f", "#6b6862"
GAP = 12  # pixels between tiles
MIN_TILE, MAX_TILE = 160, 512
PAGE = 6000  # pixels of a page's side; what does not fit becomes smaller, down to LEAST a picture
LEAST = 96
GUTTER = 180  # pixels of the titles beside the rows, at most
TITLE, NAME, LINE = 18, 14, 18  # points of titles and of names, pixels of a line of names


def png_bytes(image: Image.Image) -> bytes:
    """A picture as a PNG file's bytes, for the one writer of files."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


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
    rows = -(-len(images) // columns)
    cell = (side + GAP, side + caption + GAP)
    width = columns * cell[0] + GAP
    heading = _wrapped(title, width - 2 * GAP, TITLE, 9)
    above = (heading.count("\n") + 1) * (TITLE + 6) + 6 if title else 0
    top = GAP + above + (22 if column_titles else 0)
    page = Image.new("RGB", (width, top + rows * cell[1] + GAP), PAPER)
    draw = ImageDraw.Draw(page)
    _write(draw, (GAP, GAP - 2), heading, TITLE, INK)
    for column, text in enumerate(column_titles):
        draw.text((GAP + column * cell[0], top - 22), text, INK, font)
    for i, (image, text) in enumerate(zip(images, texts, strict=True)):
        left, upper = GAP + i % columns * cell[0], top + i // columns * cell[1]
        tile = _fitted(image, (side, side))
        page.paste(tile, _centred(tile, (side, side), left, upper))
        draw.multiline_text((left, upper + side + 2), text, SOFT, small, spacing=3)
    return page


def _fitted(image: Image.Image, room: tuple[int, int]) -> Image.Image:
    """As large as it can be in `room`."""
    factor = min(room[0] / image.width, room[1] / image.height)
    size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    return image.convert("RGB").resize(size, Image.Resampling.LANCZOS)


def _wrapped(text: str, width: int, points: int, lines: int = 3) -> str:
    """At most so many lines of about `width` pixels."""
    letters = max(8, int(width / (points * 0.56)))
    return "\n".join(textwrap.wrap(text, letters, max_lines=lines, placeholder=" …"))


@dataclass(frozen=True)
class Block:
    """Rows of picture files, as many in each, with a title beside each row, and one above."""

    rows: Sequence[Sequence[Path]]
    row_titles: Sequence[str]
    title: str = ""


@dataclass(frozen=True)
class _Frame:
    """Where things go, in pixels. tile: of a picture; gutter: left of the pictures; crown: above
    a block."""

    tile: tuple[int, int]
    gutter: int
    crown: int

    @property
    def cell(self) -> tuple[int, int]:
        return self.tile[0] + GAP, self.tile[1] + GAP


def pages(
    blocks: Sequence[Block], column_titles: Sequence[str], *, title: str = "", subtitle: str = ""
) -> Iterator[Image.Image]:
    """Blocks of a row and a column for each value, one below the other: one page where it can be.

    column_titles: as many as each row has pictures.
    """
    frame = _frame(blocks, column_titles)
    most = max(1, (PAGE - frame.gutter) // frame.cell[0])
    wide = -(-len(column_titles) // -(-len(column_titles) // most))  # evenly on as few pages
    for first in range(0, len(column_titles), wide):
        columns = slice(first, first + wide)
        for part in _parted(blocks, frame):
            yield _page(part, frame, columns, column_titles[columns], title, subtitle)


def _frame(blocks: Sequence[Block], column_titles: Sequence[str]) -> _Frame:
    """As large as the pictures are and a page allows."""
    sizes = [_size(path) for block in blocks for row in block.rows for path in row]
    width, height = (max(side) for side in zip(*sizes, strict=True))
    scale = min(max(max(width, height), MIN_TILE), MAX_TILE) / max(width, height)
    gutter = GAP + max(_length(text) for block in blocks for text in block.row_titles)
    rows = sum(len(block.rows) for block in blocks)
    room = (
        (PAGE - gutter) / len(column_titles) - GAP,
        (PAGE - 6 * LINE * len(blocks)) / rows - GAP,
    )
    scale = min(scale, max(LEAST / max(width, height), min(room[0] / width, room[1] / height)))
    # Rounded down, but for what floating point takes off a whole number.
    tile = (max(1, int(width * scale + 1e-6)), max(1, int(height * scale + 1e-6)))
    lines = max(_wrapped(text, tile[0], NAME, 4).count("\n") + bool(text) for text in column_titles)
    named = any(block.title for block in blocks)
    return _Frame(tile, gutter, lines * LINE + named * (TITLE + GAP) + 4)


def _length(name: str) -> int:
    """Pixels that a title takes beside its row, with the gap to it; 0 for none."""
    lines = _wrapped(name, GUTTER, NAME, 99).split("\n")
    length = max(ImageFont.load_default(NAME).getlength(line) for line in lines)
    return round(length) + GAP if name else 0


def _size(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


def _parted(blocks: Sequence[Block], frame: _Frame) -> Iterator[list[tuple[Block, int]]]:
    """(block, number of its row) of all rows, a page at a time."""
    page: list[tuple[Block, int]] = []
    height = 0
    for block in blocks:
        for row in range(len(block.rows)):
            if page and height + frame.crown + frame.cell[1] > PAGE:
                yield page
                page, height = [], 0
            is_first = not page or page[-1][0] is not block
            page.append((block, row))
            height += frame.cell[1] + is_first * frame.crown
    yield page


def _page(
    rows: Sequence[tuple[Block, int]], frame: _Frame, columns: slice,
    column_titles: Sequence[str], title: str, subtitle: str,
) -> Image.Image:  # fmt: skip
    """One page of `rows`, with the titles over each block."""
    width = max(frame.gutter + len(column_titles) * frame.cell[0], 480)
    heading = _wrapped(title, width, TITLE)
    notes = _wrapped(subtitle, width, NAME)
    top = GAP + sum(
        (text.count("\n") + 1) * (points + 6) for text, points in ((heading, TITLE), (notes, NAME))
    )
    blocks = len({id(block) for block, _ in rows})
    page = Image.new(
        "RGB", (width, top + blocks * frame.crown + len(rows) * frame.cell[1] + GAP), PAPER
    )
    draw = ImageDraw.Draw(page)
    _write(draw, (GAP, GAP), heading, TITLE, INK)
    _write(draw, (GAP, top - (notes.count("\n") + 1) * (NAME + 6)), notes, NAME, SOFT)
    before = None
    for block, row in rows:
        if block is not before:
            _crown(draw, top, frame, block.title, column_titles)
            top, before = top + frame.crown, block
        text = _wrapped(block.row_titles[row], GUTTER, NAME, max(1, frame.tile[1] // LINE))
        middle = top + (frame.tile[1] - (text.count("\n") + 1) * LINE) // 2
        _write(draw, (GAP, middle), text, NAME, INK)
        for column, path in enumerate(block.rows[row][columns]):
            with Image.open(path) as image:
                tile = _fitted(image, frame.tile)
            left = frame.gutter + column * frame.cell[0]
            page.paste(tile, _centred(tile, frame.tile, left, top))
        top += frame.cell[1]
    return page


def _crown(
    draw: ImageDraw.ImageDraw, top: int, frame: _Frame, title: str, column_titles: Sequence[str]
) -> None:
    """The title of a block, and those of its columns right above the pictures."""
    if title:
        _write(draw, (GAP, top + GAP // 2), _wrapped(title, 10**6, TITLE, 1), TITLE, INK)
    for column, name in enumerate(column_titles):
        text = _wrapped(name, frame.tile[0], NAME, 4)
        lines = text.count("\n") + 1
        left = frame.gutter + column * frame.cell[0]
        _write(draw, (left, top + frame.crown - lines * LINE - 2), text, NAME, INK)


def _write(
    draw: ImageDraw.ImageDraw, place: tuple[int, int], text: str, points: int, ink: str
) -> None:
    draw.multiline_text(place, text, ink, ImageFont.load_default(points), spacing=3)


def _centred(tile: Image.Image, room: tuple[int, int], left: int, top: int) -> tuple[int, int]:
    return left + (room[0] - tile.width) // 2, top + (room[1] - tile.height) // 2
