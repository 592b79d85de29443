"""A sweep on the miniature and on tiny bases: shared trainings, going on, failures, refusals."""

import json
import signal
from pathlib import Path

import pytest
import yaml
from conftest import FEW, REPO
from PIL import Image

from kaiffin.cli.main import main
from kaiffin.experiments.sweep import trials
from kaiffin.experiments.sweep.trials import read
from kaiffin.experiments.work import jobs
from kaiffin.foundation.errors import ConfigError, Interrupted
from kaiffin.foundation.folder import Folder
from kaiffin.miniature.world.vocabulary import SIDE
from kaiffin.stories import train
from kaiffin.train.watch import RestartPoints


def written(folder: Path, base: Path, photos: Path, **changes: object) -> Path:
    config = {
        "subject": {"token": "kai", "noun": "thing"}, "base": {"name": str(base)},
        "data": {"photos": str(photos), "prior": {"weight": 0}},
        "train": {"steps": 2, "tensorboard": False}, "sample": {"steps": 2},
        "score": {"candidates": 1}, "adapter": {"targets": FEW},
    }  # fmt: skip
    (folder / "base.yaml").write_text(yaml.safe_dump(config))
    file = {
        "config": "base.yaml", "prompts": ["a photo of {token} {noun}", "a {token}"], "count": 2,
        "trials": {"baseline": {}, "guided": {"sample.guidance": 9}, "slow": {"train.lr": 1e-5}},
        **changes,
    }  # fmt: skip
    path = folder / "sweep.yaml"
    path.write_text(
        yaml.safe_dump({k: v for k, v in file.items() if v is not None}, sort_keys=False)
    )
    return path


def test_trials_share_trainings_and_a_second_call_does_nothing(
    sd_path: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    trials = {"baseline": {}, "guided": {"sample.guidance": 9}}
    path = written(tmp_path, sd_path, folder, trials=trials, seeds=[0, 1])
    out = tmp_path / "out"
    assert main(["sweep", str(path), "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "4 trials, 2 trainings" in said
    assert "each trial: 2 pictures of each of 2 prompts, on the seeds 0 to 1" in said
    assert "4 training steps to go" in said
    assert "baseline-seed0: done, 1 of 2; about 0:00:" in said
    names = ("baseline-seed0", "baseline-seed1")
    assert sorted(p.name for p in (out / "runs").iterdir()) == sorted(names)
    facts = json.loads((out / "sweep.json").read_text())
    assert facts["failed"] == {}
    assert facts["trials"]["guided-seed1"]["run"] == "baseline-seed1"
    assert len(facts["trials"]) == 4
    pictures = sorted((out / "pictures").rglob("a-*.png"))
    assert len(pictures) == 4 * 2 * 2
    seeds = {json.loads(Image.open(p).info["kaiffin"])["request"]["seed"] for p in pictures}
    assert seeds == {0, 1}
    before = {path: path.read_bytes() for path in out.rglob("*.png")}
    with monkeypatch.context() as patch:
        patch.setattr(jobs, "do", None)  # nothing is trained or made again
        assert main(["sweep", str(path), "--out", str(out)]) == 0
    assert "2 of them done already" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in out.rglob("*.png")} == before
    refuses_other_settings_there(path, out, capsys)


def refuses_other_settings_there(path: Path, out: Path, capsys: pytest.CaptureFixture) -> None:
    """A finished sweep is no answer to another question."""
    again = ["sweep", str(path), "--out", str(out)]
    assert main([*again, "--train.lr", "0.5"]) == 2
    assert (
        "baseline-seed0: was begun with train.lr None, and now it is 0.5" in capsys.readouterr().err
    )
    path.write_text(path.read_text().replace("count: 2", "count: 3"))
    assert main(again) == 2
    assert "was made with other prompts, count or sample settings" in capsys.readouterr().err


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
    # Nothing was trained, so the mended trial takes the folder over.
    path = written(tmp_path, sd_path, folder, trials={"bad": {}, "good": {}})
    assert main(["sweep", str(path), "--out", str(out)]) == 0


def test_a_bug_fails_its_trial_alone(
    sd_path: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("out of order")

    path, out = written(tmp_path, sd_path, folder), tmp_path / "out"
    monkeypatch.setattr(train, "train", broken)
    assert main(["sweep", str(path), "--out", str(out)]) == 1
    said = capsys.readouterr()
    assert "failed: slow-seed0: ZeroDivisionError: out of order" in said.out
    assert "in broken" in said.out  # its traceback
    facts = json.loads((out / "sweep.json").read_text())
    assert list(facts["failed"]) == ["baseline-seed0", "guided-seed0", "slow-seed0"]


def test_the_miniature_judges_its_own(folder: Path, tmp_path: Path, capsys) -> None:
    for photo in folder.iterdir():
        Image.open(photo).resize((SIDE, SIDE)).save(photo)
    grid = {"train.lr": [1e-3, 2e-3]}
    path = written(tmp_path, Path("miniature"), folder, trials=None, grid=grid)
    assert main(["sweep", str(path), "--out", str(tmp_path / "out")]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "judged by miniature" in said
    assert "another training seed may change as much" in said
    facts = json.loads((tmp_path / "out" / "sweep.json").read_text())
    first, other = facts["standings"]
    assert (first["against"], other["against"]["identity"]["n"]) == ({}, 4)
    assert list(facts["trials"]) == ["lr=0.001-seed0", "lr=0.002-seed0"]


def test_the_cheburashka_sweep() -> None:
    """Six trials of which two share a training; each differs from the baseline in one thing."""
    _, trials = read(REPO / "examples" / "cheburashka-sweep.yaml")
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
    with Folder(out).lock():
        assert main(["sweep", str(path), "--out", str(out)]) == 2
    assert "is in use by process" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"trials": {"a": {"train.learning": 1}}}, "trial a: unknown setting 'train.learning'"),
        ({"trials": None, "grid": {"adapter.rnk": [4]}}, 'grid: unknown .* mean "adapter.rank"'),
        ({"trials": {"a": {"train.lr": -1}}}, "trial a: train.lr"),
        ({"trials": None, "grid": {"train.lr": []}}, "grid.train.lr has no values"),
        ({"trials": None, "grid": {"train.lr": 1}}, "grid.train.lr: .* docs/experiments.md"),
        ({"trials": None, "grid": {"adapter.rank": [4, 4]}}, "holds 4 twice"),
        ({"set": {"train.seed": 4}}, r"set: train.seed has no effect. Write seeds: \[0, 1\]"),
        ({"seeds": [1, 1]}, "seeds holds 1 twice"),
        ({"trials": {"../a": {}}}, "'../a' cannot be the name of a folder"),
        ({"trials": None}, "either trials or a grid"),
        ({"grid": {"train.lr": [1]}}, "either trials or a grid"),
        ({"prompts": []}, "prompts"),
        ({"count": 0}, "count"),
        ({"number": 3}, 'number: .* mean "count"|number: .* Known'),
    ],
)
def test_what_cannot_be_run(changes: dict, said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=said):
        read(written(tmp_path, Path("miniature"), tmp_path, **changes))


def test_names_of_a_grid_are_folders_of_their_own(tmp_path: Path) -> None:
    grid = {
        "adapter.targets": ["unet.*", "unet/*"], "sample.size": [[64, 64], None],
        "train.steps": [2], "sample.steps": [3],
    }  # fmt: skip
    path = written(tmp_path, Path("miniature"), tmp_path, trials=None, grid=grid)
    _, trials = read(path)
    assert [trial.name for trial in trials] == [
        f"targets=unet{mark},size={size},train.steps=2,sample.steps=3"
        for mark in ("._", "_")
        for size in ("64-64", "none")
    ]
    assert len({trial.run for trial in trials}) == 2


def test_many_trainings_ask_before_anything_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    path = written(tmp_path, Path("miniature"), tmp_path, seeds=list(range(60)))
    monkeypatch.setattr(trials, "build", None)
    assert main(["sweep", str(path), "--out", str(tmp_path / "out")]) == 2
    assert "120 trainings are many. Say --yes" in capsys.readouterr().err
    ranks = list(range(1, 101))
    grid = {"adapter.rank": ranks, "adapter.alpha": ranks}
    path = written(tmp_path, Path("miniature"), tmp_path, trials=None, grid=grid)
    with pytest.raises(ConfigError, match="10,000 trainings are many"):
        read(path)
    grid = {"sample.guidance": ranks, "sample.steps": ranks}  # of one training
    path = written(tmp_path, Path("miniature"), tmp_path, trials=None, grid=grid)
    with pytest.raises(ConfigError, match="10,000 trials are many"):
        read(path)


def test_stopped_and_gone_on_with(
    sd_path: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C is no failed trial: the sweep stops, and the same command ends it."""
    path = written(tmp_path, sd_path, folder, trials={"baseline": {}})
    out = tmp_path / "out"
    save = RestartPoints.save

    def save_and_stop(self) -> None:
        save(self)
        raise Interrupted("stopped.", "", signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(RestartPoints, "save", save_and_stop)
        assert main(["sweep", str(path), "--out", str(out)]) == 128 + signal.SIGINT
    assert not (out / "sweep.json").exists()
    assert main(["sweep", str(path), "--out", str(out)]) == 0
    assert len(json.loads((out / "sweep.json").read_text())["trials"]) == 1
