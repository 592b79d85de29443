"""A training and the pictures of all trials that share it: the story of each job of a sweep.

Done again, it goes on where it stopped: all that is trained and made lies in the sweep's folder.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kaiffin.experiments.work.jobs import Job, Result, reason
from kaiffin.foundation.config import Config, SampleConfig
from kaiffin.foundation.errors import ConfigError, Interrupted
from kaiffin.foundation.folder import Folder
from kaiffin.foundation.phases import expand
from kaiffin.foundation.run import Run
from kaiffin.foundation.settings import build, flat
from kaiffin.foundation.tell import SILENT, Tell
from kaiffin.pictures.fast import SETTINGS
from kaiffin.pictures.few import unusual
from kaiffin.stories import train
from kaiffin.stories.generate import Order, generate

MADE = "made.json"  # beside the pictures of a trial, once all are there


@dataclass(frozen=True)
class Training:
    """out: the sweep's folder; name: of the training in it; trials: how the pictures of each are
    made; count: pictures of each prompt, on the seeds 0, 1, ..."""

    out: Path
    name: str
    config: Config
    trials: Mapping[str, SampleConfig]
    prompts: tuple[str, ...]
    count: int

    @property
    def run(self) -> Run:
        return run_of(self.out, self.name, self.config)

    @property
    def begun(self) -> bool:
        """Whether something has been trained."""
        return self.run.finished or self.run.latest_restart_point() is not None

    @property
    def finished(self) -> bool:
        """With all pictures of all trials."""
        made = (pictures_of(self.out, trial) for trial in self.trials)
        return self.run.finished and all(paths is not None for paths in made)

    @property
    def job(self) -> Job:
        """The same as a job of the sweep's folder."""
        arguments = {
            "config": self.config.model_dump(mode="json"),
            "trials": {name: one.model_dump(mode="json") for name, one in self.trials.items()},
            "prompts": list(self.prompts),
            "count": self.count,
        }
        parts, device = tuple(self.trials), self.config.base.device
        return Job(self.out, self.name, f"{__name__}:do", arguments, parts, device)

    @classmethod
    def of(cls, job: Job) -> Training:
        """What a job asks for."""
        where, asked = f"job {job.name}", job.arguments
        trials = {trial: _sample(one, where) for trial, one in asked["trials"].items()}
        config, prompts = build(asked["config"], where), tuple(asked["prompts"])
        return cls(job.out, job.name, config, trials, prompts, asked["count"])

    def refuse_changed(self) -> None:
        """ConfigError where the folder holds this training or its pictures made otherwise."""
        facts = Folder(self.out).read_json(f"jobs/{self.name}.json") if self.begun else {}
        if asked := facts.get("arguments", facts):  # flat in older ones
            before = build(asked["config"], f"job {self.name}")
            if changes := list(_changes(before, self.config)):
                raise ConfigError(
                    f"{self.run.path}: was begun with {changes[0]}.",
                    f"Choose another --out, or remove {self.run.path} and its pictures.",
                )
        for trial, sample in self.trials.items():
            folder = _pictures(self.out, trial)
            if (found := folder.read_json(MADE)) and (
                (found["prompts"], found["count"]) != (list(self.prompts), self.count)
                or _sample(found["sample"], str(folder.path)) != sample
            ):
                raise ConfigError(
                    f"{folder.path}: was made with other prompts, count or sample settings.",
                    f"Choose another --out, or remove {folder.path}.",
                )


def run_of(out: Path, name: str, config: Config) -> Run:
    """The run of a training in the sweep's folder."""
    return Run(out / "runs" / name, config)


def pictures_of(out: Path, trial: str) -> list[Path] | None:
    """A trial's pictures in the sweep's folder, by prompt and seed; None unless all are there."""
    folder = _pictures(out, trial)
    found = folder.read_json(MADE)
    return [folder.path / name for name in found["pictures"]] if found else None


def do(job: Job, *, tell: Tell = SILENT) -> Result:
    """Trains and makes the pictures, as far as they are not there; `failed` says of a trial why.

    Raises Interrupted where it was stopped; all is saved then.
    """
    training, failed = Training.of(job), dict[str, str]()
    if training.begun:
        train.resume(training.run.path, tell=tell)
    else:
        train.train(training.config, training.run.path, tell=tell)
    for trial in training.trials:
        try:
            _make_pictures(training, trial, tell)
        except Interrupted:
            raise
        except Exception as error:
            failed[trial] = reason(error, tell)
    return {"failed": failed}


def progress(job: Job) -> tuple[int, int | None]:
    """Training steps that are done, and of how many; None where that is not known yet."""
    training = Training.of(job)
    run, steps = training.run, _steps(training.config)
    if steps is None and run.config_path.is_file():
        steps = _steps(Run.open(run.path).config)  # with what was derived
    try:
        done = len(run.metrics_path.read_bytes().splitlines())
    except OSError:
        done = 0
    return done, steps


def _make_pictures(training: Training, trial: str, tell: Tell) -> None:
    if pictures_of(training.out, trial) is not None:
        return
    folder = _pictures(training.out, trial)
    for old in folder.path.glob("*.png"):  # of an interrupted attempt
        old.unlink()
    asked = training.trials[trial]
    sample = asked.model_dump(mode="json")
    open_ = set(SETTINGS) - unusual(asked) if asked.fast else ()  # for the few-step adapter to say
    changes = {f"sample.{name}": sample[name] for name in sample if name not in open_}
    order = Order(str(training.run.path), training.prompts, count=training.count, out=folder.path)
    paths = generate(order, changes=changes, tell=tell).paths
    made = {"prompts": training.prompts, "count": training.count, "sample": sample}
    folder.write_json(MADE, {**made, "pictures": [path.name for path in paths]})


def _pictures(out: Path, trial: str) -> Folder:
    return Folder(out / "pictures" / trial)


def _sample(data: Mapping[str, Any], where: str) -> SampleConfig:
    return build({"sample": data}, where).sample


def _steps(config: Config) -> int | None:
    """Of all phases together; None where they are still to be derived."""
    return expand(config)[-1].last if config.train.steps else None


def _changes(before: Config, after: Config) -> Iterator[str]:
    """The settings of a training that differ, in words."""
    old, new = flat(before), flat(after)
    for name in old:
        if not name.startswith("sample.") and old[name] != new[name]:
            yield f"{name} {old[name]!r}, and now it is {new[name]!r}"
