"""The build of the miniature: its flags are the fields of its config."""

import re
from pathlib import Path
from typing import Any

import pytest

from kaiffin.cli.main import main
from kaiffin.cli.miniature import one_by_one
from kaiffin.foundation.tell import Tell
from kaiffin.miniature.build.recipe import BuildConfig, Stage
from kaiffin.stories import miniature
from kaiffin.stories.miniature import Built


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The config and the stage of each build that is asked for."""
    found: list[Any] = []

    def build(config: BuildConfig, only: Stage | None, *, tell: Tell) -> Built:
        tell.note("begun")
        found.append((config, only))
        return Built((only or "render",), config.weights_folder, None, None, 7200)

    monkeypatch.setattr(miniature, "build", build)
    return found


def test_flags_are_the_fields_of_the_config(built: list[Any]) -> None:
    words = ["--unet-channels", "32", "64", "--only", "unet", "--seed", "7", "--out", "here"]
    assert main(["miniature", "build", *words]) == 0
    assert built == [(BuildConfig(unet_channels=(32, 64), seed=7, out=Path("here")), "unet")]
    assert type(built[0][0]) is BuildConfig
    assert main(["miniature", "build"]) == 0
    assert built[1] == (BuildConfig(), None)


def test_a_build_says_when_and_where(built: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["miniature", "build", "--out", "here", "--only", "export"]) == 0
    first, *rest = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"\d\d:\d\d:\d\d begun", first)
    assert rest == [f"the miniature: {Path('here/weights')}", "export: 2 h"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--pictures", "many"], "--pictures many: is not a whole number"),
        (["--unet-channels", "32", "wide"], "--unet-channels"),
        (["--only", "tea"], "--only tea: is none of render"),
        (["--unet-chanels", "32"], 'Did you mean "--unet-channels"'),
    ],
)
def test_what_is_wrong_is_named(
    words: list[str], said: str, built: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["miniature", "build", *words]) == 2
    assert said in capsys.readouterr().err
    assert not built


def test_lists_in_one_go() -> None:
    words = ["--a", "1", "2", "3", "--b", "4", "--a=5", "--a", "6"]
    spread = ["--a", "1", "--a", "2", "--a", "3", "--b", "4", "--a=5", "--a", "6"]
    assert list(one_by_one(words, {"--a"})) == spread
