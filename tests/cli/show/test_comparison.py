"""A comparison on the terminal: settings, means, and how each run stands against the first."""

from dataclasses import replace
from pathlib import Path

import pytest
from made_run import judge, made_run

from kaiffin.cli.show.comparison import comparison, scores
from kaiffin.score.choice import read
from kaiffin.score.statistics import Interval
from kaiffin.stories.compare import Comparison, Difference


@pytest.fixture
def found(tmp_path: Path) -> Comparison:
    runs = [made_run(tmp_path / name) for name in ("one", "two")]
    choices = tuple(read(judge(run), run.path) for run in runs)
    gap = Difference(Interval(0.1, 0.05, 0.2, 8), "better")
    return Comparison(
        ("one", "two"), choices, {"train.lr": [1e-4, 1e-3]}, ("the same 2 photos",),
        ({"identity": gap},), tmp_path / "c.json", tmp_path / "c.png", tmp_path / "c.html",
    )  # fmt: skip


def test_the_runs_side_by_side(found: Comparison) -> None:
    rows = {row[0]: row[1:] for row in scores(found).rows}
    mean = f"{found.choices[0].best.means['identity'].mean:.3f}"
    assert rows["identity"] == [mean, f"{mean} (+0.050 to +0.200: better)"]
    assert rows["drift"][0] == rows["drift"][1]  # no difference was worked out
    assert not {"overall", "contrast", "nearness", "variety"} & set(rows)


def test_what_differs_is_said(found: Comparison, capsys: pytest.CaptureFixture[str]) -> None:
    comparison(found)
    said = capsys.readouterr().out
    assert "train.lr" in said
    assert "0.001" in said
    assert "the same 2 photos" in said
    assert "in brackets: against one, 95 %; one training each" in said
    assert str(found.numbers) in said
    comparison(replace(found, settings={}))
    assert "the same settings" in capsys.readouterr().out
