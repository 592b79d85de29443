"""What benchmarks measured, as tables in Markdown: printed by them, and put into the pages."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from kaiffin.score.statistics import wilson

Found = Mapping[str, Any]


def table(head: str, rows: Sequence[str]) -> str:
    """Of cells that are joined by ` | ` already."""
    columns = head.count("|") + 1
    return "\n".join([f"| {head} |", "|---" * columns + "|", *(f"| {row} |" for row in rows)])


def share(hits: int, count: int) -> str:
    """With its 95 % interval (Wilson)."""
    low, high = wilson(hits, count)
    return f"{hits / count:.0%} [{low:.0%}, {high:.0%}]"


def interval(found: Sequence[float], form: str = "+.3f", unit: str = "") -> str:
    mean, low, high = (f"{value:{form}}" for value in found)
    return f"{mean}{unit} [{low}, {high}]"


def ratio(values: Sequence[float], unit: Sequence[float]) -> str:
    """Median and range of the ratios of each round."""
    found = sorted(one / other for one, other in zip(values, unit, strict=True))
    return f"{statistics.median(found):.2f} ({found[0]:.2f} - {found[-1]:.2f})"


def turns(seconds: Mapping[str, Sequence[float]], unit: str) -> str:
    """Candidates that took turns: median milliseconds, and each round's ratio to `unit`."""
    rows = [
        f"{name} | {statistics.median(values) * 1e3:,.1f} | {ratio(values, seconds[unit])}"
        for name, values in seconds.items()
    ]
    return table(f" | ms (median) | times {unit} (range over rounds)", rows)


def parts(found: Mapping[str, Sequence[Found]]) -> str:
    """Where the time of a call of Kaiffin's goes (generate.py), by what was made; median and range
    over rounds."""
    names, rows = ("unet", "text", "decoder"), []
    for made, rounds in found.items():
        cells = [
            made,
            *(_span([one[name] / one["all"] for one in rounds], ".1%") for name in names),
        ]
        needed = [sum(one[name] for name in names) for one in rounds]
        for unit in (needed, [one["unet"] for one in rounds]):
            pairs = zip(rounds, unit, strict=True)
            cells.append(_span([one["all"] / must for one, must in pairs], ".3f"))
        rows.append(" | ".join(cells))
    head = "pictures | UNet | text | decoder | all, times these three | all, times the UNet's calls"
    return table(head, rows)


def _span(values: Sequence[float], form: str) -> str:
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{middle:{form}} ({low:{form}} - {high:{form}})"


def ways(found: Mapping[str, Found]) -> str:
    """Ways to a picture (pictures.py), the cheapest first."""
    rows = []
    for name, one in sorted(found.items(), key=lambda item: item[1]["time"]):
        cells = [name, str(one["rows"]), f"{one['time']:.2f}", str(one["pictures"])]
        cells += [f"{one['subject']['mean']:.1%}", f"{one['place']['mean']:.1%}"]
        cells.append(f"{one['likeness']['mean']:.3f}")
        cells += [interval(one[of]["gap"]) for of in ("subject", "place", "likeness")]
        rows.append(" | ".join(cells))
    return table(
        "way / steps | UNet rows | time, times default | n | subject right | place right |"
        " likeness | subject, difference | place, difference | likeness, difference",
        rows,
    )


def choices(found: Found) -> str:
    """Ways of choosing a checkpoint (choosing.py), the recommendation first."""
    rows = []
    for name, one in found["ways"].items():
        cells = [interval(one[what], ".0f", " %") for what in ("subject", "place", "both")]
        against = interval(one["against"], "+.0f") if "against" in one else ""
        rows.append(f"{name} | {' | '.join(cells)} | {against} | {_tally(one)}")
    return table(
        "takes | subject right | place right | both right | the recommendation against it:"
        " difference | better, equal, worse",
        rows,
    )


def _tally(one: Found) -> str:
    return ", ".join(map(str, one.get("tally", ())))


def personalised(found: Sequence[Found], scenes: int = 10) -> str:
    """Characters that were taught (personalise.py)."""
    rows = []
    for one in found:
        count, right = one["pictures"], one["right"]
        shares = " | ".join(share(right[what], count) for what in ("subject", "scene", "both"))
        rows.append(
            f"{one['subject']} | {one['training_s']:.0f} s | {count} | {shares} |"
            f" {one['class_kept']} ({one['class_kept_before']}) of {2 * scenes} |"
            f" {one['drift']:.3f} | {one['likeness']:.3f} ({one['ceiling']:.3f})"
        )
    return table(
        "taught | training | pictures | subject right | scene right | both right |"
        " class kept (before) | drift of the class | CLIP-I to true renders (other true ones)",
        rows,
    )


TAUGHT = {
    "subject": "subject right", "place": "place right", "both": "both right", "leak": "leak",
    "kept": "class kept", "copy": "copies",
}  # fmt: skip
BESIDE = {
    "kept": "class kept", "leak": "leak", "copy": "copies", "home": "photos' place",
    "repeat": "photos again",
}  # fmt: skip


def teaching(found: Sequence[Found]) -> str:
    """Methods on few photos, from benchmarks/teach.py; in percent but for the drift. What is not
    both right is of the last point."""
    by = {(one["photos"], one["method"], one["at"]): one for one in found}
    rows = []
    for photos, method in dict.fromkeys((one["photos"], one["method"]) for one in found):
        at = {point: one for (p, m, point), one in by.items() if (p, m) == (photos, method)}
        last = at[max(at)]
        soon = " / ".join(percent(at[point]["both"][:1]) for point in sorted(at)[:-1])
        cells = [photos, method, last["trainings"], soon, percent(last["both"])]
        cells += [percent(last.get("both more", ()), "+.0f")]
        cells += [percent(last.get(name, ())) for name in BESIDE]
        cells += [percent(last.get("kept more", ()), "+.0f"), within(last["drift"], 3)]
        rows.append(" | ".join(map(str, (*cells, f"{last['cpu']:.0f}"))))
    head = (
        "photos | method | n | both right, sooner | both right | against the preset |"
        f" {' | '.join(BESIDE.values())} | class kept, against the preset | drift | CPU s"
    )
    return table(head, rows)


def in_pairs(found: Sequence[Found]) -> str:
    """Methods at the end of their steps (timed_ranks.py), in percent but for the drift: means, with
    how much more it is than what the method is against, or with their own intervals."""
    rows = []
    for one in found:
        cells = [one["photos"], one["method"], one["trainings"]]
        for name in (*TAUGHT, "drift"):
            digits, unit = (3, 1) if name == "drift" else (0, 100)
            more = [unit * value for value in one.get(f"{name} more", ())]
            own = [unit * value for value in one[name]]
            apart = f", {within(more, digits, '+')}" if more else ""
            cells.append(within(own[:1] if more else own, digits) + apart)
        rows.append(" | ".join(map(str, cells)))
    return table(f"photos | method | n | {' | '.join(TAUGHT.values())} | drift", rows)


def picked(found: Mapping[str, Found]) -> str:
    """Checkpoints that a loss would take (teach.py)."""
    names = {"both": "both right", "kept": "class kept", "repeat": "photos again"}
    rows = []
    for way, one in found.items():
        shares = [f"{percent(one[n])} | {percent(one[f'{n} more'], '+.0f')}" for n in names]
        rows.append(" | ".join([way, " / ".join(map(str, one["takes"].values())), *shares]))
    points = " / ".join(f"{point} %" for point in next(iter(found.values()))["takes"])
    heads = " | ".join(f"{words} | more than the last" for words in names.values())
    return table(f"takes | at {points} | {heads}", rows)


def percent(interval: Sequence[float], form: str = ".0f") -> str:
    """A share with its interval, one share alone, or nothing."""
    middle, *ends = (f"{100 * value:{form}}" for value in interval) if interval else ("",)
    return f"{middle} [{', '.join(ends)}]" if ends else middle


def within(interval: Sequence[float], digits: int = 0, sign: str = "") -> str:
    """A mean with its interval, or one value alone; sign: "+" for a difference."""
    middle, *ends = (f"{value:{sign}.{digits}f}" for value in interval)
    return f"{middle} [{', '.join(ends)}]" if ends else middle
