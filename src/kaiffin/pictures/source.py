"""What pictures are made with: a base, or a run with its adapter."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kaiffin.foundation.config import BaseConfig, Config
from kaiffin.foundation.errors import RunError
from kaiffin.foundation.phases import expand
from kaiffin.foundation.run import Run
from kaiffin.foundation.settings import changed
from kaiffin.pictures.make import WeightedAdapter


def open_source(source: str, changes: Mapping[str, Any] | None = None) -> tuple[Run | None, Config]:
    """The run at `source`, if it is one, and the configuration of pictures with it or the base."""
    run = Run.open(Path(source)) if Run.is_at(Path(source)) else None
    config = run.config if run else Config(base=BaseConfig(name=source))
    return run, changed(config, **{"sample.size": None, **(changes or {})})


def of_run(run: Run, blended: bool = False) -> list[WeightedAdapter]:
    """The run's adapter; to blend its phases, the file of each."""
    if not run.finished:
        raise RunError(f"{run.path}: is not finished.", f"Run `kaiffin resume {run.path}` first.")
    parts = [name for name in expand(run.config)[-1].attached if name]
    if blended and parts:
        return [WeightedAdapter(run.part_path(name)) for name in parts]
    return [WeightedAdapter(run.adapter_path)]


def checkpoint_of(run: Run | None, name: str) -> Path:
    """The adapter that `kaiffin choose` recommends (`best`), or the candidate of a step.

    Raises RunError where there is none, naming those there are.
    """
    if run is None:
        raise RunError("--checkpoint is of a run, and none is named.", "Name a run folder.")
    if name == "best":
        if not run.best_path.is_file():
            raise RunError(
                f"{run.path}: nothing is chosen yet.", f"Run `kaiffin choose {run.path}` first."
            )
        return run.best_path
    found = {str(step): path for step, path in run.candidates()}
    if name not in found:
        there = ", ".join(found) or "none"
        raise RunError(f"{run.path}: has no candidate {name!r}.", f"There are best and: {there}.")
    return found[name]
