"""What the frozen base says of the photos that are trained on: what the adapted model is held to.

Two methods ask it, each by one more forward pass without gradient, adapters off:

- *keep*, the prior without pictures: on the photo's own x_t and t, the adapted model under a
  caption of the class is held to the base's prediction under the same caption,
  `||f(x_t, class) - f_base(x_t, class)||^2`. Unlike DreamBooth's class pictures (Ruiz et al. 2022,
  2208.12242, section 4.3) nothing is sampled first, and no picture but the photos is seen.
- *DCO* (Lee et al. 2024, 2402.12004): the adapted model need only be better than the base on the
  same noise; see `models.diffusion.loss.dco`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from kaiffin.adapters.stack import Stack
from kaiffin.foundation.runtime import Runtime
from kaiffin.foundation.sections import ObjectiveConfig
from kaiffin.foundation.subject import without_token
from kaiffin.models.base import Conditioning
from kaiffin.train.classes import KEEP
from kaiffin.train.inputs import Batch, Inputs


class Anchor:
    """Asks the base, which is the family with all adapters of `stack` off."""

    def __init__(
        self, inputs: Inputs, stack: Stack, goal: ObjectiveConfig, runtime: Runtime
    ) -> None:
        self.inputs, self.stack, self.goal, self.runtime = inputs, stack, goal, runtime

    def said(
        self, batches: Sequence[Batch], x_t: Sequence[Tensor], t: Sequence[Tensor]
    ) -> list[Tensor | None]:
        """The base's prediction of each batch that needs it, all in one pass, else None."""
        asked = [i for i, batch in enumerate(batches) if self._asks(batch)]
        found: list[Tensor | None] = [None] * len(batches)
        if not asked:
            return found
        with torch.no_grad(), self.stack.off(), self.runtime.autocast():
            told = [self._told(batches[i]) for i in asked]
            output = self.inputs.family.predict(
                torch.cat([x_t[i] for i in asked]), torch.cat([t[i] for i in asked]),
                Conditioning.cat(told),
            )  # fmt: skip
        for i, part in zip(asked, output.split([len(batches[i]) for i in asked]), strict=True):
            found[i] = part
        return found

    def _asks(self, batch: Batch) -> bool:
        return batch.role == KEEP or (batch.role == "instance" and self.goal.dco_beta is not None)

    def _told(self, batch: Batch) -> Conditioning:
        """The batch's captions, with the noun alone where they name the subject."""
        captions = [without_token(caption, batch.subject) for caption in batch.captions]
        return self.inputs.plain_conditioning(captions, batch.sizes)
