"""Charts as single SVG files: lines over an axis, and tables of shades. Legible on any ground."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from kaiffin.experiments.report.svg import Scale, tag

WIDTH, HEIGHT = 640, 300
LEFT, RIGHT, TOP, BOTTOM = 56, 150, 16, 44
COLOURS = ("#2166ac", "#d6604d", "#1b7837", "#8073ac", "#b8860b", "#555555")
INK, SOFT, PAPER = "#222", "#ddd", "#fcfaf7"


def lines(
    path: Path, series: Mapping[str, Sequence[tuple[float, float]]], x: str, y: str, *,
    logarithmic: bool = False,
) -> None:  # fmt: skip
    """A line for each name, in the order given; logarithmic: the vertical axis, to base 10."""
    up = math.log10 if logarithmic else float
    points = {name: [(a, up(b)) for a, b in values] for name, values in series.items()}
    across = Scale.around((a for values in points.values() for a, _ in values), 0.0)
    along = Scale.around((b for values in points.values() for _, b in values), 0.05)
    across_at = lambda a: LEFT + across.at(a) / 100 * (WIDTH - LEFT - RIGHT)  # noqa: E731
    along_at = lambda b: HEIGHT - BOTTOM - along.at(b) / 100 * (HEIGHT - TOP - BOTTOM)  # noqa: E731
    parts = []
    for value in along.ticks():
        at = along_at(value)
        parts.append(tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=at, y2=at, stroke=SOFT))
        text = f"{10**value:.3g}" if logarithmic else f"{value:g}"
        parts.append(tag("text", text, x=LEFT - 8, y=at + 4, text_anchor="end"))
    for value in across.ticks():
        parts.append(
            tag("text", f"{value:g}", x=across_at(value), y=HEIGHT - 24, text_anchor="middle")
        )
    parts.append(tag("text", x, x=(LEFT + WIDTH - RIGHT) / 2, y=HEIGHT - 6, text_anchor="middle"))
    parts.append(tag("text", y, x=6, y=12))
    for number, (name, values) in enumerate(points.items()):
        colour = COLOURS[number % len(COLOURS)]
        path_of = " ".join(f"{across_at(a):.1f},{along_at(b):.1f}" for a, b in values)
        parts.append(tag("polyline", points=path_of, fill="none", stroke=colour, stroke_width=2))
        at = TOP + 12 + 18 * number
        left = WIDTH - RIGHT + 12
        parts.append(
            tag("line", x1=left, x2=left + 16, y1=at, y2=at, stroke=colour, stroke_width=3)
        )
        parts.append(tag("text", name, x=left + 22, y=at + 4))
    _write(path, parts, WIDTH, HEIGHT)


def shades(
    path: Path, names: Sequence[str], columns: Sequence[str], values: Sequence[Sequence[float]]
) -> None:
    """A table of numbers on shades of blue, from the least to the most."""
    low = min(min(row) for row in values)
    high = max(max(row) for row in values)
    side, left, top = 58, 190, 64
    parts = []
    for j, name in enumerate(columns):
        first, _, rest = name.partition(" ")
        middle = left + side * j + side / 2
        parts.append(tag("text", first, x=middle, y=top - 26, text_anchor="middle"))
        parts.append(tag("text", rest, x=middle, y=top - 10, text_anchor="middle"))
    for i, (name, row) in enumerate(zip(names, values, strict=True)):
        at = top + 34 * i
        parts.append(tag("text", name, x=left - 10, y=at + 22, text_anchor="end"))
        for j, value in enumerate(row):
            level = (value - low) / ((high - low) or 1)
            fill = f"rgb({int(247 - 214 * level)},{int(251 - 149 * level)},{int(255 - 83 * level)})"
            parts.append(tag("rect", x=left + side * j, y=at, width=side - 2, height=32, fill=fill))
            ink = "#fff" if level > 0.55 else INK
            where = {"x": left + side * j + side / 2, "y": at + 21}
            parts.append(
                tag("text", f"{value:.2f}", **where, text_anchor="middle", style=f"fill:{ink}")
            )
    _write(path, parts, left + side * len(columns) + 12, top + 34 * len(names) + 12)


def _write(path: Path, parts: Sequence[object], width: int, height: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    ground = tag("rect", width=width, height=height, fill=PAPER, rx=4)
    style = tag("style", f"text{{font:12px sans-serif;fill:{INK}}}")
    drawing = tag(
        "svg", style, ground, *parts, xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {width} {height}", width=width, height=height,
    )  # fmt: skip
    path.write_text(f"{drawing}\n", encoding="utf-8")
