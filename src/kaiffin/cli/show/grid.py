"""A grid of pictures: what each value of its axes did to the scores."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kaiffin.cli.terminal import TERMINAL, console
from kaiffin.foundation.tell import Table
from kaiffin.foundation.text import counted
from kaiffin.score.catalogue import SINGLE

if TYPE_CHECKING:
    from kaiffin.experiments.grid.effects import Effect, GridScores
    from kaiffin.stories.grid import MadeGrid

ROWS, WIDE = 20, 24  # values of an axis that are shown, and letters of each


def grid(made: MadeGrid) -> None:
    """The scores, and where to look."""
    if made.scores.words is not None:
        scores(made.scores)
    sheet, *others = made.files.sheets
    more = f" and {counted(len(others), 'further page')}" if others else ""
    console.print(f"all of them on {sheet}{more}; the table beside it is {made.files.csv.name}")


def scores(found: GridScores) -> None:
    """A table for each measure: the mean of each value, and its difference from the first."""
    console.print(found.words)
    for name in found.scores:
        rows: list[list[str]] = []
        for effects in found.effects.values():
            rows += [_row(effect, name) for effect in effects[:ROWS]]
            if len(effects) > ROWS:
                rows.append([f"and {len(effects) - ROWS} more", "", "", ""])
        TERMINAL.table(Table((SINGLE[name].title, "n", "mean", "against the first"), rows))
    if found.groups == 1:
        console.print(
            "95 % intervals over settings alone: with one prompt and seed they say nothing of"
            " others; -n 8 makes more"
        )
    else:
        console.print("95 % intervals over prompts and seeds; too narrow for less than ten of them")


def _row(effect: Effect, measure: str) -> list[str]:
    title = effect.title
    name = title if len(title) <= WIDE else f"{title[: WIDE - 2]} …"
    own, gain = effect.mean[measure], effect.against_first.get(measure)
    shown = f"{own.mean:.3f} [{own.low:.3f}, {own.high:.3f}]"
    more = f"{gain.mean:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]" if gain else ""
    return [name, str(own.n), shown, more]
