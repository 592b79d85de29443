"""`kaiffin sweep`: trials of one configuration, each with the same seeds and number of pictures.

Trials that differ only in `sample` share a training. What is finished is skipped, so that a sweep
that was stopped goes on; a trial that fails is reported and the others run. In its folder:

    runs/<training>/  pictures/<trial>/  sheet.png  sweep.json    the results
    jobs/  logs/                                                  how they were come by
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from kaiffin.experiments.sweep import standings
from kaiffin.experiments.sweep.trials import SweepFile, Trial, read
from kaiffin.experiments.work import running, workers
from kaiffin.experiments.work.jobs import Job
from kaiffin.foundation.config import Config
from kaiffin.foundation.folder import write_bytes
from kaiffin.foundation.run import Run
from kaiffin.foundation.settings import changed
from kaiffin.foundation.sheets import sheet
from kaiffin.foundation.subject import fill
from kaiffin.foundation.tell import console
from kaiffin.pictures.recipe import save_png
from kaiffin.score.judge import judge_of
from kaiffin.score.panel import open_panel


def run(
    path: Path, out: Path, changes: Mapping[str, Any], *, judge: str | None, yes: bool = False,
    on: str = "local",
) -> bool:  # fmt: skip
    """Trains, makes the pictures and compares; whether every trial came through.

    on: where the trainings run, as `workers` has it.
    """
    file, trials = read(path, changes, yes=yes)
    jobs = _jobs(file, trials, out)
    judged = changed(trials[0].config, **({"score.judge": judge} if judge else {}))
    folder = Run(out, trials[0].config)
    folder.folder("jobs")
    failed: dict[str, str] = {}
    with folder.lock():
        for job in jobs:
            job.refuse_changed()
        todo = [job for job in jobs if not job.finished]
        _say_plan(file, trials, jobs, todo, out)
        for job in todo:
            job.write()
        if todo:
            with workers.place(on, out) as place:
                failed = running.run(todo, place)
        made = {label: job.pictures(label) or [] for job in jobs for label in job.trials}
        _compare(file, trials, {k: v for k, v in made.items() if v}, failed, out, judged)
    return not failed


def _jobs(file: SweepFile, trials: Sequence[Trial], out: Path) -> list[Job]:
    """A job for each training, with all the trials that share it."""
    sharing: dict[str, list[Trial]] = {}
    for trial in trials:
        sharing.setdefault(trial.run, []).append(trial)
    made = []
    for name, own in sharing.items():
        samples = {one.label: one.config.sample for one in own}
        made.append(Job(out, name, own[0].config, samples, tuple(file.prompts), file.count))
    return made


def _say_plan(
    file: SweepFile, trials: Sequence[Trial], jobs: Sequence[Job], todo: Sequence[Job], out: Path
) -> None:
    """What is about to be done; the trainings tell how long, once they run."""
    done = len(jobs) - len(todo)
    already = f", {done} of them done already" if done else ""
    console.print(f"{len(trials)} trials, {len(jobs)} trainings{already}: {out}")
    console.print(
        f"each trial: {file.count} pictures of each of {len(file.prompts)} prompts, on the seeds 0"
        f" to {file.count - 1}"
    )
    progress = [job.progress() for job in todo]
    if todo and all(steps for _, steps in progress):
        left = sum((steps or 0) - min(done, steps or 0) for done, steps in progress)
        console.print(f"{left:,} training steps to go")


def _compare(
    file: SweepFile, trials: list[Trial], made: Mapping[str, list[Path]],
    failed: Mapping[str, str], out: Path, judged: Config,
) -> None:  # fmt: skip
    """A sheet (a row a prompt, a column a trial); with a judge, how the trials stand."""
    done = [trial for trial in trials if trial.label in made]
    losses = {trial.label: _final_loss(out / "runs" / trial.run) for trial in done}
    judge = judge_of(judged)
    panel = open_panel(judged, cache=out / "cache") if judge and done else None
    found: dict[str, standings.Scores] = {trial.label: {} for trial in done}
    if panel:
        for trial in done:
            run = Run(out / "runs" / trial.run, trial.config)
            found[trial.label] = standings.scores(trial, made[trial.label], file, run, panel)
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
    if not done:
        return
    _write_sheet(file, done, made, out)
    console.print(standings.table(stand, _by_name(done, losses)))
    if panel:
        console.print(
            f"judged by {panel.prompt.name}; below the means: against {stand[0].name}, in pairs,"
            f" 95 % {standings.drawn(stand)}; * is clear"
        )
    console.print(f"the first picture of each prompt: {out / 'sheet.png'}")


def _by_name(trials: Sequence[Trial], losses: Mapping[str, float]) -> dict[str, float]:
    """The mean over training seeds."""
    own: dict[str, list[float]] = {}
    for trial in trials:
        own.setdefault(trial.name, []).append(losses[trial.label])
    return {name: sum(values) / len(values) for name, values in own.items()}


def _write_sheet(
    file: SweepFile, done: Sequence[Trial], made: Mapping[str, list[Path]], out: Path
) -> None:
    rows = range(0, len(file.prompts) * file.count, file.count)
    images = [Image.open(made[trial.label][row]) for row in rows for trial in done]
    labels = [fill(prompt, trial.config.subject) for prompt in file.prompts for trial in done]
    titles = [trial.label for trial in done]
    page = sheet(images, labels, columns=len(done), column_titles=titles, title=out.name)
    save_png(page, out / "sheet.png")


def _final_loss(folder: Path) -> float:
    """Mean over the last tenth of the steps, at least ten."""
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    last = lines[-max(10, len(lines) // 10) :]
    return sum(json.loads(line)["loss"] for line in last) / len(last)
