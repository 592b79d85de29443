"""What the other processes of a training do: their part of each step, and nothing else.

They are told by the first process (crew.py) what is trained; they write no file but the cache, and
say nothing: what fails here is said there.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from kaiffin.data.prepare import Example, Prepared
from kaiffin.data.turns import dataset_of
from kaiffin.foundation.cache import TensorCache
from kaiffin.foundation.config import Config
from kaiffin.foundation.errors import UserError
from kaiffin.foundation.tell import Tell
from kaiffin.train.crew import Crew, Stopped, join
from kaiffin.train.session import Session, joined_session
from kaiffin.train.state import TrainState
from kaiffin.train.trainer import Trainer


@dataclass(frozen=True)
class Order:
    """A phase to train. weights: of all adapters at its first step; state: where it goes on."""

    config: Config
    photos: Mapping[Path | None, Prepared]
    phase: int
    prior: Sequence[Example]
    cache: Path
    weights: Mapping[str, Tensor]
    state: TrainState | None


def order(session: Session, trainer: Trainer, cache: Path, state: TrainState | None) -> Order:
    """What the first process tells of a phase that it is about to train."""
    return Order(
        session.config, session.photos, session.phases.index(trainer.phase),
        trainer.dataset.prior, cache.resolve(), session.stack.state(), state,
    )  # fmt: skip


def help_along() -> int:
    """Until the first process sends it home; the exit code."""
    for number in (signal.SIGINT, signal.SIGTERM):  # the first process saves, and ends all
        signal.signal(number, signal.SIG_IGN)
    session: Session | None = None
    try:
        crew = join()
        while (heard := crew.hear()) is not None:
            session = session or joined_session(heard.config, heard.photos, tell=Tell())
            _train(crew, session, heard)
    except UserError:
        return 1
    return 0


def _train(crew: Crew, session: Session, told: Order) -> None:
    phase = session.phases[told.phase]
    config = phase.config
    dataset = dataset_of(config, session.examples(phase), told.prior)
    session.stack.load(told.weights)
    session.stack.inject(session.family, phase.attached)
    trainer = Trainer(
        session.family, session.stack, dataset, phase, session.runtime, TensorCache(told.cache),
        crew=crew,
    )  # fmt: skip
    if told.state:
        trainer.restore(told.state)
    with suppress(Stopped):
        trainer.fit()
    trainer.settle()
    session.stack.eject()


if __name__ == "__main__":
    sys.exit(help_along())
