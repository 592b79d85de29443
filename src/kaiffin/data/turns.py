"""Several subjects that take turns: a batch of each after another.

Each sees the photos that it would see alone, so that whose turn it is, and what is drawn, are
functions of the batch's number, as all that is drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

from torch import Tensor

from kaiffin.data.dataset import Dataset, Draw
from kaiffin.data.prepare import Example
from kaiffin.foundation.config import Config


class Turns:
    """The batches of `parts`, one data set for each subject, as those of one data set."""

    def __init__(self, parts: Sequence[Dataset]) -> None:
        self.parts = parts

    @property
    def instance(self) -> list[Example]:
        """The photos of all."""
        return list(chain.from_iterable(part.instance for part in self.parts))

    @property
    def prior(self) -> list[Example]:
        """The class pictures of all."""
        return list(chain.from_iterable(part.prior for part in self.parts))

    def _turn(self, number: int) -> tuple[Dataset, int]:
        """Whose turn it is, and how many it has had."""
        turn, whose = divmod(number, len(self.parts))
        return self.parts[whose], turn

    def batch(self, number: int, size: int) -> list[Draw]:
        """The `number`-th batch of photos, all of one subject."""
        part, turn = self._turn(number)
        return part.batch(turn, size)

    def prior_batch(self, number: int, size: int) -> list[Draw]:
        """The `number`-th batch of class pictures, of that subject's class; empty without any."""
        part, turn = self._turn(number)
        return part.prior_batch(turn, size)

    def pixels(self, draw: Draw) -> Tensor:
        """As a data set has it."""
        return self.parts[0].pixels(draw)

    def mask(self, draw: Draw) -> Tensor | None:
        """As a data set has it."""
        return self.parts[0].mask(draw)


def dataset_of(
    config: Config, photos: Sequence[Sequence[Example]], prior: Sequence[Example]
) -> Dataset | Turns:
    """What a phase is fed with. photos: of each of the config's `photo_folders`; prior: the class
    pictures of all subjects."""
    parts = [
        Dataset(
            own, [one for one in prior if one.subject == subject], config.data, config.train.seed
        )
        for own, subject in zip(photos, config.everyone, strict=True)
    ]
    return Turns(parts) if len(parts) > 1 else parts[0]
