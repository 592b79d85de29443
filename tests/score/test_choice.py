"""A choice written and read again; what is damaged, gone or outside its folder."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from kaiffin.foundation.errors import RunError
from kaiffin.score.choice import Choice, Prompt, Rival, Stop, difference, inside, means_of, read
from kaiffin.score.statistics import Interval, clustered

PROMPTS = (Prompt("a kai in the snow", "a thing in the snow", "scenes"), Prompt("a", "a", "class"))


def stop(folder: Path, step: int, likeness: float) -> Stop:
    rows, pictures = [], []
    for prompt in range(len(PROMPTS)):
        for seed in (1, 2):
            path = folder / f"{step}-{prompt}-{seed}.png"
            Image.new("RGB", (4, 4)).save(path)
            pictures.append(path)
            section = PROMPTS[prompt].section
            value = likeness + seed / 100 if section == "scenes" else None
            rows.append({"prompt": prompt, "seed": seed, "section": section, "likeness": value,
                         "copy": seed == 2, "nearest": "one.png"})  # fmt: skip
    means = means_of(rows) | ({"overall": Interval(0.5, 0.4, 0.6, 2)} if step else {})
    more = (f"candidates/kai-step-{step}.safetensors", "ab" * 32, 0.25) if step else ()
    return Stop(step, tuple(pictures), tuple(rows), means, *more)


@pytest.fixture
def choice(tmp_path: Path) -> Choice:
    return Choice(
        judge="miniature", identity_judge="dino",
        references={"kind": "held-out", "photos": ["one.png"], "ceiling": 0.8, "words": "w"},
        prompts=PROMPTS, seeds=(1, 2), base=stop(tmp_path, 0, 0.0),
        candidates=(stop(tmp_path, 10, 0.3), stop(tmp_path, 20, 0.7)), chosen=10, highest=20,
        verdict="take it", sample={"steps": 4, "size": [8, 8]}, pareto=(10, 20),
        against=Rival(20, Interval(-0.1, -0.2, 0.1, 4)), findings=("one",), cost={"seconds": 2.5},
    )  # fmt: skip


def test_it_is_read_as_it_was_written(choice: Choice, tmp_path: Path) -> None:
    again = read(json.loads(json.dumps(choice.as_json(tmp_path))), tmp_path)
    assert again == choice
    assert again.best.step == 10
    assert [one.label for one in again.stops] == ["base", "step 10", "step 20"]
    assert again.slots == [(0, 1), (0, 2), (1, 1), (1, 2)]


def test_the_file_holds_what_it_always_held(choice: Choice, tmp_path: Path) -> None:
    """Reports and scripts read it: names and their order stay."""
    data = choice.as_json(tmp_path)
    assert list(data) == [
        "version", "judge", "identity_judge", "references", "set", "base", "candidates", "pareto",
        "chosen", "highest", "against", "verdict", "findings", "cost",
    ]  # fmt: skip
    assert list(data["set"]) == ["prompts", "seeds", "sample"]
    assert list(data["base"]) == ["pictures", "rows"]
    assert list(data["candidates"][0]) == [
        "step", "adapter", "sha256", "loss", "pictures", "rows", "means", "overall",
    ]  # fmt: skip
    assert data["candidates"][0]["pictures"][0] == "10-0-1.png"
    assert data["candidates"][0]["overall"]["mean"] == 0.5
    assert "overall" not in data["candidates"][0]["means"]
    assert data["against"] == {
        "step": 20, "difference": {"mean": -0.1, "low": -0.2, "high": 0.1, "n": 4},
    }  # fmt: skip


def test_a_file_that_says_little_is_read(choice: Choice, tmp_path: Path) -> None:
    """One candidate, without means: they are taken from the rows."""
    data = choice.as_json(tmp_path)
    for name in ("pareto", "highest", "against", "verdict", "findings", "cost"):
        del data[name]
    del data["set"]["sample"], data["candidates"][0]["means"], data["set"]["prompts"][0]["plain"]
    found = read(data, tmp_path)
    assert found.best.means["likeness"] == choice.best.means["likeness"]
    assert (found.highest, found.against, found.pareto) == (10, None, ())
    assert found.prompts[0].plain == PROMPTS[0].text


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"version": 7}, "is of version 7, not 1"),
        ({"chosen": 11}, "is damaged"),
        ({"candidates": [{}]}, "is damaged"),
        ({"seeds": None, "set": {"prompts": [], "seeds": []}}, "is damaged"),
    ],
)
def test_what_is_damaged_names_the_way_out(
    choice: Choice, tmp_path: Path, change: dict, said: str
) -> None:
    with pytest.raises(RunError, match=said) as caught:
        read(choice.as_json(tmp_path) | change, tmp_path)
    assert f"kaiffin choose {tmp_path}" in caught.value.fix


def test_pictures_stay_within_the_folder(choice: Choice, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    Image.new("RGB", (4, 4)).save(run / "own.png")
    (run / "link.png").symlink_to(tmp_path / "10-0-1.png")
    assert inside(run, "own.png") == run / "own.png"
    for name in ("../10-0-1.png", str(tmp_path / "10-0-1.png"), "link.png", "gone.png", ""):
        assert inside(run, name) is None, name
    (tmp_path / "10-0-1.png").unlink()
    found = read(choice.as_json(tmp_path), tmp_path)
    assert found.best.pictures[0] is None
    assert found.best.pictures[1] is not None


def test_means_are_over_prompts_and_only_of_what_was_measured() -> None:
    rows = [
        {"prompt": 0, "seed": 1, "section": "scenes", "win": 1.0, "leak": None, "nearest": "a"},
        {"prompt": 0, "seed": 2, "section": "scenes", "win": 0.0, "leak": None, "nearest": "a"},
        {"prompt": 1, "seed": 1, "section": "class", "win": 1.0, "leak": 0.25, "nearest": None},
    ]  # fmt: skip
    found = means_of(rows)
    assert set(found) == {"win", "leak"}
    assert found["win"] == clustered([1.0, 0.0, 1.0], [0, 0, 1])
    assert (found["leak"].mean, found["leak"].n) == (0.25, 1)


def test_a_difference_is_in_pairs(choice: Choice) -> None:
    """The seeds differ and the difference does not: the interval is a point."""
    first, second = choice.candidates
    gap = difference(first, second, "likeness")
    assert gap is not None
    assert (gap.mean, gap.low, gap.high) == (pytest.approx(0.4),) * 3
    assert gap.n == 2
    assert difference(first, second, "clip_t") is None


def test_what_is_no_number_is_left_out(choice: Choice, tmp_path: Path) -> None:
    data = choice.as_json(tmp_path)
    data["candidates"][0]["rows"][0]["likeness"] = math.nan
    data["candidates"][0]["means"]["likeness"]["mean"] = math.nan
    data["candidates"][0]["loss"] = math.inf
    found = read(data, tmp_path).best
    assert found.rows[0]["likeness"] is None
    assert "likeness" not in found.means
    assert found.loss is None
    assert replace(found, step=0).label == "base"
