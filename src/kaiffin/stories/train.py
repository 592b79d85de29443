"""The story pages of training: prepare, plan, train, resume, each as one function that reads top
to bottom.

Recipes choose and connect; they hold no maths, no loop over training steps and no file format.
"""

from __future__ import annotations

import time
from pathlib import Path

from PIL import Image

from kaiffin.data.dataset import Dataset
from kaiffin.foundation.cache import TensorCache
from kaiffin.foundation.config import Config
from kaiffin.foundation.errors import RunError
from kaiffin.foundation.folder import read_json
from kaiffin.foundation.phases import Phase
from kaiffin.foundation.run import Run, file_name, free_name
from kaiffin.foundation.settings import changed
from kaiffin.foundation.subject import fill
from kaiffin.foundation.tell import VOICE, console
from kaiffin.models.base import ModelFamily
from kaiffin.pictures import sample as pictures
from kaiffin.pictures.request import request
from kaiffin.stories import choose, export
from kaiffin.stories.class_pictures import class_pictures
from kaiffin.stories.plan import say_plan
from kaiffin.train.session import Session, open_session
from kaiffin.train.state import TrainState
from kaiffin.train.trainer import Trainer
from kaiffin.train.watch import (
    Candidates,
    Checkpoints,
    Metrics,
    Previews,
    ProgressBar,
    SpillAlarm,
    TensorBoard,
)


def train(config: Config, out: Path | None = None) -> Run:
    """Photos -> adapter: a new run folder at `out` (default: runs/<token>), trained to its end."""
    fill(config.data.template, config.subject)
    path = out or free_name(Path("runs") / file_name(config.subject.token))
    run = Run.create(path, config)
    return _train(run)


def resume(path: Path) -> Run:
    """Goes on with an interrupted run; ends in the same file as if it had never stopped."""
    run = Run.open(path)
    if run.finished:
        console.print(f"{path} is finished: {run.adapter_path}")
        return run
    return _train(run)


def _train(run: Run) -> Run:
    with run.lock():
        run.clean()
        started = time.time()
        session = open_session(run.config, run, tell=VOICE)
        _, changes = say_plan(session)
        if changes:
            session = open_session(changed(run.config, **changes), run, tell=VOICE)
        run.save_config(session.config)
        _check_same_base(run, session.family)
        export.write_manifest(run, session)
        latest = run.latest_restart_point()
        state = TrainState.read(latest) if latest else None
        step = 0
        for phase in session.phases:
            if not state or state.step <= phase.last:
                step = _train_phase(run, session, phase, state)
        export.export(run, session, step)
        export.prove_files(run, session)
        console.print(f"trained in {time.time() - started:.0f} s: {run.adapter_path}")
        kept = len(run.candidates())
        if kept > 1:
            console.print(f"which of its {kept} candidates is best: `kaiffin choose {run.path}`")
    return run


def _train_phase(run: Run, session: Session, phase: Phase, state: TrainState | None) -> int:
    """Trains `phase` to its end, from `state` where that lies within it; returns the last step."""
    if len(session.phases) > 1:
        console.print(
            f"phase {phase.name}: steps {phase.first + 1} to {phase.last}, trains"
            f" {', '.join(sorted(phase.trains))}"
        )
    trainer = _trainer(run, session, phase)
    if state and state.step > phase.first:
        trainer.restore(state)
        console.print(f"going on after step {trainer.step}")
    trainer.fit()
    trainer.settle()
    session.stack.eject()
    return trainer.step


def _trainer(run: Run, session: Session, phase: Phase) -> Trainer:
    """The trainer of a phase with its listeners; tokens and adapters are attached."""
    config, family, runtime = phase.config, session.family, session.runtime
    examples = session.photos[config.data.photos].examples
    prior = class_pictures(config, family, run, examples)
    dataset = Dataset(examples, prior, config.data, config.train.seed)
    session.stack.inject(family, phase.attached)
    cache = TensorCache(run.cache)
    trainer = Trainer(family, session.stack, dataset, phase, runtime, cache)
    board = TensorBoard(run) if config.train.tensorboard else None
    every = config.sample.preview_every
    previews = [Previews(run, _previewer(session, trainer), every, board)] if every else []
    candidates = Candidates(trainer, _candidate_steps(session), _keeper(run, session, trainer))
    # Checkpoints come last: what others write of a step is there when the step counts as done.
    listeners = [
        ProgressBar(console), SpillAlarm(console), Metrics(run), board, *previews, candidates,
        Checkpoints(run, trainer),
    ]  # fmt: skip
    trainer.listeners = [listener for listener in listeners if listener]
    return trainer


def _candidate_steps(session: Session) -> set[int]:
    """Evenly spaced over all phases; the last step is always one."""
    last, count = session.phases[-1].last, session.config.score.candidates
    return {max(1, round(last * i / count)) for i in range(1, count + 1)}


def _keeper(run: Run, session: Session, trainer: Trainer):
    """A function that keeps the adapter as it is now, and says whether training is to go on."""
    last = session.phases[-1]

    def keep(step: int) -> bool:
        with trainer.shown():
            export.export_candidate(run, session, step)
        if not session.config.score.early_stop or trainer.phase is not last:
            return True
        session.stack.eject()
        try:
            return choose.promising(run, session.family, since=last.first, until=step)
        finally:
            session.stack.inject(session.family, last.attached)

    return keep


def _previewer(session: Session, trainer: Trainer):
    """A function that makes the preview pictures with the adapter as it is now."""
    config, stack = session.config, session.stack
    prompts = [fill(p, config.subject) for p in config.sample.preview_prompts]
    seed = config.sample.preview_seed
    requests = [request(p, seed, config.sample) for p in prompts]

    def make() -> list[tuple[str, Image.Image]]:
        stack.train(False)
        with trainer.shown():
            images = list(pictures.generate(session.family, requests))
        stack.train(True)
        return list(zip(prompts, images, strict=True))

    return make


def _check_same_base(run: Run, family: ModelFamily) -> None:
    before = read_json(run.manifest_path).get("base", {}).get("revision", family.revision)
    if before != family.revision:
        raise RunError(
            f"{run.path}: was begun on base weights {before[:10]}, and {family.base} is now"
            f" {family.revision[:10]}.",
            "Put the old weights back, or start a new run.",
        )
