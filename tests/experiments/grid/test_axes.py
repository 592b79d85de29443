"""How the values of an axis are written, and what they do to a picture."""

from pathlib import Path
from typing import Any

import pytest

from kaiffin.adapters.strength import PLAIN
from kaiffin.experiments.grid import axes
from kaiffin.experiments.grid.axes import Axis, Setting, Value
from kaiffin.foundation.config import Config
from kaiffin.foundation.run import Run


def values(text: str, run: Run | None = None) -> list[Any]:
    start = Setting("a dog", 0, Config().sample, run.adapter_path if run else Path("f"))
    return [value.effect for value in axes.read({"x": text}, start, run, Config())["x"].values]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("guidance=3,5,7.5", [3.0, 5.0, 7.5]),
        ("sample.guidance=1..2/0.5", [1.0, 1.5, 2.0]),
        ("steps=10..30/8,40", [10, 18, 26, 40]),
        ("seed = 3..5, 9", [3, 4, 5, 9]),
        ("size=64x96, 512x768", [(64, 96), (512, 768)]),
        ("negative=|green, blurry", ["", "green, blurry"]),
        ("prompt=a dog, asleep", ["a dog, asleep"]),
        ("prompt=a {token} | a cat, awake", ["a kaiffin", "a cat, awake"]),
        ("weight=1..0.3, 0.5", ["1..0.3", "0.5"]),
        ("weight=unet=0.5,text=1|0.2", ["1,unet.*=0.5,text_encoder*=1", "0.2"]),
    ],
)
def test_values_as_they_are_written(text: str, expected: list[Any]) -> None:
    found = values(text)
    assert [str(v) for v in found] == expected if "weight" in text else found == expected


def test_prompts_from_a_file_and_titles_that_can_be_told_apart(tmp_path: Path) -> None:
    (tmp_path / "scenes.txt").write_text("a dog, | asleep\na cat\n")
    assert values(f"prompt=@{tmp_path / 'scenes.txt'}") == ["a dog, | asleep", "a cat"]
    start = Setting("", 0, Config().sample)
    long = "a very long prompt " * 30
    axis = axes.read({"y": f"prompt={long} one|{long} two"}, start, None, Config())["y"]
    assert [value.title[:5] for value in axis.values] == ["1. a ", "2. a "]
    empty = axes.read({"z": "negative=|blurry"}, start, None, Config())["z"]
    assert [value.title for value in empty.values] == ["1. no negative", "2. negative blurry"]


def test_axes_may_come_in_any_order() -> None:
    """The weight belongs to the adapter that another axis names, before or after it."""
    weight = values("weight=0.5")[0]
    file = Axis("adapter", (Value(Path("a"), "a", "a"),))
    strength = Axis("weight", (Value(weight, 0.5, "weight 0.5"),))
    for pair in ((file, strength), (strength, file)):
        setting = Setting("a dog", 0, Config().sample, Path("own"), PLAIN)
        for axis in pair:
            setting = axis.applied(0, setting)
        assert (setting.file, setting.weights) == (Path("a"), weight)
