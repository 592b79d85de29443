"""The charts of the report: scores, the trade-off, losses, runs side by side. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from kaiffin.experiments.report.svg import Scale, chart, grid, path, stretched, tag, tip
from kaiffin.score.catalogue import number, reading
from kaiffin.score.statistics import Interval

DRAWN = 500  # points of a line at most
COLUMNS = 40  # places under which the loss can be read
SERIES = 8  # colours that the page has


@dataclass(frozen=True)
class Point:
    """A checkpoint's score."""

    step: int
    value: Interval


def _level(y: Scale, value: float, text: str, kind: str, *, right: bool) -> list[Markup]:
    """A dashed line across, with what it is written on it."""
    place, side = y.y(value), "100%" if right else "0"
    anchor = "end" if right else "start"
    return [
        tag("line", class_=f"level {kind}", x1="0", x2="100%", y1=place, y2=place),
        tag("text", text, class_="on", x=side, y=place, dy="-5", text_anchor=anchor),
    ]


def score_chart(
    name: str, points: Sequence[Point], chosen: int, *, base: Interval | None = None,
    ceiling: float | None = None,
) -> Markup:  # fmt: skip
    """One score over the steps with its band, the chosen point, and what to compare with."""
    known = [edge for p in points for edge in (p.value.low, p.value.high)]
    known += [base.mean] if base else []
    known += [ceiling] if ceiling is not None else []
    x, y = Scale(0, points[-1].step), Scale.around(known)
    upper = [(p.step, p.value.high) for p in points]
    middle = [(p.step, p.value.mean) for p in points]
    lower = [(p.step, p.value.low) for p in reversed(points)]
    drawn = [
        *grid(x, y, "step"),
        stretched(
            tag("polygon", class_="band", points=path(x, y, upper + lower)),
            tag("polyline", class_="line", points=path(x, y, middle)),
        ),
    ]  # fmt: skip
    if base:
        drawn += _level(y, base.mean, f"base {number(base.mean)}", "base", right=True)
    if ceiling is not None:
        drawn += _level(y, ceiling, f"real photos {number(ceiling)}", "ceiling", right=False)
    for point in points:
        drawn.append(_dot(x, y, point, is_chosen=point.step == chosen))
    said = "; ".join(f"step {p.step}: {reading(p.value)}" for p in points)
    return chart(f"{name} over the steps. {said}. Chosen: step {chosen}.", *drawn)


def _dot(x: Scale, y: Scale, point: Point, *, is_chosen: bool) -> Markup:
    place = {"cx": x.x(point.step), "cy": y.y(point.value.mean)}
    return tag(
        "g",
        tag("circle", class_="reach", r="14", **place),
        tag("circle", class_="dot", r="6" if is_chosen else "3.5", **place),
        tip(f"step {point.step}{' (chosen)' if is_chosen else ''}: {reading(point.value)}"),
        class_="point chosen" if is_chosen else "point", data_step=point.step,
    )  # fmt: skip


@dataclass(frozen=True)
class Trade:
    """A checkpoint in the trade-off. best: in the Pareto set."""

    step: int
    prompt: Interval
    likeness: Interval
    drift: Interval | None
    best: bool
    chosen: bool


def pareto_chart(points: Sequence[Trade]) -> Markup:
    """Likeness against prompt; the larger a dot, the more drift. The best trades are coloured."""
    x = Scale.around([p.prompt.mean for p in points], 0.15)
    y = Scale.around([p.likeness.mean for p in points], 0.15)
    drifts = [p.drift.mean for p in points if p.drift]
    sizes = Scale(min(drifts), max(drifts)) if drifts else Scale(0, 1)
    drawn = grid(x, y, "prompt")
    taken: list[tuple[float, float]] = []  # where names stand, in pixels
    for p in sorted(points, key=lambda p: (p.chosen, p.best)):
        place = {"cx": x.x(p.prompt.mean), "cy": y.y(p.likeness.mean)}
        radius = 5 + 0.08 * sizes.at(p.drift.mean) if p.drift else 7
        name = _name(p, place, taken) if p.best or p.chosen else ""
        drawn.append(
            tag(
                "g", tag("circle", class_="dot", r=f"{radius:.1f}", **place),
                name, tip(_told(p)),
                class_="point" + " best" * p.best + " chosen" * p.chosen, data_step=p.step,
            )
        )  # fmt: skip
    marks = [", among the best trades" * p.best + ", chosen" * p.chosen for p in points]
    said = "; ".join(_told(p) + mark for p, mark in zip(points, marks, strict=True))
    return chart(f"Likeness against prompt. {said}.", *drawn, kind="tall")


def _name(p: Trade, place: Mapping[str, str], taken: list[tuple[float, float]]) -> Markup:
    """The step above, below or beside its dot, where no other name is; a chart as on a phone."""
    x, y = (float(place[key][:-1]) * size for key, size in (("cx", 2.6), ("cy", 2.8)))
    offsets = [(0, -17), (0, 26), (26, 4), (-26, 4)]
    free = [
        (dx, dy)
        for dx, dy in offsets
        if all(abs(x + dx - a) > 24 or abs(y + dy - b) > 13 for a, b in taken)
    ]
    dx, dy = (free or offsets)[0]
    taken.append((x + dx, y + dy))
    return tag("text", p.step, class_="on", x=place["cx"], y=place["cy"], dx=dx, dy=dy,
               text_anchor="middle")  # fmt: skip


def _told(p: Trade) -> str:
    drift = f", drift {number(p.drift.mean)}" if p.drift else ""
    return (
        f"step {p.step}: prompt {number(p.prompt.mean)}, likeness {number(p.likeness.mean)}{drift}"
    )


@dataclass(frozen=True)
class Line:
    """A loss curve: steps ascending, raw and smoothed values of equal length."""

    name: str
    steps: Sequence[int]
    raw: Sequence[float]
    even: Sequence[float]
    colour: int = 0  # of the page's SERIES


def loss_chart(lines: Sequence[Line], marks: Sequence[tuple[int, str]] = ()) -> Markup:
    """Loss over the steps; of one run also raw. marks: (step, what happens there)."""
    alone = len(lines) == 1
    usual = [sorted(line.raw)[int(0.98 * (len(line.raw) - 1))] for line in lines]
    x = Scale(0, max(line.steps[-1] for line in lines))
    y = Scale(0, 1.05 * max(*usual, *(max(line.even) for line in lines)) or 1.0)
    curves = []
    for line in lines:
        places = _thin(line.steps, line.even)
        if alone:
            raw = path(x, y, _thin(line.steps, line.raw))
            curves.append(tag("polyline", class_="raw", points=raw))
        kind = "line" if alone else f"line {_series(line.colour)}"
        curves.append(tag("polyline", class_=kind, points=path(x, y, places)))
    drawn = [*grid(x, y, "step"), stretched(*curves)]
    for step, text in marks:
        place = x.x(step)
        anchor = "end" if x.at(step) > 50 else "start"
        drawn.append(tag("line", class_="mark", x1=place, x2=place, y1="0", y2="100%"))
        dx = "-5" if anchor == "end" else "5"
        drawn.append(
            tag("text", text, class_="on", x=place, y="0", dx=dx, dy="12", text_anchor=anchor)
        )
    drawn += _columns(x, lines)
    said = "; ".join(f"{line.name} ends at {line.even[-1]:.4f}" for line in lines)
    return chart(f"Loss over the steps, smoothed: {said}.", *drawn, kind="wide")


def _series(colour: int) -> str:
    return f"s{colour % SERIES + 1}"


def _thin(steps: Sequence[int], values: Sequence[float]) -> list[tuple[int, float]]:
    stride = max(1, len(steps) // DRAWN)
    return list(zip(steps, values, strict=True))[::stride]


def _columns(x: Scale, lines: Sequence[Line]) -> list[Markup]:
    """Invisible columns that tell the smoothed losses under the pointer."""
    made = []
    for i in range(COLUMNS):
        step = x.high * (i + 0.5) / COLUMNS
        near = [(line, min(range(len(line.steps)), key=lambda k: abs(line.steps[k] - step)))
                for line in lines if line.steps[0] <= step <= line.steps[-1]]  # fmt: skip
        if not near:
            continue
        text = f"step {step:.0f}: " + ", ".join(
            (f"{line.name} " if len(lines) > 1 else "") + f"{line.even[k]:.4f}" for line, k in near
        )
        area = tag("rect", class_="reach", x=f"{100 * i / COLUMNS:.2f}%", y="0",
                   width=f"{100 / COLUMNS:.2f}%", height="100%")  # fmt: skip
        made.append(tag("g", area, tip(text), class_="column"))
    return made


def interval_chart(name: str, rows: Sequence[tuple[str, Interval, int]]) -> Markup:
    """One measure of several runs: a row each, (name, mean and interval, colour)."""
    x = Scale.around([edge for _, v, _ in rows for edge in (v.low, v.high)])
    drawn: list[Markup] = []
    for value in x.ticks():
        place = x.x(value)
        drawn.append(tag("line", class_="grid", x1=place, x2=place, y1="0", y2="100%"))
        drawn.append(tag("text", f"{value:g}", x=place, y="100%", dy="16", text_anchor="middle"))
    for i, (label, value, colour) in enumerate(rows):
        y = f"{100 * (i + 0.5) / len(rows):.2f}%"
        short = label if len(label) < 19 else label[:17] + "…"
        drawn.append(
            tag(
                "g",
                tag("rect", class_="reach", x="0", y=f"{100 * i / len(rows):.2f}%", width="100%",
                    height=f"{100 / len(rows):.2f}%"),
                tag("text", short, x="0", y=y, dx="-10", dy="4", text_anchor="end"),
                tag("line", class_="whisker", x1=x.x(value.low), x2=x.x(value.high), y1=y, y2=y),
                tag("circle", class_=f"dot {_series(colour)}", cx=x.x(value.mean), cy=y, r="5"),
                tip(f"{label}: {reading(value)}"), class_="column",
            )
        )  # fmt: skip
    said = "; ".join(f"{label}: {reading(value)}" for label, value, _ in rows)
    height = 26 * len(rows)
    return tag(
        "svg", *drawn, class_="chart rows", role="img", aria_label=f"{name}. {said}.", height=height
    )
