"""The scores of a run as the page has them: rows, tiles, charts."""

import pytest
from made_run import STEPS, judge, made_run

from kaiffin.experiments.report import scorecards
from kaiffin.experiments.report.evidence import Evidence, read
from kaiffin.score.catalogue import MEASURES, TOLD
from kaiffin.score.choice import Choice


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    run = made_run(tmp_path_factory.mktemp("scored") / "run")
    judge(run)
    return read(run)


@pytest.fixture
def choice(found: Evidence) -> Choice:
    assert found.choice
    return found.choice


def test_each_measure_stands_beside_the_bases(choice: Choice) -> None:
    rows = {row.measure.name: row for row in scorecards.score_rows(choice)}
    assert list(rows) == [name for name in TOLD if name in choice.best.means]
    identity = rows["identity"]
    assert identity.base == f"{choice.base.means['identity'].mean:.3f}"
    assert identity.change.startswith("+0.4")
    assert identity.verdict == "clearly better"
    assert (rows["likeness"].base, rows["likeness"].change) == ("", "")  # is against it already


def test_the_numbers_behind_the_charts(choice: Choice) -> None:
    measures, rows = scorecards.candidate_rows(choice)
    assert [stop.step for stop, _ in rows] == [0, *STEPS]
    place = [measure.name for measure in measures].index("clip_t")
    assert [reading[place][:5] for _, reading in rows] == [
        f"{stop.means['clip_t'].mean:.3f}" for stop in choice.stops
    ]
    place = [measure.name for measure in measures].index("overall")
    assert rows[0][1][place] == ""  # the base has none


def test_the_few_that_matter_in_large_type(choice: Choice) -> None:
    found = {m.name: (value, beside) for m, value, beside in scorecards.tiles(choice)}
    assert list(found) == ["likeness", "prompt_share", "drift", "copy"]
    assert found["copy"][0] == "0%"
    assert found["drift"] == ("0.08", MEASURES["drift"].scale)
    assert scorecards.shown(choice.best.means["win"], "win") == "100%"


def test_charts_of_what_was_measured(choice: Choice) -> None:
    drawn = {measure.name: svg for measure, svg in scorecards.score_charts(choice)}
    assert "leak" not in drawn
    assert "real photos 0.800" in drawn["identity"]
    assert "real photos" not in drawn["likeness"]
    assert scorecards.trade_off(choice) is not None
    assert "Chosen: step 80" in drawn["overall"]


def test_the_loss_is_marked(found: Evidence) -> None:
    line = scorecards.loss_line(found)
    assert line
    assert (len(line.steps), line.name) == (120, "run")
    assert "chosen: step 80" in scorecards.loss_curve(found, line)
