"""What generate, rank and demo hand on to their stories."""

from pathlib import Path
from typing import Any

import pytest

from kaiffin.cli.main import main
from kaiffin.cli.pictures import numbers
from kaiffin.cli.show import pictures as show
from kaiffin.foundation.errors import ConfigError
from kaiffin.pictures.named import Library
from kaiffin.stories import generate


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What reaches the stories of generate, instead of pictures."""
    found: list[Any] = []
    monkeypatch.setattr(generate, "generate", lambda order, **more: found.append((order, more)))
    monkeypatch.setattr(generate, "remake", lambda *words, **more: found.append((words, more)))
    monkeypatch.setattr(show, "made", lambda pictures: None)
    monkeypatch.setattr(show, "again", lambda picture: None)
    return found


def test_an_order_is_all_that_was_asked(asked: list[Any]) -> None:
    words = ["generate", "RUN", "a dog", "-n", "3", "--seed", "7", "--adapter", "a:0.5"]
    words += ["--adapter", "b", "--blend", "0,0.5", "--checkpoint", "best", "--no-metadata"]
    assert main([*words, "--out", "here", "--steps", "9", "--sample.eta=0.1"]) == 0
    ((order, more),) = asked
    assert order == generate.Order(
        "RUN", ["a dog"], count=3, seed=7, adapters=["a:0.5", "b"], blends=[0, 0.5],
        checkpoint="best", out=Path("here"), metadata=False, library=Library(()),
    )  # fmt: skip
    assert more["changes"] == {"sample.steps": "9", "sample.eta": "0.1"}


def test_any_seed_is_drawn_and_said(asked: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        assert main(["generate", "RUN", "a dog", "--seed", "-1"]) == 0
    seeds = [order.seed for order, _ in asked]
    assert min(seeds) >= 0
    assert seeds[0] != seeds[1]
    said = capsys.readouterr().out.splitlines()
    assert said == [f"seed {seed}, drawn as --seed -1 asks" for seed in seeds]


@pytest.mark.parametrize(
    ("seed", "said"),
    [("-2", "must be at least -1"), (str(2**63), f"must be at most {2**63 - 1}"),
     ("1.5", "not a whole number"), ("x", "not a whole number"), ("", "not a whole number")],
)  # fmt: skip
def test_what_is_no_seed(
    seed: str, said: str, asked: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["generate", "RUN", "a dog", f"--seed={seed}"]) == 2
    error = capsys.readouterr().err
    assert "--seed" in error
    assert said in error
    assert not asked


def test_a_picture_is_made_again_without_a_prompt(
    asked: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["generate", "--from", "a.png"]) == 0
    ((words, more),) = asked
    assert words == (Path("a.png"), Path("images"))
    assert more["metadata"] is True
    assert main(["generate", "RUN", "--from", "a.png"]) == 2
    assert "takes no prompt" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--judge", "miniature"], ["--score.like", "photos"]])
def test_a_judge_without_a_choice_is_refused(
    words: list[str], asked: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["generate", "RUN", "a dog", *words]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"kaiffin: {words[0]}")
    assert "has no effect without --best" in said
    assert not asked
    assert main(["generate", "RUN", "a dog", *words, "--best", "1"]) == 0
    assert len(asked) == 1


def test_numbers() -> None:
    assert numbers("--blend", None) == []
    assert numbers("--blend", "0, 0.5,1") == [0, 0.5, 1]
    with pytest.raises(ConfigError, match="--blend '0;1' is not a list of numbers"):
        numbers("--blend", "0;1")
