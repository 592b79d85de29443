"""A choice on the terminal: the chosen row is marked, and only what was measured has a number."""

from pathlib import Path

import pytest
from made_run import judge, made_run

from kaiffin.cli.show.choice import advice, scores
from kaiffin.score.choice import read
from kaiffin.stories.choose import Advice


@pytest.fixture
def found(tmp_path: Path) -> Advice:
    run = made_run(tmp_path / "run")
    choice = read(judge(run), run.path)
    return Advice(run.path, choice, run.best_path, run.choice_path.with_suffix(".png"))


def test_a_row_for_each_candidate(found: Advice) -> None:
    table = scores(found.choice)
    assert table.columns == [
        "step", "likeness", "prompt", "identity", "CLIP-T", "recognised", "drift", "leak", "copies",
        "overall",
    ]  # fmt: skip
    assert [row[0] for row in table.rows] == ["40", "80 *", "120"]
    best = found.choice.best.means
    assert table.rows[1][1] == f"{best['likeness'].mean:.3f}"
    whole = best["overall"]
    assert table.rows[1][-1] == f"{whole.mean:.3f} [{whole.low:.2f}, {whole.high:.2f}]"


def test_the_verdict_and_where_to_look(found: Advice, capsys: pytest.CaptureFixture[str]) -> None:
    advice(found)
    said = capsys.readouterr().out
    assert "judged by miniature; compared with 1 photo" in said
    assert "real photos reach identity 0.800" in said
    assert "Pareto set (likeness, prompt, drift): 40, 80" in said
    assert f"{found.choice.verdict}: {found.adapter}" in said
    assert f"`kaiffin report {found.run}` shows it all" in said
