"""The demo's end on the terminal: before and after, whether it is a gain, where to look."""

from dataclasses import replace
from pathlib import Path

import pytest
from made_run import judge, made_run

from kaiffin.cli.show.demo import demo
from kaiffin.score.choice import read
from kaiffin.score.statistics import Interval
from kaiffin.stories.demo import Demo
from kaiffin.stories.generate import Pictures


def test_before_after_and_gain(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = made_run(tmp_path / "run")
    choice = read(judge(run), run.path)
    means = {"identity": Interval(0.3, 0.2, 0.4, 4), "clip_t": Interval(0.25, 0.2, 0.3, 4)}
    base = replace(choice.base, means={**choice.base.means, **means})
    choice = replace(choice, base=base, references={**choice.references, "clip_t": 0.31})
    none = Pictures((), tmp_path, tmp_path / "none.png")
    sheet, page = tmp_path / "sheet.png", tmp_path / "report.html"
    gains = {"identity": Interval(0.4, 0.3, 0.5, 4)}
    demo(Demo(run, (), none, none, choice, gains, sheet, page, 61.2))
    said = capsys.readouterr().out
    assert f"0.300 [0.200, 0.400] -> {choice.best.means['identity'].mean:.3f}" in said
    assert "true pictures 0.800" in said
    assert said.count("gain on the same prompts and seeds") == 1
    assert f"done in 61 s. Look at {sheet}" in said
    assert str(page) in said
