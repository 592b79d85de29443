"""The parts of charts as inline SVG, coloured by the page's own variables. Torch-free.

Places are percentages of the drawing area, so that a chart is as wide as its place and its text
keeps its size on a phone; the labels of the axes stand outside, where the page leaves room. What a
point means stands in its `tip`, shown while the pointer is over it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from markupsafe import Markup, escape


def tag(name: str, *inside: object, **attributes: object) -> Markup:
    """One SVG element with everything escaped; `class_` is class, _ is - in other names."""
    said = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{name}{said}>{''.join(escape(part) for part in inside)}</{name}>")


@dataclass(frozen=True)
class Scale:
    """From values to percent of the drawing area."""

    low: float
    high: float

    @classmethod
    def around(cls, values: Iterable[float], room: float = 0.1) -> Scale:
        """Holds all of `values` with some room at both ends, but none below 0 for nothing."""
        found = list(values)
        low, high = min(found), max(found)
        room = room * (high - low) or max(abs(high), 1.0) * 0.05
        return cls(max(low - room, 0.0) if low >= 0 else low - room, high + room)

    def at(self, value: float) -> float:
        share = (value - self.low) / ((self.high - self.low) or 1.0)
        return 100 * min(max(share, 0.0), 1.0)

    def x(self, value: float) -> str:
        return f"{self.at(value):.2f}%"

    def y(self, value: float) -> str:
        return f"{100 - self.at(value):.2f}%"

    def ticks(self) -> list[float]:
        """Round values within: at least three of them, as few as that allows."""
        power = 10.0 ** math.floor(math.log10(self.high - self.low))
        for step in (power * m for m in (10, 5, 2, 1, 0.5, 0.2)):
            first = math.ceil(self.low / step - 1e-9)
            last = math.floor(self.high / step + 1e-9)
            if last - first >= 2:
                break
        return [round(i * step, 10) for i in range(first, last + 1)]


def chart(name: str, *inside: object, kind: str = "") -> Markup:
    """The frame: `name` is what a screen reader says."""
    return tag("svg", *inside, class_=f"chart {kind}".strip(), role="img", aria_label=name)


def grid(x: Scale, y: Scale, x_label: str) -> list[Markup]:
    """Horizontal lines with their values, and the values below."""
    lines = []
    for value in y.ticks():
        place = y.y(value)
        lines.append(tag("line", class_="grid", x1="0", x2="100%", y1=place, y2=place))
        text = tag("text", f"{value:g}", x="0", y=place, dx="-8", dy="4", text_anchor="end")
        lines.append(text)
    for i, value in enumerate(x.ticks()):
        text = f"{value:g}" if i else f"{x_label} {value:g}"
        lines.append(tag("text", text, x=x.x(value), y="100%", dy="18", text_anchor="middle"))
    return lines


def stretched(*inside: object) -> Markup:
    """Lines and areas in percent; their strokes do not stretch."""
    return tag(
        "svg", *inside, viewBox="0 0 100 100", preserveAspectRatio="none", width="100%",
        height="100%", class_="stretched",
    )  # fmt: skip


def path(x: Scale, y: Scale, places: Iterable[tuple[float, float]]) -> str:
    return " ".join(f"{x.at(a):.2f},{100 - y.at(b):.2f}" for a, b in places)


def tip(text: str) -> Markup:
    return tag("text", text, class_="tip", x="100%", y="0", dy="-10", text_anchor="end")
