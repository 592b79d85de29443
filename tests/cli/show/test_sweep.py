"""How a sweep's answer is shown: a row a trial, differences below the means, what judged."""

from pathlib import Path

import pytest

from kaiffin.cli.show import sweep as show
from kaiffin.experiments.sweep.standings import Standing
from kaiffin.score.statistics import Interval
from kaiffin.stories.sweep import Sweep


def answer(judge: str | None, sheet: Path | None = Path("out/sheet.png")) -> Sweep:
    mean, gap = Interval(0.3, 0.2, 0.4, 4), Interval(0.1, 0.05, 0.15, 4)
    means, against = dict.fromkeys(("clip_t", "identity"), mean), {"clip_t": gap}
    against["identity"] = Interval(0.1, -1, 1, 4)  # not clear
    stand = [Standing("plain", 2, means, {}), Standing("slow", 2, means, against)]
    losses = {"plain": 0.5, "slow": 0.25}
    return Sweep(Path("out"), [], stand if judge else [], losses, {}, judge, sheet, 1.0)


def test_a_row_for_each_trial_with_what_is_clear(capsys: pytest.CaptureFixture[str]) -> None:
    show.sweep(answer("miniature"))
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines[1].startswith("plain 2 0.5000 0.300 [0.200, 0.400]")
    assert lines[2].startswith("slow 2 0.2500 0.300 [0.200, 0.400]")
    assert lines[3] == "+0.100 [+0.050, +0.150] * +0.100 [-1.000, +1.000]"
    assert lines[4] == (
        "judged by miniature; below the means: against plain, in pairs, 95 % over training seeds"
        " (Student's); * is clear"
    )
    assert lines[5] == "the first picture of each prompt: out/sheet.png"


def test_without_a_judge_there_is_nothing_judged(capsys: pytest.CaptureFixture[str]) -> None:
    show.sweep(answer(None))
    assert "judged by" not in capsys.readouterr().out
    show.sweep(answer(None, sheet=None))
    assert capsys.readouterr().out == ""
