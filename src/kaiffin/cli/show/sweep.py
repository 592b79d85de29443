"""A sweep that has ended: a row for each trial, and what they are judged by."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kaiffin.cli.terminal import TERMINAL, console
from kaiffin.foundation.tell import Table

if TYPE_CHECKING:
    from kaiffin.score.statistics import Interval
    from kaiffin.stories.sweep import Sweep


def sweep(made: Sweep) -> None:
    """The table of those that came through; what failed was told when it did."""
    if not made.sheet:
        return
    from kaiffin.experiments.sweep.standings import drawn

    TERMINAL.table(_table(made))
    if made.judge:
        console.print(
            f"judged by {made.judge}; below the means: against {made.standings[0].name}, in pairs,"
            f" 95 % {drawn(made.standings)}; * is clear"
        )
    console.print(f"the first picture of each prompt: {made.sheet}")


def _table(made: Sweep) -> Table:
    """Below each mean the difference from the first trial, 95 % interval."""
    from kaiffin.experiments.sweep.standings import MEASURED
    from kaiffin.score.catalogue import MEASURES

    shown = [name for name in MEASURED if any(name in one.means for one in made.standings)]
    rows = [
        [one.name, str(one.seeds), f"{made.losses[one.name]:.4f}"]
        + [_cell(one.means.get(name), one.against.get(name)) for name in shown]
        for one in made.standings
    ]
    return Table(["trial", "seeds", "loss", *(MEASURES[name].short for name in shown)], rows)


def _cell(mean: Interval | None, gap: Interval | None) -> str:
    text = f"{mean.mean:.3f} [{mean.low:.3f}, {mean.high:.3f}]" if mean else ""
    if gap:
        clear = "" if gap.low <= 0 <= gap.high else " *"
        text += f"\n{gap.mean:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}]{clear}"
    return text
