"""Several runs on one page: what differs, what is shared, what cannot be compared."""

import re
from dataclasses import asdict
from pathlib import Path

import pytest
from html_page import Page
from made_run import BASE, judge, made_run
from PIL import Image

from kaiffin.experiments.report import evidence
from kaiffin.experiments.report.album import Album
from kaiffin.experiments.report.overview import Overview, overview
from kaiffin.foundation.errors import RunError
from kaiffin.foundation.run import Run
from kaiffin.pictures.recipe import save_png
from kaiffin.pictures.request import Request
from kaiffin.stories.report import report


def side_by_side(*runs: Run) -> Overview:
    return overview([evidence.read(run) for run in runs], Album(runs[0].path))


def test_two_runs(tmp_path: Path) -> None:
    one = made_run(tmp_path / "one")
    two = made_run(tmp_path / "two", **{"train.lr": 1e-3, "adapter.rank": 4})
    judge(one)
    judge(two, chosen=120)
    path = report([one.path, two.path], tmp_path / "both.html").path
    page = Page(path)
    found = side_by_side(one, two)
    assert found.settings == [("adapter.rank", ["None", "4"]), ("train.lr", ["None", "0.001"])]
    assert found.steps == ["80 of 120", "120 of 120"]
    assert not found.warning
    assert not found.unjudged
    assert found.columns == ["base", "one", "two"]
    assert len(found.grid) == 5  # a seed of each prompt
    assert {row.seed for row in found.grid} == {1}
    assert "2 runs side by side" in page.html
    assert page.html.count('<details class="whole"') == 2
    assert set(page.data["runs"]) == {"run1", "run2"}
    # Both runs made the same base pictures: the page holds them once.
    urls = re.findall(r"data:image/webp;base64,[\w+/=]+", page.html)
    assert len(urls) == len(set(urls)) == 10 + 3 * 10 + 2
    assert path.stat().st_size < 5_000_000


def test_runs_that_were_judged_differently(tmp_path: Path) -> None:
    one, two = made_run(tmp_path / "one"), made_run(tmp_path / "two")
    judge(one)
    choice = judge(two, seeds=(2, 3)) | {"judge": "another"}
    two.write_json("choice.json", choice)
    found = side_by_side(one, two)
    assert found.warning == (
        "The runs were judged by different judges, on different seeds: their scores cannot be"
        " compared."
    )
    assert {row.seed for row in found.grid} == {2}
    assert found.grid_notes[0] == "The runs share 5 of 15 prompts with their seeds."
    assert found.warning in report([one.path, two.path], tmp_path / "a.html").path.read_text()


def test_runs_with_nothing_in_common(tmp_path: Path) -> None:
    one, two, three = (made_run(tmp_path / name) for name in ("one", "two", "three"))
    judge(one, seeds=(1,))
    judge(two, seeds=(2,))
    found = side_by_side(one, two, three)
    assert not found.grid
    assert "no prompt and seed in common" in found.grid_notes[0]
    assert found.unjudged == [three.path]
    assert "kaiffin choose" in report([one.path, three.path], tmp_path / "a.html").path.read_text()


def test_pictures_of_runs_that_were_not_judged(tmp_path: Path) -> None:
    """Two runs with pictures in images/ of the same prompt and seed, by their own recipes."""
    runs = [made_run(tmp_path / name) for name in ("one", "two")]
    for i, run in enumerate(runs):
        recipe = {
            "kaiffin": "1", "torch": "2", "device": "cpu", "dtype": "float32", "base": BASE,
            "adapters": [],
            "request": asdict(Request("a bird", 7, 8, 8)),
        }  # fmt: skip
        path = run.folder("images") / f"{i}.png"
        save_png(Image.new("RGB", (8, 8), (i, 0, 0)), path, recipe)
    found = side_by_side(*runs)
    assert found.columns == ["one", "two"]
    assert [(row.prompt, row.seed, len(row.cells)) for row in found.grid] == [("a bird", 7, 2)]


def test_the_folder_of_a_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("slow-seed0", "fast-seed0"):
        made_run(tmp_path / "sweep" / "runs" / name)
    monkeypatch.chdir(tmp_path)
    path = report([Path("sweep"), Path("sweep/runs/slow-seed0")]).path  # the second is named twice
    assert path == Path("report.html")
    names = re.findall(r'<th scope="col"><a href="#run\d">([^<]+)', path.read_text())
    assert names == ["fast-seed0", "slow-seed0"]
    (tmp_path / "empty" / "runs").mkdir(parents=True)
    with pytest.raises(RunError, match="holds no runs"):
        report([tmp_path / "empty"])


def test_runs_of_one_name_are_told_apart(tmp_path: Path) -> None:
    found = side_by_side(made_run(tmp_path / "a" / "run"), made_run(tmp_path / "b" / "run"))
    assert found.names == ["a/run", "b/run"]
