"""`kaiffin sweep`: trials of one configuration, each with the same seeds and number of pictures.

Trials that differ only in `sample` share a training. What is finished is skipped, so that a sweep
that was stopped goes on; a trial that fails is reported and the others run. In its folder:

    runs/<training>/  pictures/<trial>/  sheet.png  sweep.json    the results
    jobs/  logs/                                                  how they were come by
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from kaiffin.experiments.sweep import standings
from kaiffin.experiments.sweep.standings import Scores, Standing
from kaiffin.experiments.sweep.trials import SweepFile, Trial, read
from kaiffin.experiments.work import places, running
from kaiffin.experiments.work.jobs import Job
from kaiffin.foundation.folder import Folder, write_bytes
from kaiffin.foundation.notebook import Shown
from kaiffin.foundation.runtime import contained
from kaiffin.foundation.settings import changed
from kaiffin.foundation.sheets import sheet as drawn_sheet
from kaiffin.foundation.subject import fill
from kaiffin.foundation.tell import SILENT, Tell
from kaiffin.foundation.text import counted
from kaiffin.pictures.recipe import save_png
from kaiffin.score.judge import judge_of
from kaiffin.score.panel import open_panel
from kaiffin.stories.trial import Training, pictures_of, run_of


@dataclass(frozen=True)
class Sweep(Shown):
    """A sweep that has ended, in the folder `out`.

    trials: those whose pictures are there, in the file's order; standings, losses: by the trials'
    names, over their training seeds; failed: by trial, why; judge: who scored the pictures, None
    where nobody knows the base; sheet: a row a prompt, a column a trial; None without pictures.
    """

    out: Path
    trials: Sequence[Trial]
    standings: Sequence[Standing]
    losses: Mapping[str, float]
    failed: Mapping[str, str]
    judge: str | None
    sheet: Path | None
    seconds: float


@contained()
def sweep(
    path: Path, out: Path, changes: Mapping[str, Any] | None = None, *, judge: str | None = None,
    yes: bool = False, on: str = "local", tell: Tell = SILENT,
) -> Sweep:  # fmt: skip
    """Trains, makes the pictures and compares; a trial that fails is in the answer, and no error.

    path: the sweep's file; changes: into every trial; on: where the trainings run, as
    `experiments.work.places` has it. Raises ConfigError for what cannot be run or was begun
    otherwise in `out`, Interrupted where it is stopped: the same call goes on then.
    """
    begun = time.monotonic()
    file, trials = read(path, changes, yes=yes)
    judge = judge or _judge_of_all(trials)
    trainings = _trainings(file, trials, out)
    folder, failed = Folder(out), dict[str, str]()
    folder.folder("jobs")
    with folder.lock():
        for training in trainings:
            training.refuse_changed()
        todo = [training.job for training in trainings if not training.finished]
        _tell_plan(file, trials, len(trainings), todo, out, tell)
        for job in todo:
            job.write()
        if todo:
            with places.place(on, out, tell) as place:
                failed = running.run(todo, place, out / "logs" / "sweep.log", tell)
        return _compare(file, trials, failed, out, judge, begun, tell)


def _judge_of_all(trials: Sequence[Trial]) -> str | None:
    """The judge that all trials name: none where their bases have different ones."""
    named = {judge_of(trial.config) for trial in trials}
    return named.pop() if len(named) == 1 else None


def _trainings(file: SweepFile, trials: Sequence[Trial], out: Path) -> list[Training]:
    """Each with all the trials that share it."""
    sharing: dict[str, list[Trial]] = {}
    for trial in trials:
        sharing.setdefault(trial.run, []).append(trial)
    made = []
    for name, own in sharing.items():
        samples = {one.label: one.config.sample for one in own}
        made.append(Training(out, name, own[0].config, samples, tuple(file.prompts), file.count))
    return made


def _tell_plan(
    file: SweepFile, trials: Sequence[Trial], trainings: int, todo: Sequence[Job], out: Path,
    tell: Tell,
) -> None:  # fmt: skip
    """What is about to be done; the trainings tell how long, once they run."""
    done = trainings - len(todo)
    already = f", {done} of them done already" if done else ""
    tell.note(f"{counted(len(trials), 'trial')}, {counted(trainings, 'training')}{already}: {out}")
    tell.note(
        f"each trial: {counted(file.count, 'picture')} of each of"
        f" {counted(len(file.prompts), 'prompt')}, on the seeds 0 to {file.count - 1}"
    )
    progress = [job.progress() for job in todo]
    if todo and all(steps for _, steps in progress):
        left = sum((steps or 0) - min(done, steps or 0) for done, steps in progress)
        tell.note(f"{counted(left, 'training step')} to go")


def _compare(
    file: SweepFile, trials: Sequence[Trial], failed: Mapping[str, str], out: Path,
    judge: str | None, begun: float, tell: Tell,
) -> Sweep:  # fmt: skip
    """A sheet, and how the trials stand with a judge; both, and all numbers, in the folder."""
    paths = {trial.label: pictures_of(out, trial.label) or [] for trial in trials}
    done = [trial for trial in trials if paths[trial.label]]
    losses = {trial.label: _final_loss(trial, out) for trial in done}
    panel = None
    if judge and done:
        config = changed(done[0].config, **{"score.judge": judge})
        panel = open_panel(config, cache=out / "cache", tell=tell)
    found: dict[str, Scores] = {trial.label: {} for trial in done}
    if panel:
        for trial in done:
            run = run_of(out, trial.run, trial.config)
            found[trial.label] = standings.scores(trial, paths[trial.label], file, run, panel)
    stand = standings.standings(done, found, file.count)
    facts = {
        "failed": dict(failed),
        "judge": judge,
        "standings": [one.as_json() for one in stand],
        "trials": {
            trial.label: {"run": trial.run, "loss": losses[trial.label], **found[trial.label]}
            for trial in done
        },
    }
    write_bytes(out / "sweep.json", (json.dumps(facts, indent=1) + "\n").encode())
    page = _write_sheet(file, done, paths, out) if done else None
    name, seconds = panel.prompt.name if panel else None, time.monotonic() - begun
    return Sweep(out, done, stand, _by_name(done, losses), failed, name, page, seconds)


def _by_name(trials: Sequence[Trial], losses: Mapping[str, float]) -> dict[str, float]:
    """The mean over training seeds."""
    own: dict[str, list[float]] = {}
    for trial in trials:
        own.setdefault(trial.name, []).append(losses[trial.label])
    return {name: sum(values) / len(values) for name, values in own.items()}


def _write_sheet(
    file: SweepFile, done: Sequence[Trial], paths: Mapping[str, list[Path]], out: Path
) -> Path:
    """A row a prompt, a column a trial: the first picture of each."""
    rows = range(0, len(file.prompts) * file.count, file.count)
    images = [Image.open(paths[trial.label][row]) for row in rows for trial in done]
    labels = [fill(prompt, trial.config.subject) for prompt in file.prompts for trial in done]
    titles = [trial.label for trial in done]
    page = drawn_sheet(images, labels, columns=len(done), column_titles=titles, title=out.name)
    save_png(page, out / "sheet.png")
    return out / "sheet.png"


def _final_loss(trial: Trial, out: Path) -> float:
    """Mean over the last tenth of the steps, at least ten."""
    losses = [line["loss"] for line in run_of(out, trial.run, trial.config).metrics()]
    last = losses[-max(10, len(losses) // 10) :]
    return sum(last) / len(last)
