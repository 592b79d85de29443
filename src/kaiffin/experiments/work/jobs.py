"""One unit of a sweep's work: a training, and the pictures of all trials that share it.

A job is a file in the sweep's folder, so that any process, here or on another machine, can do it.
What it makes lies in that folder as well: the run and the pictures. Done again, it goes on where it
stopped; so a worker that dies loses nothing but the steps since its last checkpoint.
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kaiffin.foundation.config import Config, SampleConfig
from kaiffin.foundation.errors import ConfigError, Interrupted, RunError, UserError
from kaiffin.foundation.phases import expand
from kaiffin.foundation.run import Run
from kaiffin.foundation.settings import build
from kaiffin.stories import generate, train


@dataclass(frozen=True)
class Job:
    """out: the sweep's folder; name: of the training in it; trials: how the pictures of each are
    made; count: pictures of each prompt, on the seeds 0, 1, ..."""

    out: Path
    name: str
    config: Config
    trials: Mapping[str, SampleConfig]
    prompts: tuple[str, ...]
    count: int

    @property
    def run(self) -> Path:
        return self.out / "runs" / self.name

    @property
    def log(self) -> Path:
        """What its worker says, where that is another process."""
        return self.out / "logs" / f"{self.name}.log"

    def file(self, what: str) -> Path:
        """What its worker leaves beside the job: `worker`, who it is, or `result`."""
        return self.out / "jobs" / f"{self.name}.{what}.json"

    @property
    def begun(self) -> bool:
        """Whether something has been trained."""
        run = Run(self.run, self.config)
        return run.finished or run.latest_restart_point() is not None

    @property
    def pictures_made(self) -> bool:
        return all(self.pictures(trial) is not None for trial in self.trials)

    @property
    def finished(self) -> bool:
        return Run(self.run, self.config).finished and self.pictures_made

    def pictures(self, trial: str) -> list[Path] | None:
        """In order of prompts and seeds; None unless all are there."""
        found = read_json(self._marker(trial))
        folder = self.out / "pictures" / trial
        return [folder / name for name in found["pictures"]] if found else None

    def write(self) -> None:
        facts = {
            "config": self.config.model_dump(mode="json"),
            "trials": {name: one.model_dump(mode="json") for name, one in self.trials.items()},
            "prompts": self.prompts,
            "count": self.count,
        }
        Run(self.out, self.config).write_json(f"jobs/{self.name}.json", facts)

    @classmethod
    def read(cls, out: Path, name: str) -> Job:
        """The job written before; RunError where there is none."""
        path = out / "jobs" / f"{name}.json"
        facts = read_json(path)
        if not facts:
            raise RunError(f"{path}: is not there or no job.", "Start the sweep again.")
        trials = {trial: _sample(one, path) for trial, one in facts["trials"].items()}
        config = build(facts["config"], str(path))
        return cls(out, name, config, trials, tuple(facts["prompts"]), facts["count"])

    def refuse_changed(self) -> None:
        """ConfigError where the folder holds this training or its pictures made otherwise."""
        if self.begun and (self.out / "jobs" / f"{self.name}.json").is_file():
            before = Job.read(self.out, self.name).config
            if changes := list(_changes(before, self.config)):
                raise ConfigError(
                    f"{self.run}: was begun with {changes[0]}.",
                    f"Choose another --out, or remove {self.run} and its pictures.",
                )
        for trial, sample in self.trials.items():
            path = self._marker(trial)
            if (found := read_json(path)) and (
                (found["prompts"], found["count"]) != (list(self.prompts), self.count)
                or _sample(found["sample"], path) != sample
            ):
                raise ConfigError(
                    f"{path.parent}: was made with other prompts, count or sample settings.",
                    f"Choose another --out, or remove {path.parent}.",
                )

    def progress(self) -> tuple[int, int | None]:
        """Training steps that are done, and of how many; None where that is not known yet."""
        run = Run(self.run, self.config)
        steps = _steps(self.config)
        if steps is None and run.config_path.is_file():
            steps = _steps(Run.open(self.run).config)  # with what was derived
        try:
            done = len(run.metrics_path.read_bytes().splitlines())
        except OSError:
            done = 0
        return done, steps

    def _marker(self, trial: str) -> Path:
        return self.out / "pictures" / trial / "made.json"


def do(job: Job) -> dict[str, str]:
    """Trains and makes the pictures, as far as they are not there; {trial: why it failed}.

    Raises Interrupted where it was stopped; all is saved then.
    """
    failed: dict[str, str] = {}
    try:
        _train(job)
    except Interrupted:
        raise
    except Exception as error:
        return dict.fromkeys(job.trials, _reason(error))
    for trial in job.trials:
        try:
            _make_pictures(job, trial)
        except Exception as error:
            failed[trial] = _reason(error)
    return failed


def _train(job: Job) -> None:
    """Trains, goes on, or finds it done."""
    if job.begun:
        train.resume(job.run)
    else:
        train.train(job.config, job.run)


def _make_pictures(job: Job, trial: str) -> None:
    if job.pictures(trial) is not None:
        return
    folder = job.out / "pictures" / trial
    for old in folder.glob("*.png"):  # of an interrupted attempt
        old.unlink()
    sample = job.trials[trial].model_dump(mode="json")
    changes = {f"sample.{name}": value for name, value in sample.items()}
    paths = generate.generate(
        str(job.run), job.prompts, count=job.count, changes=changes, out=folder
    )
    made = {"prompts": job.prompts, "count": job.count, "sample": sample}
    made["pictures"] = [path.name for path in paths]
    Run(folder, job.config).write_json("made.json", made)


def _sample(data: Mapping[str, Any], path: Path) -> SampleConfig:
    return build({"sample": data}, str(path)).sample


def _reason(error: Exception) -> str:
    """One line. What is no UserError is a bug: one trial's must not end the others, so its
    traceback goes to where the worker speaks."""
    if isinstance(error, UserError):
        return str(error)
    traceback.print_exception(error)
    return str(UserError(f"{type(error).__name__}: {error}"))


def read_json(path: Path) -> dict[str, Any]:
    """The mapping in a JSON file; {} where there is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _steps(config: Config) -> int | None:
    """Of all phases together; None where they are still to be derived."""
    return expand(config)[-1].last if config.train.steps else None


def _changes(before: Config, after: Config) -> Iterator[str]:
    """The settings of a training that differ, in words."""
    old, new = (
        dict(_leaves(c.model_dump(mode="json", exclude={"sample"}))) for c in (before, after)
    )
    for name in {**old, **new}:
        if old.get(name) != new.get(name):
            yield f"{name} {old.get(name)!r}, and now it is {new.get(name)!r}"


def _leaves(data: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in data.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
