"""What a grid leaves in its folder: tables, pages, and names that overwrite no other grid."""

import csv
import json
from pathlib import Path

import pytest
from PIL import Image

from kaiffin.experiments.grid import files
from kaiffin.experiments.grid.axes import Axis, Grid, Setting, Value
from kaiffin.experiments.grid.effects import Effect, GridScores
from kaiffin.foundation.config import SampleConfig
from kaiffin.foundation.sheets import PAGE
from kaiffin.score.statistics import Interval


def guidance(*values: float) -> Axis:
    return Axis("guidance", tuple(Value(v, v, f"guidance {v:g}") for v in values))


def made_grid(folder: Path, count: int = 1, **axes: Axis) -> tuple[Grid, list[Path]]:
    """A grid by its axes, with a picture for each cell."""
    start = Setting("a dog", 3, SampleConfig(negative="blurry"))
    grid = Grid({letter: axes.get(letter, Axis()) for letter in "xyz"}, start, count)
    (folder / "pictures").mkdir(exist_ok=True)
    paths = [folder / "pictures" / f"{'-'.join(map(str, c.places))}.png" for c in grid.cells]
    for i, path in enumerate(paths):
        Image.new("RGB", (32, 16), (i * 20, 0, 0)).save(path)
    return grid, paths


def test_the_tables_hold_a_row_a_picture_with_its_scores(tmp_path: Path) -> None:
    grid, paths = made_grid(tmp_path, 2, x=guidance(3.0, 5.0))
    mean = Interval(0.2, 0.1, 0.3, 2)
    effects = {"guidance": [Effect(3.0, "guidance 3", {"clip_t": mean}, {})]}
    scored = GridScores("judged by me", {"clip_t": [0.1, 0.2, 0.3, 1 / 3]}, effects, 2)
    found = files.write(tmp_path, "runs/dog", grid, paths, scored)
    assert found.sheets == (tmp_path / "grid.png",)
    with found.csv.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert rows[0] == {
        "file": "pictures/0-0-0-0.png", "prompt": "a dog", "seed": "3", "guidance": "3.0",
        "clip_t": "0.1",
    }  # fmt: skip
    assert [(row["seed"], row["guidance"]) for row in rows] == [
        ("3", "3.0"), ("4", "3.0"), ("3", "5.0"), ("4", "5.0"),
    ]  # fmt: skip
    assert rows[3]["clip_t"] == "0.333333"
    facts = json.loads(found.json.read_text())
    assert facts["axes"] == {"x": {"name": "guidance", "values": [3.0, 5.0]}}
    assert (facts["source"], facts["judged"]) == ("runs/dog", "judged by me")
    assert facts["effects"]["guidance"][0]["mean"]["clip_t"]["mean"] == 0.2


def test_the_sheet_shows_the_first_of_each_cell(tmp_path: Path) -> None:
    grid, paths = made_grid(tmp_path, 2, x=guidance(3.0, 5.0))
    found = files.write(tmp_path, "runs/dog", grid, paths, GridScores())
    with Image.open(found.sheets[0]) as sheet:
        colours = {colour for _, colour in sheet.getcolors(10**6)}
    assert {(0, 0, 0), (40, 0, 0)} <= colours
    assert not {(20, 0, 0), (60, 0, 0)} & colours
    common = files._common("runs/dog", grid)
    assert common == (
        "dog  ·  seed 3  ·  25 steps  ·  dpm++2m  ·  negative blurry  ·  the first of 2 pictures"
        " each"
    )


def test_the_same_grid_is_written_again_and_another_beside_it(tmp_path: Path) -> None:
    grid, paths = made_grid(tmp_path, x=guidance(3.0, 5.0))
    wide, more = made_grid(tmp_path, x=guidance(3.0, 5.0, 7.0))
    judged = GridScores("judged by me", {"clip_t": [0.1, 0.2]})
    names = []
    for one, where, scores in (
        (grid, paths, GridScores()), (wide, more, GridScores()), (grid, paths, judged),
        (grid, paths, GridScores()), (grid, paths, judged),
    ):  # fmt: skip
        names.append(files.write(tmp_path, "dog", one, where, scores).csv.stem)
    assert names == ["grid", "grid-2", "grid-3", "grid", "grid-3"]


@pytest.mark.parametrize("text", ["{", "[]", '{"pictures": 1}', '{"pictures": [{}]}', "null"])
def test_a_damaged_table_is_left_alone(tmp_path: Path, text: str) -> None:
    (tmp_path / "grid.json").write_text(text)
    grid, paths = made_grid(tmp_path, x=guidance(3.0))
    assert files.write(tmp_path, "dog", grid, paths, GridScores()).csv.stem == "grid-2"
    assert (tmp_path / "grid.json").read_text() == text


def test_what_does_not_fit_goes_on_further_pages(tmp_path: Path) -> None:
    many = guidance(*(float(i) for i in range(PAGE // 100)))
    grid, paths = made_grid(tmp_path, x=many)
    found = files.write(tmp_path, "dog", grid, paths, GridScores())
    assert [path.name for path in found.sheets] == ["grid.png", "grid-page2.png"]
    assert all(path.is_file() for path in found.sheets)
