"""What `kaiffin choose` recommends, and the scores of every candidate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kaiffin.cli.terminal import TERMINAL, console
from kaiffin.foundation.tell import Table
from kaiffin.score.catalogue import MEASURES, TOLD

if TYPE_CHECKING:
    from kaiffin.score.choice import Choice, Stop
    from kaiffin.stories.choose import Advice


def advice(found: Advice) -> None:
    """The table, the verdict and where to look."""
    for name, choice in zip(found.subjects or [""], (found.choice, *found.others), strict=True):
        if found.others:
            console.print(f"{name}:", style="bold")
        _told(choice)
    console.print(f"{found.choice.verdict}: {found.adapter}")
    console.print(f"look at {found.sheet}; `kaiffin report {found.run}` shows it all")


def _told(choice: Choice) -> None:
    """What was measured of one subject."""
    console.print(f"judged by {choice.judge}; {choice.references['words']}")
    if choice.references["ceiling"] is not None:
        console.print(f"real photos reach identity {choice.references['ceiling']:.3f}")
    TERMINAL.table(scores(choice))
    for line in choice.findings:
        console.print(line)
    console.print(f"Pareto set (likeness, prompt, drift): {', '.join(map(str, choice.pareto))}")


def scores(choice: Choice) -> Table:
    """A row for each candidate, a column for each measure of which more or less is better."""
    named = [MEASURES[name] for name in TOLD if MEASURES[name].better and name != "overall"]
    columns = ["step", *(measure.short for measure in named), "overall"]
    return Table(columns, [_row(stop, choice, [one.name for one in named])
                           for stop in choice.candidates])  # fmt: skip


def _row(stop: Stop, choice: Choice, names: list[str]) -> list[str]:
    mark = " *" if stop.step == choice.chosen else ""
    cells = [f"{stop.means[name].mean:.3f}" if name in stop.means else "" for name in names]
    whole = stop.means["overall"]
    return [f"{stop.step}{mark}", *cells, f"{whole.mean:.3f} [{whole.low:.2f}, {whole.high:.2f}]"]
