"""The loss on held-out photos, at fixed noises and times, with the adapter and without."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import torch

from kaiffin.data.dataset import Draw
from kaiffin.data.prepare import Example
from kaiffin.train.trainer import Trainer, Validated

ROLE = "held-out"  # its draws are of no batch that is trained on
NOISES = 16  # of each photo, each at a time of its own


class Validation:
    """Asks again and again for the same: photos as they are cut, with their first captions, under
    noises that depend on the seed alone. What changes is the adapter."""

    def __init__(self, trainer: Trainer, photos: Sequence[Example]) -> None:
        self.trainer = trainer
        self.draws = [Draw(one, one.captions[0], flipped=False, crop=one.crop) for one in photos]

    @torch.no_grad()
    def __call__(self) -> Validated:
        stack = self.trainer.stack
        stack.train(False)
        with self.trainer.shown():
            loss = self._loss()
            with stack.off():
                base = self._loss()
        stack.train(True)
        return Validated(loss, base)

    def _loss(self) -> float:
        """Mean over photos and noises, in batches as large as those that are trained on."""
        inputs = self.trainer.inputs
        size = inputs.batch_size
        each = -(-NOISES // size)  # batches of one photo
        found = []
        for i, draw in enumerate(self.draws):
            batch = inputs.batch([draw] * size, ROLE)
            found += [self.trainer.losses([batch], i * each + k)[0].item() for k in range(each)]
        return statistics.fmean(found)
