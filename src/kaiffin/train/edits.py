"""Settings that were edited in a run that has begun: which may be, and what is said of them.

A changed rate or rank would make a file that is what neither the old nor the new config says, so
it is refused; what does not touch the weights is applied. Torch-free.
"""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Mapping
from typing import Any

from kaiffin.foundation.config import Config
from kaiffin.foundation.errors import RunError
from kaiffin.foundation.paths import PLACES
from kaiffin.foundation.phases import expand
from kaiffin.foundation.run import Run
from kaiffin.foundation.settings import flat
from kaiffin.foundation.tell import Tell

OTHER_BITS = "the last bits of the weights may come out otherwise"
# What may be edited in the config.yaml of a begun training, by name or pattern, and what is worth
# saying of it. All else would have taught something else from the first step on.
MAY_CHANGE = {
    "train.steps": "",  # see `_word_of_steps`
    "train.checkpoint_every": "",
    "train.keep": "",
    "train.validate_every": "",
    "train.tensorboard": "",
    "train.fit_memory": "it has no effect on a training that has begun",
    "train.gradient_checkpointing": OTHER_BITS,
    "base.device": OTHER_BITS,
    "base.text_device": OTHER_BITS,
    "base.compile": OTHER_BITS,
    "adapter.layouts": "",
    "subject.kind": "",
    "sample.*": "",
    "score.*": "",
}
Edits = dict[str, tuple[Any, Any]]  # by setting: as it was, as it is now


def may_change(name: str) -> bool:
    """Whether a begun training can go on with another value of setting `name`."""
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in MAY_CHANGE)


def settings_of(config: Config) -> dict[str, Any]:
    """Every setting by name, as JSON has it, but for those that only say where something is."""
    found = {name: value for name, value in flat(config).items() if name not in PLACES}
    for section in ("phases", "subjects"):
        found[section] = [
            {name: value for name, value in one.items() if name != "photos"}
            for one in found[section]
        ]
    return json.loads(json.dumps(found))


def edits_of(run: Run) -> Edits:
    """What the run's config says otherwise than the run was begun with, all of it allowed.

    Raises RunError naming every setting that may not change, with its old and new value, and where
    the steps end before those that are done.
    """
    found = _differences(run.beginning().get("settings", {}), settings_of(run.config))
    fixed = [name for name in found if not may_change(name)]
    if "train.steps" in found and (run.config.phases or run.config.train.steps is None):
        fixed.append("train.steps")  # steps of phases lie behind each other
    if fixed:
        told = "; ".join(
            f"{name} = {_shown(found[name][1])}, begun with {_shown(found[name][0])}"
            for name in fixed
        )
        raise RunError(
            f"{run.config_path}: a training that has begun keeps its settings: {told}.",
            f"Put them back, or start a new run; what may change: {', '.join(MAY_CHANGE)}.",
        )
    _refuse_steps(run, found)
    return found


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> Edits:
    """Settings that only one version of Kaiffin knows are none."""
    return {n: (before[n], now[n]) for n in now if n in before and before[n] != now[n]}


def _refuse_steps(run: Run, found: Edits) -> None:
    """RunError where the steps end before those that are done, or cannot be gone on with."""
    done = steps_done(run)
    if "train.steps" in found and run.finished and not done:
        raise RunError(
            f"{run.path}: is finished and its checkpoints are gone, so it has nothing to go on"
            " from to train.steps"
            f" = {_shown(found['train.steps'][1])}.",
            "Train a new run with its adapter as adapter.init_from.",
        )
    if run.config.train.steps is None:
        return  # nothing is derived yet, so nothing is done
    last = expand(run.config)[-1].last
    if last < done:
        raise RunError(
            f"{run.config_path}: with train.steps = {run.config.train.steps} its steps end at"
            f" {last}, and {done} are done already.",
            f"Let them end at {done} or later, take an earlier adapter from candidates/, or start a"
            " new run.",
        )


def steps_done(run: Run) -> int:
    """Those of the newest checkpoint."""
    points = run.restart_points()
    return points[-1][0] if points else 0


def say(found: Edits, run: Run, tell: Tell) -> None:
    """Each setting that was changed, with what is to be known of it."""
    for name, (old, new) in found.items():
        pattern = next(p for p in MAY_CHANGE if fnmatch.fnmatchcase(name, p))
        remark = _word_of_steps(run) if name == "train.steps" else MAY_CHANGE[pattern]
        told = f"changed since the run was begun: {name} is now {_shown(new)}, was {_shown(old)}"
        tell.note(f"{told}; {remark}" if remark else told)


def as_records(found: Edits, run: Run) -> list[dict[str, Any]]:
    """The same for the record of the run. bends: whether the rates are not the config's own."""
    done = steps_done(run)
    return [
        {"after": done, "setting": name, "from": old, "to": new,
         "bends": name == "train.steps" and _bends_rates(run)}
        for name, (old, new) in found.items()
    ]  # fmt: skip


def _bends_rates(run: Run) -> bool:
    """Whether steps are done at rates that would have been others with another number of steps."""
    first = expand(run.config)[-1].first
    return run.config.train.schedule != "constant" and steps_done(run) > first


def _word_of_steps(run: Run) -> str:
    if not _bends_rates(run):
        return "it ends as a run that was begun with that"
    return (
        f"the {run.config.train.schedule} schedule spans all steps: those up to"
        f" {steps_done(run)} had the rates of the old number, the others get those of the new one,"
        " so it ends otherwise than a run that was begun with that; the file says so"
        " (kaiffin.changed)"
    )


def _shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
