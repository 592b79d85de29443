"""`kaiffin train` and `kaiffin resume`: from photos to an adapter that others open."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from PIL import Image

from kaiffin.adapters.elsewhere.card import NAME as CARD
from kaiffin.adapters.elsewhere.proof import NoReader, Proof
from kaiffin.data.turns import dataset_of
from kaiffin.foundation.cache import TensorCache
from kaiffin.foundation.config import Config
from kaiffin.foundation.folder import file_name, read_json
from kaiffin.foundation.paths import anchored
from kaiffin.foundation.phases import Phase, expand
from kaiffin.foundation.run import Run, free_name
from kaiffin.foundation.runtime import Runtime, contained
from kaiffin.foundation.settings import changed
from kaiffin.foundation.subject import fill
from kaiffin.foundation.tell import SILENT, Tell
from kaiffin.foundation.whereabouts import BASE, files_now
from kaiffin.models.files.load import load_base
from kaiffin.models.files.resolve import pinned
from kaiffin.pictures.few import few_steps
from kaiffin.pictures.make import Wardrobe, beside
from kaiffin.pictures.request import Request, remarks, request
from kaiffin.stories import choose, export, plan
from kaiffin.stories.class_pictures import class_pictures
from kaiffin.stories.plan import Planned
from kaiffin.train import beginning, edits, helper
from kaiffin.train.crew import Crew, Lost, crewed
from kaiffin.train.session import Session, changed_session, open_session
from kaiffin.train.state import TrainState
from kaiffin.train.trainer import Trainer
from kaiffin.train.validation import Validation
from kaiffin.train.watch import (
    Candidates,
    Metrics,
    Pace,
    Preview,
    Previews,
    RestartPoints,
    SpillAlarm,
    TensorBoard,
)


@dataclass(frozen=True)
class Trained:
    """A finished run. steps: that it was trained for; seconds: of this call.

    planned: what was derived and expected, None where the run was finished already; proofs: those
    made now, by name of the adapter, "" for the run's own file; candidates: adapters kept on the
    way, among them the last.
    """

    run: Run
    steps: int
    seconds: float
    planned: Planned | None = None
    proofs: Mapping[str, Proof | NoReader] = field(default_factory=dict)
    candidates: int = 0

    @property
    def adapter(self) -> Path:
        return self.run.adapter_path

    @property
    def is_idle(self) -> bool:
        """Whether an adapter was proven to do nothing, now or before: no success."""
        before = read_json(self.run.proof_path).get("effect") == 0
        return before or any(isinstance(p, Proof) and p.is_idle for p in self.proofs.values())


@contained()
def train(
    config: Config, out: Path | None = None, *, devices: int = 1, tell: Tell = SILENT
) -> Trained:
    """Photos -> adapter: a new run folder, trained to its end.

    out: default: runs/<token>, or the first of runs/<token>-2, ... in which nothing is trained yet;
    devices: of this machine, which share every batch; see `train.crew`.
    """
    fill(config.data.template, config.subject)
    path = out or free_name(Path("runs") / file_name(config.subject.token))
    with crewed(devices) as crew:
        return _train(Run.create(path, anchored(config)), crew, tell)


@contained()
def resume(path: Path, *, devices: int = 1, tell: Tell = SILENT) -> Trained:
    """Goes on with an interrupted run; ends in the same file as if it had never stopped.

    Of a finished run it makes what a kill has left out: proof and card; where its config has been
    given more steps since, it trains them. Raises RunError naming what is not as the run was begun.
    """
    run = Run.open(path)
    longer = "train.steps" in edits.edits_of(run)
    if run.finished and not longer:
        return _made_up(run, tell)
    with crewed(devices) as crew:
        return _train(run, crew, tell)


def _train(run: Run, crew: Crew, tell: Tell) -> Trained:
    started = time.monotonic()
    with run.lock():
        session, planned = _opened(run, crew, tell)
        latest = run.latest_restart_point()
        state = TrainState.read(latest) if latest else None
        step = 0
        for phase in session.phases:
            if state and state.step > phase.last:
                continue  # done before
            trainer = _trainer(run, session, phase, crew, tell)
            if state and state.step > phase.first:
                trainer.restore(state)
                trainer.finished &= not beginning.is_prolonged(run, trainer.step)
                tell.note(f"going on after step {trainer.step}")
            with _together(run, session, trainer):
                trainer.fit()
            trainer.settle()
            session.stack.eject()
            step = trainer.step
        export.export(run, session, step)
        proofs = export.prove_files(run, session.family, tell=tell)
    seconds = time.monotonic() - started
    return Trained(run, step, seconds, planned, proofs, len(run.candidates()))


@contextmanager
def _together(run: Run, session: Session, trainer: Trainer) -> Iterator[None]:
    """The crew trains what is trained inside; where one of it dies, what was done is saved."""
    step = trainer.step
    if trainer.crew.size > 1 and step < trainer.steps and not trainer.finished:
        state = trainer.state() if step > trainer.phase.first else None
        trainer.crew.tell(helper.order(session, trainer, run.cache, state))
    try:
        yield
    except Lost:
        if trainer.step > step:
            RestartPoints(run, trainer).save()
        raise


def _opened(run: Run, crew: Crew, tell: Tell) -> tuple[Session, Planned]:
    """What is trained, as far as it fits into the memory; it stands in the run from now on."""
    run.clean()
    begun = bool(run.beginning()) or run.latest_restart_point() is not None
    edited, listings = beginning.check(run, tell)
    session = open_session(run.config, run, listings=listings, tell=tell)
    family = session.family
    beginning.refuse_other_base(run, family.revision, family.base)
    planned = plan.of_session(session, begun=begun, devices=crew.size)
    plan.say(planned, tell)
    if run.config.sample.preview_every or run.config.score.early_stop:  # pictures by `sample`
        config, _ = few_steps(run.config, tell=tell)
        for remark in remarks(_preview_requests(config)):
            tell.note(remark)
    if planned.changes:
        session = changed_session(session, planned.changes, tell=tell)
    run.save_config(_pinned(session.config))
    if run.finished:
        run.reopen()
    beginning.begin(run, family.revision, list(session.photos.values()), edited)
    export.write_manifest(run, session)
    return session, planned


def _pinned(config: Config) -> Config:
    """With the commit of what the hub gave, so that a restart takes exactly that."""
    base = config.base
    vae = {"base.vae": pinned(base.vae)} if base.vae else {}
    return changed(config, **{"base.name": pinned(base.name), **vae})


def _made_up(run: Run, tell: Tell) -> Trained:
    """A finished run, with its proof and card; where the proof fails, that is said again."""
    started, proofs = time.monotonic(), {}
    if not (run.path / CARD).is_file():
        export.write_card(run)
    if export.unproven(run):
        with run.lock():
            base = files_now(run, run.config, BASE, tell).base
            family = load_base(base, Runtime.from_config(base, run.config.train.precision), tell)
            beginning.refuse_other_base(run, family.revision, family.base)
            proofs = export.prove_files(run, family, tell=tell)
    before = {} if proofs else read_json(run.proof_path)
    for problem in before.get("problems", ()) if before.get("holds") is False else ():
        tell.warning(f"proof fails: {problem}")
    points = run.restart_points()
    step = points[-1][0] if points else expand(run.config)[-1].last
    seconds = time.monotonic() - started
    return Trained(run, step, seconds, None, proofs, len(run.candidates()))


def _trainer(run: Run, session: Session, phase: Phase, crew: Crew, tell: Tell) -> Trainer:
    """The trainer of a phase with its listeners; tokens and adapters are attached."""
    if len(session.phases) > 1:
        tell.note(
            f"phase {phase.name}: steps {phase.first + 1} to {phase.last}, trains"
            f" {', '.join(sorted(phase.trains))}"
        )
    config, family, runtime = phase.config, session.family, session.runtime
    photos = session.examples(phase)
    prior = class_pictures(config, family, run, list(chain.from_iterable(photos)), tell=tell)
    beginning.hold_class_pictures(run, prior)
    dataset = dataset_of(config, photos, prior)
    session.stack.inject(family, phase.attached)
    trainer = Trainer(family, session.stack, dataset, phase, runtime, TensorCache(run.cache), crew)
    board = TensorBoard(run) if config.train.tensorboard else None
    every = config.sample.preview_every
    previews = [Previews(run, _previewer(session, trainer), every, board)] if every else []
    keeper = _keeper(run, session, trainer, tell)
    candidates = Candidates(trainer, _candidate_steps(session), keeper)
    if config.train.validate_every:
        trainer.validation = Validation(trainer, session.held_out(phase))
    # Restart points come last: what others write of a step is there when the step counts as done.
    listeners = [
        Pace(tell), SpillAlarm(tell), Metrics(run), board, *previews, candidates,
        RestartPoints(run, trainer),
    ]  # fmt: skip
    trainer.listeners = [listener for listener in listeners if listener]
    return trainer


def _candidate_steps(session: Session) -> set[int]:
    """Evenly spaced over all phases; the last step is always one."""
    last, count = session.phases[-1].last, session.config.score.candidates
    return {max(1, round(last * i / count)) for i in range(1, count + 1)}


def _keeper(run: Run, session: Session, trainer: Trainer, tell: Tell) -> Callable[[int], bool]:
    """A function that keeps the adapter as it is now, and says whether training is to go on."""
    last = session.phases[-1]

    def keep(step: int) -> bool:
        with trainer.shown():
            export.export_candidate(run, session, step)
        if not session.config.score.early_stop or trainer.phase is not last:
            return True
        session.stack.eject()
        try:
            return choose.promising(run, session.family, since=last.first, until=step, tell=tell)
        finally:
            session.stack.inject(session.family, last.attached)

    return keep


def _previewer(session: Session, trainer: Trainer) -> Preview:
    """A function that makes the preview pictures with the adapter as it is now."""
    config, few = few_steps(session.config, tell=SILENT)
    stack, requests = session.stack, _preview_requests(config)
    wardrobe = Wardrobe(session.family, len(few.worn))

    def make() -> list[tuple[str, Image.Image]]:
        stack.train(False)
        with trainer.shown():
            images = list(beside(stack, few.lift, few.worn, requests, wardrobe))
        stack.train(True)
        return list(zip([one.prompt for one in requests], images, strict=True))

    return make


def _preview_requests(config: Config) -> list[Request]:
    prompts = [fill(p, config.subject) for p in config.sample.preview_prompts]
    return [request(p, config.sample.preview_seed, config.sample) for p in prompts]
