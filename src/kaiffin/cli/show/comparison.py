"""What `kaiffin compare` found: settings, photos and scores side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kaiffin.cli.terminal import TERMINAL, console
from kaiffin.foundation.tell import Table
from kaiffin.score.catalogue import MEASURES

if TYPE_CHECKING:
    from kaiffin.stories.compare import Comparison


def comparison(found: Comparison) -> None:
    """Differences in settings and photos, the scores, and the verdicts."""
    if found.settings:
        rows = [[name, *map(str, values)] for name, values in found.settings.items()]
        TERMINAL.table(Table(["setting", *found.names], rows))
    else:
        console.print("the same settings")
    for line in found.photos:
        console.print(line)
    first = found.choices[0]
    console.print(f"judged by {first.judge}; {first.references['words']}")
    TERMINAL.table(scores(found))
    console.print(f"in brackets: against {found.names[0]}, 95 %; {found.note}")
    console.print(f"look at {found.sheet}, open {found.page}; numbers in {found.numbers}")


def scores(found: Comparison) -> Table:
    """A row for each measure: every run's mean, and how it stands against the first."""
    rows = []
    for name, measure in MEASURES.items():
        means = [choice.best.means.get(name) for choice in found.choices]
        if not measure.better or name == "overall" or not any(means):
            continue
        cells = [f"{mean.mean:.3f}" if mean else "" for mean in means]
        for place, differences in enumerate(found.differences, 1):
            if name in differences:
                gap, verdict = differences[name].interval, differences[name].verdict
                cells[place] += f" ({gap.low:+.3f} to {gap.high:+.3f}: {verdict})"
        rows.append([measure.short, *cells])
    return Table(["measure", *found.names], rows)
