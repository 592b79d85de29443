"""What a caller may ask for, and what a job keeps of it."""

from typing import Any

import pytest
from pydantic import ValidationError

from kaiffin.foundation.config import Config
from kaiffin.foundation.errors import ConfigError
from kaiffin.foundation.settings import build
from kaiffin.serve.requests import Choose, Compare, Generate, Grid, Rank, Sweep, Train, Worn

ID, OTHER = "a" * 16, "b" * 16


def test_a_training_is_frozen_whole() -> None:
    frozen = Train(dataset=ID, config={"train": {"steps": 5}}).frozen()
    assert build(frozen["config"], "job") == build({"train": {"steps": 5}}, "own")
    assert frozen["dataset"] == ID
    assert frozen["config"]["data"]["photos"] is None


@pytest.mark.parametrize(
    "config",
    [
        {"data": {"photos": "/etc"}}, {"adapter": {"init_from": "x.safetensors"}},
        {"base": {"name": "org/model"}}, {"base": {"name": "../x"}}, {"base": {"vae": "org/vae"}},
        {"score": {"judge": "org/clip"}}, {"score": {"like": "x"}}, {"score": {"prompts": "x"}},
        {"phases": [{"name": "one", "photos": "/etc"}]}, {"train": {"steps": 20_001}},
        {"adapter": {"rank": 257}}, {"sample": {"size": [2056, 64]}}, {"train": {"lr": "1e-4x"}},
        {"adapter": {"rules": [{"layers": "*", "rank": 257}]}},
        {"subject": {"token": "x" * 2001}}, {"base": {"device": "cuda"}},
    ],
)  # fmt: skip
def test_what_is_no_callers(config: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Train(dataset=ID, config=config)


def test_of_scores_and_pictures_only_what_is_given_is_kept() -> None:
    """The rest is the run's own."""
    given = Choose(run=ID, score={"seeds": 1}).frozen()
    assert (given["score"], given["sample"]) == ({"seeds": 1}, {})
    assert Choose(run=ID).frozen()["score"] == Compare(runs=[ID, OTHER]).frozen()["score"] == {}


def test_what_does_not_go_together_is_said_by_the_config() -> None:
    with pytest.raises(ConfigError, match="divisible by 8"):
        Train(dataset=ID, config={"sample": {"size": [65, 64]}}).frozen()
    with pytest.raises(ConfigError, match="text_encoder"):
        Train(dataset=ID, config={"adapter": {"text_rank": 4}}).frozen()
    with pytest.raises(ValidationError, match="no phase 'two'"):
        Train(dataset=ID, config={"phases": [{"name": "one"}]}, phase_datasets={"two": OTHER})


def test_each_of_several_subjects_has_its_photos() -> None:
    two = {"subjects": [{"token": "kai"}, {"token": "tobbul"}]}
    asked = Train(dataset=ID, config=two, subject_datasets=(OTHER,))
    assert asked.frozen()["config"]["subject"]["token"] == "kai"
    with pytest.raises(ValidationError, match="0 for 1 of config"):
        Train(dataset=ID, config=two)
    alike = {"subjects": [{"token": "kai"}, {"token": "Kai"}]}
    with pytest.raises(ConfigError, match="two of subjects have the word"):
        Train(dataset=ID, config=alike, subject_datasets=(OTHER,)).frozen()
    with pytest.raises(ValidationError, match="photos"):  # no path comes from outside
        Train(dataset=ID, config={"subjects": [{"token": "kai", "photos": "/etc"}]})


def test_pictures_have_one_source_and_an_end() -> None:
    kept = Generate(base="miniature", prompts=["a"], sample={"steps": 3}).frozen()
    assert kept["sample"] == {"steps": 3}
    worn = (Worn(adapter=ID, weights="unet=0.8,text=0.4"),)
    assert Generate(run=ID, prompts=["a"], adapters=worn, checkpoint=40).frozen()["run"] == ID
    for bad in (
        {"prompts": ["a"]}, {"run": ID, "base": "miniature", "prompts": ["a"]},
        {"base": "miniature", "prompts": []}, {"base": "miniature", "prompts": ["a"] * 33},
        {"base": "miniature", "prompts": ["a"] * 8, "count": 9},
        {"base": "miniature", "prompts": ["a"], "best": 2}, {"base": "miniature", "prompts": [""]},
        {"base": "miniature", "prompts": ["a"], "checkpoint": "best"},
        {"base": "miniature", "prompts": ["a"], "seed": 2**63 - 1},
        {"base": "miniature", "prompts": ["x" * 100_000]}, {"run": "../../etc", "prompts": ["a"]},
        {"base": "miniature", "prompts": ["a"], "sample": {"steps": 151}},
        {"base": "miniature", "prompts": ["a"], "adapters": [{"adapter": ID, "weights": "a/b"}]},
        {"run": ID, "prompts": ["a"], "regions": ["rows"], "start": {"detail": "dog"}},
    ):  # fmt: skip
        with pytest.raises(ValidationError):
            Generate(**bad)


def test_axes_read_no_file_and_no_range() -> None:
    sizes = {"name": "size", "values": ["64x64", "128x64"]}
    prompts = {"name": "prompt", "values": ["a dog, running", "a cat"]}
    kept = Grid(base="miniature", x=sizes, y=prompts).frozen()
    assert kept["axes"] == {"x": "size=64x64,128x64", "y": "prompt=a dog, running|a cat"}
    for axis in (
        {"name": "adapter", "values": ["/etc/passwd"]}, {"name": "prompt", "values": ["@/etc/x"]},
        {"name": "prompt", "values": ["a|b"]}, {"name": "steps", "values": ["1..10000"]},
        {"name": "steps", "values": ["1"] * 33},
    ):  # fmt: skip
        with pytest.raises(ValidationError):
            Grid(base="miniature", prompt="a", x=axis)
    with pytest.raises(ValidationError, match="64 pictures"):
        Grid(base="miniature", prompt="a", x=sizes, count=33)


def test_a_sweeps_values_stay_below_the_ceilings() -> None:
    good: dict[str, Any] = {"dataset": ID, "prompts": ["a"], "grid": {"train.lr": [1e-4, 2e-4]}}
    assert Sweep(**good).frozen()["grid"] == {"train.lr": [1e-4, 2e-4]}
    for grid in ({"train.steps": [30_000]}, {"sample.size": ["4096x64"]}):
        with pytest.raises((ValidationError, ConfigError)):
            Sweep(**{**good, "grid": grid}).frozen()
    with pytest.raises(ConfigError, match=r"unknown setting 'data\.photos'"):
        Sweep(**{**good, "grid": {"data.photos": ["/etc"]}}).frozen()
    with pytest.raises(ConfigError, match="64 trials"):
        Sweep(**{**good, "grid": {"train.seed": list(range(9)), "train.lr": [1e-4] * 8}}).frozen()


def test_defaults_are_the_configs() -> None:
    assert build(Train(dataset=ID).frozen()["config"], "job") == Config()
    assert Rank(images=[ID], prompt="a").frozen()["best"] is None
