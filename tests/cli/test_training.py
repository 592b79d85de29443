"""Where a training's config comes from: photos or a file, then the flags."""

from pathlib import Path
from typing import Any

import pytest

from kaiffin.cli.main import main
from kaiffin.cli.show import training as show
from kaiffin.foundation.config import Config
from kaiffin.stories import plan, train


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The config of each training that is asked for, and its folder; nothing is trained."""
    found: list[Any] = []
    monkeypatch.setattr(train, "train", lambda config, out, **_: found.append((config, out)))
    monkeypatch.setattr(plan, "plan", lambda config, **_: found.append((config, "plan")))
    for name in ("trained", "planned"):
        monkeypatch.setattr(show, name, lambda answer: None)
    return found


def test_photos_and_flags(asked: list[Any]) -> None:
    words = ["train", "my-photos", "--subject", "sks", "--class", "dog", "--base", "sd15"]
    words += ["--resolution", "256", "--seed", "3", "--steps", "9", "--skip-bad"]
    assert main([*words, "--adapter.rank", "4", "--out", "here"]) == 0
    ((config, out),) = asked
    assert isinstance(config, Config)
    assert (config.subject.token, config.subject.noun, config.base.name) == ("sks", "dog", "sd15")
    assert (config.data.photos, config.data.resolution) == (Path("my-photos"), 256)
    assert config.data.skip_bad is True
    assert (config.train.seed, config.train.steps, config.adapter.rank) == (3, 9, 4)
    assert out == Path("here")


def test_a_file_and_flags_over_it(asked: list[Any], tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("data: {photos: old}\ntrain: {steps: 5, seed: 2}\n")
    assert main(["train", str(file), "--steps", "6", "--data.photos", "new", "--dry-run"]) == 0
    ((config, out),) = asked
    assert (config.data.photos, config.train.steps, config.train.seed) == (Path("new"), 6, 2)
    assert out == "plan"


def test_the_story_names_the_folder_where_none_is_given(asked: list[Any]) -> None:
    assert main(["train", "my-photos", "--subject", "../x"]) == 0
    assert asked[0][1] is None


def test_the_table_of_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["options"]) == 0
    text = capsys.readouterr().out
    assert "| `train.steps`, `--steps` | N | `derived` |" in text
    assert "| `phases[].lr` | X |" in text
