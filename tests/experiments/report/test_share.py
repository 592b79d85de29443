"""The picture of a link: its size, what stands on it, and that the page names it."""

from pathlib import Path

import pytest
from made_run import judge, made_run
from PIL import Image

from kaiffin.experiments.report import share
from kaiffin.experiments.report.evidence import read
from kaiffin.foundation.run import Run
from kaiffin.stories.report import report


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = made_run(tmp_path_factory.mktemp("share") / "run")
    judge(run, paint=lambda step, i, seed: Image.new("RGB", (64, 96), (2 * step, 90, 9)))
    return run


def test_it_shows_before_and_after(run: Run) -> None:
    report([run.path])
    picture = Image.open(run.path / "share.png")
    assert picture.size == (1200, 630)
    left, right = (share.EDGE + place * (share.SIDE + 24) + 100 for place in (0, 1))
    assert picture.getpixel((left, 200)) == (0, 90, 9)
    assert picture.getpixel((right, 200)) == (160, 90, 9)  # of the chosen step, 80


def test_the_pair_is_the_one_nearest_to_the_subject(run: Run) -> None:
    choice = read(run).choice
    assert choice is not None
    _, after, prompt = share.pair(choice) or ("", "", "")
    rows = dict(zip(choice.best.pictures, choice.best.rows, strict=True))
    shown = [row for row in rows.values() if row["section"] in share.SUBJECT]
    assert rows[after]["likeness"] == max(row["likeness"] for row in shown)
    assert "kaiffin bird" in prompt


def test_the_page_names_it(run: Run, tmp_path: Path) -> None:
    page = report([run.path], tmp_path / "of it.html").path
    assert '<meta property="og:image" content="of it-share.png">' in page.read_text()
    assert (tmp_path / "of it-share.png").is_file()


def test_a_run_that_was_never_judged_has_none(tmp_path: Path) -> None:
    run = made_run(tmp_path / "run")
    page = report([run.path]).path
    assert "og:image" not in page.read_text()
    assert not (run.path / "share.png").exists()
