"""Where a training's config comes from: photos or a file, then the flags."""

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kaiffin.adapters.elsewhere.proof import Proof
from kaiffin.cli.main import main
from kaiffin.cli.show import training as show
from kaiffin.foundation.config import Config
from kaiffin.foundation.run import Run
from kaiffin.stories import plan, train


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The config of each training that is asked for, and its folder; nothing is trained."""
    found: list[Any] = []

    def taken(config: Config, out: Path | None, **_: object) -> SimpleNamespace:
        found.append((config, out))
        return SimpleNamespace(is_idle=config.subject.token == "idle")

    monkeypatch.setattr(train, "train", taken)
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


def test_of_torchruns_processes_one_plans(
    asked: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        assert main(["train", "my-photos", "--dry-run"]) == 0
    assert [out for _, out in asked] == ["plan"]


def test_the_story_names_the_folder_where_none_is_given(asked: list[Any]) -> None:
    assert main(["train", "my-photos", "--subject", "../x"]) == 0
    assert asked[0][1] is None


def test_an_adapter_that_does_nothing_is_no_success(asked: list[Any]) -> None:
    assert main(["train", "my-photos", "--subject", "idle"]) == 1
    proofs = [Proof({"unet": 1}, {"unet": 1}, 3, {}, False, effect, 0.0, 1e-5)
              for effect in (0.5, 0.0, math.nan)]  # fmt: skip
    run = Run(Path("runs/idle"), Config())
    made = [train.Trained(run, 1, 1.0, None, {"": proof}) for proof in proofs]
    assert [one.is_idle for one in made] == [False, True, True]


def test_the_table_of_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["options"]) == 0
    text = capsys.readouterr().out
    assert "| `train.steps`, `--steps` | N | `derived` |" in text
    assert "| `phases[].lr` | X |" in text
