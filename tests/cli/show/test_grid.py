"""A grid on the terminal: each value's mean, its difference from the first, and the sheet."""

from pathlib import Path

import pytest

from kaiffin.cli.show import grid as show
from kaiffin.experiments.grid.effects import Effect, GridScores
from kaiffin.score.catalogue import SINGLE
from kaiffin.score.statistics import Interval

MEASURE = next(iter(SINGLE))


def effects(count: int) -> list[Effect]:
    mean, gap = Interval(0.3, 0.2, 0.4, 4), Interval(0.1, 0.05, 0.15, 4)
    return [
        Effect(i, f"guidance {i} {'and more' * 5}", {MEASURE: mean}, {MEASURE: gap} if i else {})
        for i in range(count)
    ]


@pytest.mark.parametrize("groups", [1, 4])
def test_a_row_for_each_value(groups: int, capsys: pytest.CaptureFixture[str]) -> None:
    scores = GridScores("judged by miniature", {MEASURE: []}, {"x": effects(30)}, groups)
    show.scores(scores)
    said = capsys.readouterr().out
    assert said.startswith("judged by miniature")
    assert said.count("0.300 [0.200, 0.400]") == show.ROWS
    assert said.count("+0.100 [+0.050, +0.150]") == show.ROWS - 1  # the first stands for itself
    assert f"and {30 - show.ROWS} more" in said
    assert ("with one prompt and seed" in said) == (groups == 1)


def test_where_to_look(capsys: pytest.CaptureFixture[str]) -> None:
    from kaiffin.experiments.grid.axes import Axis, Grid, Setting
    from kaiffin.experiments.grid.files import GridFiles
    from kaiffin.foundation.config import SampleConfig
    from kaiffin.stories.grid import MadeGrid

    grid = Grid({letter: Axis() for letter in "xyz"}, Setting("", 0, SampleConfig()), 1)
    pages = (Path("sheet.png"), Path("sheet-2.png"), Path("sheet-3.png"))
    show.grid(MadeGrid(grid, (), GridScores(), GridFiles(pages, Path("g.csv"), Path("g.json"))))
    assert capsys.readouterr().out == (
        "all of them on sheet.png and 2 further pages; the table beside it is g.csv\n"
    )
