"""The scores of a run's checkpoints as tables and charts, and its loss. Torch-free."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from kaiffin.experiments.report import charts
from kaiffin.experiments.report.charts import Line, Point, Trade
from kaiffin.experiments.report.evidence import Evidence
from kaiffin.score.catalogue import (
    CHARTED,
    MEASURES,
    TOLD,
    Measure,
    leading,
    number,
    reading,
    signed,
)
from kaiffin.score.choice import Choice, Stop, difference
from kaiffin.score.statistics import Interval, smooth


@dataclass(frozen=True)
class ScoreRow:
    """A measure of the chosen checkpoint beside the base's; change: in pairs, and what it says."""

    measure: Measure
    base: str
    chosen: str
    change: str
    verdict: str


def score_rows(choice: Choice) -> list[ScoreRow]:
    """The measures that matter most, of those that the chosen checkpoint has."""
    rows = []
    for name in TOLD:
        measure = MEASURES[name]
        if name not in choice.best.means:
            continue
        base = change = None
        if not measure.against_base:
            base = choice.base.means.get(name)
            change = difference(choice.base, choice.best, name)
        rows.append(
            ScoreRow(
                measure, number(base.mean) if base else "", reading(choice.best.means[name]),
                signed(change) if change else "", measure.verdict(change) if change else "",
            )
        )  # fmt: skip
    return rows


def shown(value: Interval, name: str) -> str:
    """A mean in large type: a share in percent."""
    return f"{value.mean:.0%}" if MEASURES[name].share else f"{value.mean:.2f}"


def candidate_rows(choice: Choice) -> tuple[list[Measure], list[tuple[Stop, list[str]]]]:
    """(measures, a row for each stop with its reading of each): the numbers behind the charts."""
    named = [MEASURES[name] for name in MEASURES if name in choice.best.means]
    rows = []
    for stop in choice.stops:
        values = [stop.means.get(measure.name) for measure in named]
        rows.append((stop, [reading(value) if value else "" for value in values]))
    return named, rows


def score_charts(choice: Choice) -> list[tuple[Measure, Markup]]:
    """A chart of each score that was measured at two candidates or more."""
    made = []
    for name in CHARTED:
        scored = [stop for stop in choice.candidates if name in stop.means]
        if len(scored) < 2:
            continue
        points = [Point(stop.step, stop.means[name]) for stop in scored]
        ceiling = choice.references.get("ceiling") if name == "identity" else None
        base = choice.base.means.get(name)
        title = MEASURES[name].title
        drawn = charts.score_chart(title, points, choice.chosen, base=base, ceiling=ceiling)
        made.append((MEASURES[name], drawn))
    return made


def trade_off(choice: Choice) -> Markup | None:
    """Likeness against prompt; None where there is nothing to trade."""
    up, right, *_ = (*leading(choice.best.means), "", "")
    points = [
        Trade(
            stop.step, stop.means[right], stop.means[up], stop.means.get("drift"),
            stop.step in choice.pareto, stop.step == choice.chosen,
        )
        for stop in choice.candidates
        if up in stop.means and right in stop.means
    ]  # fmt: skip
    return charts.pareto_chart(points) if len(points) > 1 else None


def tiles(choice: Choice) -> list[tuple[Measure, str, str]]:
    """(measure, the chosen checkpoint's mean, what to hold it against), the few that matter."""
    made = []
    ceiling = choice.references.get("ceiling")
    means = choice.best.means
    for name in (*leading(means), *(["copy"] if "copy" in means else [])):
        measure, base = MEASURES[name], choice.base.means.get(name)
        beside = measure.scale or measure.direction
        if base and not measure.against_base and not measure.share:
            beside = f"base {number(base.mean, 2)}"
            if name == "identity" and ceiling is not None:
                beside += f" · real photos {number(ceiling, 2)}"
        made.append((measure, shown(means[name], name), beside))
    return made


def loss_line(found: Evidence) -> Line | None:
    """None where fewer than two steps were recorded."""
    if len(found.metrics) < 2:
        return None
    raw = [entry["loss"] for entry in found.metrics]
    return Line(found.name, [entry["step"] for entry in found.metrics], raw, smooth(raw))


def held_out_curve(found: Evidence) -> Markup | None:
    """The loss on held-out photos with the adapter and, of the same noises, without; None where it
    was not asked for twice."""
    asked = [entry for entry in found.metrics if "held_out_loss" in entry]
    if len(asked) < 2:
        return None
    steps = [entry["step"] for entry in asked]
    values = [[entry[name] for entry in asked] for name in ("held_out_loss", "base_loss")]
    lines = [
        Line(name, steps, each, each, colour)
        for colour, (name, each) in enumerate(zip(("adapter", "base"), values, strict=True))
    ]
    return charts.loss_chart(lines)


def loss_curve(found: Evidence, line: Line) -> Markup:
    """The loss of one run, with its phases and the chosen step marked."""
    phases = found.manifest.get("phases") or ()
    marks = [(int(phase["first"]), str(phase["name"])) for phase in phases[1:]]
    if found.choice:
        marks.append((found.choice.chosen, f"chosen: step {found.choice.chosen}"))
    return charts.loss_chart([line], marks)
