"""`kaiffin sweep`: one configuration with some settings changed at a time, on equal seeds.

    config: base.yaml                  # beside this file
    set: {train.steps: 1000}           # in all trials
    trials: {baseline: {}, slow: {train.lr: 1.0e-5}}
    grid: {adapter.rank: [4, 16]}      # or each combination of these
    seeds: [0, 1]                      # of the training
    prompts: ["a photo of {token} in the snow"]
    count: 4                           # pictures of each prompt, on equal seeds in all trials

Trials that differ only in `sample` share a training. What is finished is skipped, so that a sweep
that was stopped goes on; a trial that fails is reported and the others run.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from pydantic import Field, ValidationError
from rich.table import Table

from kaiffin import config as configs
from kaiffin import generate as pictures
from kaiffin import picturing, recipes
from kaiffin.adapters.files import write_bytes
from kaiffin.choosing import plain_prompt
from kaiffin.config import Config, Strict
from kaiffin.data.sources import fill
from kaiffin.errors import ConfigError, Interrupted, UserError, nearest
from kaiffin.run import Run
from kaiffin.saying import console
from kaiffin.score import MINIATURE, Scorer, bootstrap, paired
from kaiffin.sheets import sheet
from kaiffin.train.cache import content_key

MANY = 50  # trainings above which a sweep asks


class SweepFile(Strict):
    """The file, strict as every configuration."""

    config: Path
    set: dict[str, Any] = Field({})
    trials: dict[str, dict[str, Any]] = Field({})
    grid: dict[str, list[Any]] = Field({})
    seeds: list[int] = Field([0], min_length=1)
    prompts: list[str] = Field(min_length=1)
    count: int = Field(2, ge=1)


@dataclass(frozen=True)
class Trial:
    """One setting and training seed. run: name of the training's folder, which others may share."""

    name: str
    seed: int
    config: Config
    run: str

    @property
    def label(self) -> str:
        return f"{self.name}-seed{self.seed}"


def read(path: Path, changes: Mapping[str, Any] | None = None) -> tuple[SweepFile, list[Trial]]:
    """The sweep in `path` with every trial's configuration built; `changes` go into all of them.

    Raises ConfigError naming the trial and field that is wrong.
    """
    try:
        file = SweepFile.model_validate(configs.read_yaml(path))
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        known = nearest(name, list(SweepFile.model_fields))
        raise ConfigError(f"{path}: {name}: {first['msg']}.", known) from None
    base = configs.read_yaml(path.parent / file.config)
    shared: dict[str, str] = {}
    trials, more = [], changes or {}
    for name, own in _settings(file, path):
        for seed in file.seeds:
            merged = configs.override(base, {**file.set, **own, "train.seed": seed, **more})
            config = configs.build(merged, f"{path}: trial {name}")
            key = content_key(configs.dump(config.model_copy(update={"sample": None})))
            run = shared.setdefault(key, f"{name}-seed{seed}")
            trials.append(Trial(name, seed, config, run))
    return file, trials


def _settings(file: SweepFile, path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(name, settings) of each trial, listed or by the grid."""
    if bool(file.trials) == bool(file.grid):
        raise ConfigError(f"{path}: give either trials or a grid.", "See `kaiffin sweep --help`.")
    empty = [name for name, values in file.grid.items() if not values]
    if empty:
        raise ConfigError(f"{path}: grid.{empty[0]} has no values.", "List some, as [4, 16].")
    yield from file.trials.items()
    for values in itertools.product(*file.grid.values()) if file.grid else ():
        own = dict(zip(file.grid, values, strict=True))
        yield ",".join(f"{key.rpartition('.')[2]}={value}" for key, value in own.items()), own


def run(
    path: Path, out: Path, changes: Mapping[str, Any], *, judge: str | None, yes: bool = False
) -> bool:
    """Trains, makes the pictures and compares; whether every trial came through.

    Writes runs/, pictures/, sheet.png and sweep.json below `out`.
    """
    file, trials = read(path, changes)
    trainings = list(dict.fromkeys(trial.run for trial in trials))
    console.print(f"{len(trials)} trials, {len(trainings)} trainings: {out}")
    if len(trainings) > MANY and not yes:
        raise ConfigError(f"{path}: {len(trainings)} trainings are many.", "Say --yes to run them.")
    judge = _judge_of(trials[0].config, judge)
    out.mkdir(parents=True, exist_ok=True)
    with Run(out, trials[0].config).lock():
        made, failed = _run_all(file, trials, out)
        _compare(file, trials, made, failed, out, judge)
    return not failed


def _run_all(
    file: SweepFile, trials: list[Trial], out: Path
) -> tuple[dict[str, list[Path]], dict[str, str]]:
    """Pictures of the trials that came through, and why the others did not."""
    made: dict[str, list[Path]] = {}
    failed: dict[str, str] = {}
    for number, trial in enumerate(trials, 1):
        console.print(f"[{number}/{len(trials)}] {trial.label}")
        try:
            if trial.run in failed:
                raise UserError(failed[trial.run])
            _trained(trial, out / "runs" / trial.run)
            made[trial.label] = _pictures(trial, file, out)
        except Interrupted:
            raise  # saved; the same command goes on
        except UserError as error:
            console.print(f"failed: {trial.label}: {error}")
            failed[trial.label] = failed[trial.run] = str(error)
    return made, failed


def _trained(trial: Trial, folder: Path) -> None:
    """Trains, goes on, or finds it done."""
    if (folder / "config.yaml").is_file():
        recipes.resume(folder)
    else:
        recipes.train(trial.config, folder)


def _pictures(trial: Trial, file: SweepFile, out: Path) -> list[Path]:
    """In order of prompts and seeds, made unless they are all there."""
    folder = out / "pictures" / trial.label
    marker = folder / "made.json"
    if marker.is_file():
        return [folder / name for name in json.loads(marker.read_text(encoding="utf-8"))]
    for old in folder.glob("*.png"):  # of an interrupted attempt
        old.unlink()
    changes = {f"sample.{k}": v for k, v in trial.config.sample.model_dump().items()}
    paths = picturing.generate(
        str(out / "runs" / trial.run), file.prompts, count=file.count, changes=changes, out=folder
    )
    write_bytes(marker, json.dumps([path.name for path in paths]).encode())
    return paths


def _compare(
    file: SweepFile, trials: list[Trial], made: Mapping[str, list[Path]],
    failed: Mapping[str, str], out: Path, judge: str | None,
) -> None:  # fmt: skip
    """A sheet (a row a prompt, a column a trial); with a judge, the prompts' scores in pairs."""
    done = [trial for trial in trials if trial.label in made]
    facts: dict[str, Any] = {"failed": dict(failed), "judge": judge, "trials": {}}
    scores = _scores(file, done, made, judge) if judge else {}
    table = Table("trial", "loss at the end", "prompt (CLIP-T)", "against the first", box=None)
    for trial in done:
        own, first = scores.get(trial.label), scores.get(done[0].label)
        mean = str(bootstrap(own)) if own else ""
        gain = str(paired(first, own)) if own and first and own is not first else ""
        loss = _final_loss(out / "runs" / trial.run)
        table.add_row(trial.label, f"{loss:.4f}", mean, gain)
        facts["trials"][trial.label] = {"run": trial.run, "loss": loss, "clip_t": own}
    write_bytes(out / "sweep.json", (json.dumps(facts, indent=1) + "\n").encode())
    if not done:
        return
    rows = range(0, len(file.prompts) * file.count, file.count)
    images = [Image.open(made[trial.label][row]) for row in rows for trial in done]
    labels = [fill(prompt, trial.config.subject) for prompt in file.prompts for trial in done]
    titles = [trial.label for trial in done]
    page = sheet(images, labels, columns=len(done), column_titles=titles, title=out.name)
    pictures.save_png(page, out / "sheet.png")
    if judge:
        console.print(f"judged by {judge}; the same prompts and seeds in pairs, 95 % intervals")
    console.print(table)
    console.print(f"the first picture of each prompt: {out / 'sheet.png'}")


def _scores(
    file: SweepFile, done: list[Trial], made: Mapping[str, list[Path]], judge: str
) -> dict[str, list[float]]:
    scorer = Scorer(judge)
    found = {}
    for trial in done:
        texts = [
            plain_prompt(fill(p, trial.config.subject), trial.config.subject) for p in file.prompts
        ]
        asked = [text for text in texts for _ in range(file.count)]
        images = [Image.open(path).convert("RGB") for path in made[trial.label]]
        found[trial.label] = scorer.text_image(images, asked).tolist()
    return found


def _final_loss(folder: Path) -> float:
    """Mean over the last tenth of the steps, at least ten."""
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    last = lines[-max(10, len(lines) // 10) :]
    return sum(json.loads(line)["loss"] for line in last) / len(last)


def _judge_of(config: Config, given: str | None) -> str | None:
    """The judge asked for; for the miniature its own CLIP, for a real base none by itself."""
    return given or (MINIATURE if config.base.name == MINIATURE else None)
