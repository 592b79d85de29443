"""A sweep on the miniature and on tiny bases: shared trainings, going on, failures, refusals."""

import json
import signal
from pathlib import Path

import pytest
import yaml
from conftest import REPO
from PIL import Image

from kaiffin import config as configs
from kaiffin import recipes
from kaiffin.cli import main
from kaiffin.errors import ConfigError, Interrupted
from kaiffin.experiments import sweep
from kaiffin.run import Run
from kaiffin.train.watch import Checkpoints


def written(folder: Path, base: Path, photos: Path, **changes: object) -> Path:
    config = {
        "subject": {"token": "kai", "noun": "thing"}, "base": {"name": str(base)},
        "data": {"photos": str(photos), "prior": {"weight": 0}},
        "train": {"steps": 2, "tensorboard": False}, "sample": {"steps": 2},
    }  # fmt: skip
    (folder / "base.yaml").write_text(yaml.safe_dump(config))
    file = {
        "config": "base.yaml", "prompts": ["a photo of {token} {noun}", "a {token}"], "count": 2,
        "trials": {"baseline": {}, "guided": {"sample.guidance": 9}, "slow": {"train.lr": 1e-5}},
        **changes,
    }  # fmt: skip
    path = folder / "sweep.yaml"
    path.write_text(yaml.safe_dump({k: v for k, v in file.items() if v is not None}))
    return path


def test_trials_share_trainings_and_a_second_call_does_nothing(
    sd_path: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, out = written(tmp_path, sd_path, folder, seeds=[0, 1]), tmp_path / "out"
    assert main(["sweep", str(path), "--out", str(out)]) == 0
    names = ("baseline-seed0", "baseline-seed1", "slow-seed0", "slow-seed1")
    assert sorted(p.name for p in (out / "runs").iterdir()) == sorted(names)
    facts = json.loads((out / "sweep.json").read_text())
    assert facts["failed"] == {}
    assert facts["trials"]["guided-seed1"]["run"] == "baseline-seed1"
    assert len(facts["trials"]) == 6
    pictures = sorted((out / "pictures").rglob("a-*.png"))
    assert len(pictures) == 6 * 2 * 2
    seeds = {json.loads(Image.open(p).info["kaiffin"])["request"]["seed"] for p in pictures}
    assert seeds == {0, 1}
    before = {path: path.read_bytes() for path in out.rglob("*.png")}
    with monkeypatch.context() as patch:
        patch.setattr(recipes, "train", None)  # nothing is trained again
        patch.setattr(sweep.picturing, "generate", None)
        assert main(["sweep", str(path), "--out", str(out)]) == 0
    assert {path: path.read_bytes() for path in out.rglob("*.png")} == before


def test_a_failure_is_reported_and_the_others_run(
    sd_path: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    trials = {"bad": {"adapter.targets": "*.nowhere"}, "good": {}}
    path, out = written(tmp_path, sd_path, folder, trials=trials), tmp_path / "out"
    assert main(["sweep", str(path), "--out", str(out)]) == 1
    assert "failed: bad-seed0: adapter.targets = '*.nowhere'" in capsys.readouterr().out
    facts = json.loads((out / "sweep.json").read_text())
    assert "matches no module" in facts["failed"]["bad-seed0"]
    assert list(facts["trials"]) == ["good-seed0"]


def test_the_miniature_judges_its_own(folder: Path, tmp_path: Path, capsys) -> None:
    grid = {"train.lr": [1e-3, 2e-3]}
    path = written(tmp_path, Path("miniature"), folder, trials=None, grid=grid)
    assert main(["sweep", str(path), "--out", str(tmp_path / "out")]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "judged by miniature" in said
    assert "n = 4" in said
    facts = json.loads((tmp_path / "out" / "sweep.json").read_text())
    assert list(facts["trials"]) == ["lr=0.001-seed0", "lr=0.002-seed0"]


def test_the_cheburashka_sweep() -> None:
    """Six trials of which two share a training; each differs from the baseline in one thing."""
    _, trials = sweep.read(REPO / "examples" / "cheburashka-sweep.yaml")
    assert [trial.name for trial in trials] == [
        "baseline", "steps-2000", "lr-1e-5", "gamma-2", "gamma-none", "guidance-5",
    ]  # fmt: skip
    assert len({trial.run for trial in trials}) == 5
    assert trials[-1].run == "baseline-seed0"
    first = trials[0].config
    assert (first.train.steps, first.sample.guidance) == (1000, 7.5)
    assert trials[4].config.train.objective.min_snr_gamma is None


def test_two_sweeps_in_one_folder_are_kept_apart(
    sd_path: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    path, out = written(tmp_path, sd_path, folder), tmp_path / "out"
    out.mkdir()
    with Run(out, configs.build({})).lock():
        assert main(["sweep", str(path), "--out", str(out)]) == 2
    assert "is in use by process" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"trials": {"a": {"train.learning": 1}}}, "unknown setting 'train.learning'"),
        ({"trials": {"a": {"train.lr": -1}}}, "trial a: train.lr"),
        ({"trials": None, "grid": {"train.lr": []}}, "grid.train.lr has no values"),
        ({"trials": None}, "either trials or a grid"),
        ({"grid": {"train.lr": [1]}}, "either trials or a grid"),
        ({"prompts": []}, "prompts"),
        ({"number": 3}, "number"),
    ],
)
def test_what_cannot_be_run(changes: dict, said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=said):
        sweep.read(written(tmp_path, Path("miniature"), tmp_path, **changes))


def test_many_trainings_ask(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path = written(tmp_path, Path("miniature"), tmp_path, seeds=list(range(60)))
    assert main(["sweep", str(path), "--out", str(tmp_path / "out")]) == 2
    assert "120 trainings are many. Say --yes" in capsys.readouterr().err


def test_stopped_and_gone_on_with(
    sd_path: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C is no failed trial: the sweep stops, and the same command ends it."""
    path, out = written(tmp_path, sd_path, folder), tmp_path / "out"
    save = Checkpoints.save

    def save_and_stop(self) -> None:
        save(self)
        raise Interrupted("stopped.", "", signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "save", save_and_stop)
        assert main(["sweep", str(path), "--out", str(out)]) == 128 + signal.SIGINT
    assert not (out / "sweep.json").exists()
    assert main(["sweep", str(path), "--out", str(out)]) == 0
    assert len(json.loads((out / "sweep.json").read_text())["trials"]) == 3
