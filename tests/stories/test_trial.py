"""A training with its trials as a job of a sweep: written, read, held to what it was begun with."""

import json
from pathlib import Path

import pytest

from kaiffin.experiments.work.jobs import Job
from kaiffin.foundation.errors import ConfigError
from kaiffin.foundation.settings import build, changed
from kaiffin.stories import trial
from kaiffin.stories.trial import Training, pictures_of, progress


def training(out: Path, **more: object) -> Training:
    given = {"subject": {"token": "kai", "noun": "thing"}, "train": {"steps": 40}}
    config = changed(build(given), **{name.replace("__", "."): v for name, v in more.items()})
    trials = {
        "plain-seed0": config.sample,
        "more-seed0": changed(config, **{"sample.steps": 3}).sample,
    }
    return Training(out, "plain-seed0", config, trials, ("a {token}", "the {token}"), 2)


def begun(asked: Training) -> None:
    """As after some steps."""
    asked.job.write()
    (asked.run.path / "checkpoints" / "step-00000002").mkdir(parents=True)


def made(out: Path, name: str, asked: Training) -> None:
    """As after the last picture of a trial."""
    facts = {
        "prompts": list(asked.prompts), "count": asked.count,
        "sample": asked.trials[name].model_dump(mode="json"), "pictures": ["a-seed0.png"],
    }  # fmt: skip
    folder = out / "pictures" / name
    folder.mkdir(parents=True)
    (folder / "made.json").write_text(json.dumps(facts))


def test_a_job_asks_for_the_training_that_it_was_made_of(tmp_path: Path) -> None:
    asked = training(tmp_path)
    asked.job.write()
    job = Job.read(tmp_path, "plain-seed0")
    assert (job.story, job.parts) == ("kaiffin.stories.trial:do", ("plain-seed0", "more-seed0"))
    assert Training.of(job) == asked
    assert training(tmp_path, base__device="cpu").job.device == "cpu"


def test_progress_counts_the_steps_of_the_run(tmp_path: Path) -> None:
    asked = training(tmp_path)
    assert progress(asked.job) == (0, 40)
    asked.run.path.mkdir(parents=True)
    asked.run.metrics_path.write_text('{"step": 1}\n{"step": 2}\n')
    assert asked.job.progress() == (2, 40)
    derived = training(tmp_path, train__steps=None)
    assert progress(derived.job) == (2, None), "before they were derived"
    asked.run.save_config(asked.config)
    assert progress(derived.job) == (2, 40)


def test_it_is_finished_with_the_last_picture(tmp_path: Path) -> None:
    asked = training(tmp_path)
    begun(asked)
    made(tmp_path, "plain-seed0", asked)
    asked.run.adapter_path.touch()
    assert not asked.finished
    made(tmp_path, "more-seed0", asked)
    assert asked.finished
    assert pictures_of(tmp_path, "plain-seed0") == [tmp_path / "pictures/plain-seed0/a-seed0.png"]
    assert pictures_of(tmp_path, "other") is None


def test_what_was_begun_otherwise_is_refused(tmp_path: Path) -> None:
    before = training(tmp_path)
    before.job.write()
    training(tmp_path, train__lr=0.5).refuse_changed()  # nothing was trained yet
    begun(before)
    before.refuse_changed()
    with pytest.raises(ConfigError, match=r"was begun with train.lr None, and now it is 0\.5"):
        training(tmp_path, train__lr=0.5).refuse_changed()


def test_a_job_of_before_is_understood(tmp_path: Path) -> None:
    """Older jobs held their arguments without a story; a sweep begun then goes on."""
    before = training(tmp_path)
    begun(before)
    flat = {**before.job.arguments}
    (tmp_path / "jobs" / "plain-seed0.json").write_text(json.dumps(flat))
    before.refuse_changed()
    with pytest.raises(ConfigError, match=r"was begun with train\.lr None"):
        training(tmp_path, train__lr=0.5).refuse_changed()


def test_pictures_made_otherwise_are_refused(tmp_path: Path) -> None:
    asked = training(tmp_path)
    made(tmp_path, "more-seed0", asked)
    asked.refuse_changed()
    other = Training(tmp_path, asked.name, asked.config, asked.trials, asked.prompts, 3)
    with pytest.raises(ConfigError, match="was made with other prompts, count or sample settings"):
        other.refuse_changed()


def test_a_trial_that_fails_leaves_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pictures of an interrupted attempt go first."""
    asked = training(tmp_path)
    begun(asked)
    half = tmp_path / "pictures" / "plain-seed0" / "half.png"
    half.parent.mkdir(parents=True)
    half.touch()
    resumed: list[Path] = []
    monkeypatch.setattr(trial.train, "resume", lambda path, tell: resumed.append(path))
    monkeypatch.setattr(trial, "generate", no_pictures)
    found = asked.job.parts
    failed = trial.do(asked.job)["failed"]
    assert resumed == [asked.run.path]
    assert failed == dict.fromkeys(found, "ValueError: no pictures today")
    assert not half.exists()


def no_pictures(*_: object, **__: object) -> None:
    raise ValueError("no pictures today")
