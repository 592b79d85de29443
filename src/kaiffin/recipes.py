"""The story pages of training: prepare, plan, train, resume, each as one function that reads top
to bottom.

Recipes choose and connect; they hold no maths, no loop over training steps and no file format.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from kaiffin import checkpoints, exporting, memory, picturing, saying
from kaiffin import generate as pictures
from kaiffin.cache import TensorCache, content_key
from kaiffin.config import Config, SubjectConfig, changed
from kaiffin.data.dataset import Dataset
from kaiffin.data.images import open_photo, square_crop
from kaiffin.data.prepare import Example, Prepared
from kaiffin.data.sources import fill, without_token
from kaiffin.errors import RunError
from kaiffin.generate import Request
from kaiffin.miniature import EMBEDDED
from kaiffin.models import resolve
from kaiffin.models.base import ModelFamily
from kaiffin.models.load import read_text_facts
from kaiffin.phases import Phase
from kaiffin.planning import Plan, print_memory, print_plan, print_small
from kaiffin.run import Run, file_name, free_name
from kaiffin.saying import console
from kaiffin.sessions import Session, look_at, open_session
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

SMALL_SHARE = 0.25  # of the memory: what is estimated below it is not worth a closer look


def prepare(config: Config, out: Path) -> Prepared:
    """Looks at every photo and writes a manifest and a contact sheet into `out`."""
    facts = read_text_facts(config.base.name)
    resolution = config.data.resolution or facts.native_size
    prepared = look_at(config.data, config.subject, facts, resolution, out)
    console.print(f"{len(prepared.examples)} photos at {resolution} px. Look at them:")
    console.print(f"  {out / 'contact_sheet.png'}")
    saying.refuse_problems(prepared)
    return prepared


def plan(config: Config) -> Plan:
    """Prints what `train` would do: weights, steps, epochs, memory and time; trains nothing."""
    return _plan(open_session(config, None), look=True)[0]


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
        session = open_session(run.config, run)
        _, changes = _plan(session)
        if changes:
            session = open_session(changed(run.config, **changes), run)
        run.save_config(session.config)
        _check_same_base(run, session.family)
        exporting.write_manifest(run, session)
        latest = run.latest_checkpoint()
        state = TrainState.read(latest) if latest else None
        step = 0
        for phase in session.phases:
            if not state or state.step <= phase.last:
                step = _train_phase(run, session, phase, state)
        exporting.export(run, session, step)
        exporting.prove_files(run, session)
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


def _plan(session: Session, *, look: bool = False) -> tuple[Plan, dict[str, object]]:
    """Prints the plan; measures the memory where that may matter, or where `look` asks for it.

    Returns the changes that `train.fit_memory` takes as well, where it does not fit.
    """
    config, family = session.config, session.family
    plan = Plan.of(config, family, session.stack, session.phases, session.photos)
    print_plan(plan, session.derived, console)
    room = memory.available(family.device)
    if plan.memory < SMALL_SHARE * room and not look:
        print_small(plan, console)
        return plan, {}
    return plan, _fit(session, room)


def _fit(session: Session, room: int) -> dict[str, object]:
    """Says where the memory goes, and the changes that are taken where it does not fit."""
    config = session.config
    meter = memory.Meter(session.family, session.stack, session.phases, session.runtime)
    measured = meter.memory(config)
    rungs = memory.ladder(config, measured, meter, room)
    print_memory(measured, room, rungs, console)
    changes = {k: v for rung in rungs for k, v in rung.changes.items()}
    if changes and config.train.fit_memory:
        console.print(
            f"taken, since train.fit_memory is set: {' '.join(r.settings for r in rungs)}"
        )
        return changes
    return {}


def _trainer(run: Run, session: Session, phase: Phase) -> Trainer:
    """The trainer of a phase with its listeners; tokens and adapters are attached."""
    config, family, runtime = phase.config, session.family, session.runtime
    examples = session.photos[config.data.photos].examples
    prior = class_pictures(config, family, run, examples)
    dataset = Dataset(examples, prior, config.data, config.train.seed)
    session.stack.inject(family, phase.attached)
    cache = TensorCache(run.folder("cache"))
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
            exporting.export_candidate(run, session, step)
        if not session.config.score.early_stop or trainer.phase is not last:
            return True
        session.stack.eject()
        try:
            return checkpoints.promising(run, session.family, since=last.first, until=step)
        finally:
            session.stack.inject(session.family, last.attached)

    return keep


def _previewer(session: Session, trainer: Trainer):
    """A function that makes the preview pictures with the adapter as it is now."""
    config, stack = session.config, session.stack
    prompts = [fill(p, config.subject) for p in config.sample.preview_prompts]
    seed = config.sample.preview_seed
    requests = [picturing.request(p, seed, config.sample) for p in prompts]

    def make() -> list[tuple[str, Image.Image]]:
        stack.train(False)
        with trainer.shown():
            images = list(pictures.generate(session.family, requests))
        stack.train(True)
        return list(zip(prompts, images, strict=True))

    return make


def class_pictures(
    config: Config, family: ModelFamily, run: Run, examples: Sequence[Example]
) -> list[Example]:
    """Pictures of the class for prior preservation, made by the base itself; resumable.

    They lie in a folder named by everything that decides them, so that a changed prompt or base
    never meets old pictures.
    """
    prior, seed = config.data.prior, config.train.seed
    if not prior.weight:
        return []
    side = config.data.resolution or family.native_size
    prompts = [prior.prompt] if prior.prompt else class_prompts(config.subject, examples)
    requests = [
        Request(
            prompts[i % len(prompts)], seed + i, side, side, steps=prior.steps,
            guidance=prior.guidance,
        )
        for i in range(prior.num_images)
    ]  # fmt: skip
    decided = content_key(family.revision, requests[0], *prompts[1:])
    folder = run.folder("cache") / f"prior-{decided[:16]}"
    folder.mkdir(exist_ok=True)
    paths = [folder / f"{request.seed:06d}.png" for request in requests]
    # Whole batches: the last bit of a picture depends on those it is computed with.
    batches = [range(i, min(i + 8, len(paths))) for i in range(0, len(paths), 8)]
    todo = [i for batch in batches if not all(paths[k].is_file() for k in batch) for i in batch]
    if todo:
        more = f" and {len(prompts) - 1} more" if len(prompts) > 1 else ""
        console.print(f'making {len(todo)} class pictures: "{prompts[0]}"{more}')
        made = pictures.generate(family, [requests[i] for i in todo], batch_size=8)
        with saying.progress("class pictures", len(todo)) as advance:
            for i, image in zip(todo, made, strict=True):
                pictures.save_png(image, paths[i])
                advance(1)
    crop = square_crop((side, side), side)
    return [
        Example(path, open_photo(path).sha256, (one.prompt,), crop, (side, side), "prior")
        for path, one in zip(paths, requests, strict=True)
    ]


def class_prompts(subject: SubjectConfig, examples: Sequence[Example]) -> list[str]:
    """The photos' captions without the subject's word: "a photo of a bear in a meadow".

    Class pictures in the photos' own places leave nothing but that word to tell the two apart.
    With pictures of the class in any place, a model learns that the photos' places mean the
    subject and all others do not (docs/log.md). A caption that does not name the subject gives the
    plain "a photo of a bear".
    """
    found = {}
    for caption in (caption for example in examples for caption in example.captions):
        told = without_token(caption, subject)
        found[told if told != caption else f"a photo of a {subject.noun}"] = True
    return list(found)


def _check_same_base(run: Run, family: ModelFamily) -> None:
    before = run.read_json("manifest.json").get("base", {}).get("revision", family.revision)
    if before != family.revision:
        raise RunError(
            f"{run.path}: was begun on base weights {before[:10]}, and {family.base} is now"
            f" {family.revision[:10]}.",
            "Put the old weights back, or start a new run.",
        )


def list_bases() -> None:
    """Prints the bases known by name and whether they are on this machine."""
    for name in (*EMBEDDED, *resolve.ALIASES):
        where = "inside Kaiffin" if name in EMBEDDED else resolve.ALIASES[name]
        here = "here" if resolve.is_here(name) else "not on this machine"
        console.print(f"{name:22} {where:46} {here}")
