"""What the model is told of a batch at each step, and what it answers."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from kaiffin.foundation.prompts import Spoken
from kaiffin.models.base import Conditioning, ModelFamily, SizeFacts
from kaiffin.models.diffusion import samplers
from kaiffin.pictures.passes import Pass
from kaiffin.pictures.request import Request
from kaiffin.pictures.tiles import joined

Share = Callable[..., None]  # told the adapters' strength in each of so many equal parts of a batch
# What texts were encoded to in this call, by all that it depends on; a row of each.
Known = dict[tuple[Hashable, Spoken, float], Conditioning]
MOST_KNOWN = 256
LAYOUT = 0.4  # of the steps, in which parts see the whole picture: they agree on horizon and light


@dataclass(frozen=True)
class Part:
    """A part of every picture, with words and adapters of its own. share: (h, w), how much of each
    latent cell it is; window: rows and columns of cells, which hold all of it, and through which
    the model sees the picture once its layout is there; wear: puts its adapters on, and takes those
    of other parts off."""

    prompt: str
    share: Tensor
    window: tuple[slice, slice]
    wear: Callable[[], None]


def num_chunks(family: ModelFamily, request: Request) -> int:
    """How many blocks of tokens its longest words need, at any step."""
    texts = (one for read in request.read for one in read.texts(request.steps))
    return family.num_chunks(list(dict.fromkeys(texts)))


class Told:
    """What a batch is told at each step; each text is encoded once, for the batches to come too.

    The adapters are as strong in the negative half as the request says (Park et al. 2025, arXiv
    2508.00319), also where its text is encoded.
    """

    def __init__(
        self, family: ModelFamily, batch: Sequence[Request], facts: SizeFacts,
        sigmas: Sequence[float], share: Share, known: Known,
    ) -> None:  # fmt: skip
        self.family, self.first = family, batch[0]
        self.guided = [self.first.guided(sigma) for sigma in sigmas]
        self.strengths = (1.0, self.first.negative_strength)
        self.share = share
        self.facts = facts
        self.chunks = num_chunks(family, self.first)  # in a batch they are equal
        self.kind = (self.facts, self.chunks, self.first.clip_skip)
        if len(known) > MOST_KNOWN:
            known.clear()
        self.known = known
        read = [[one.texts(self.first.steps) for one in request.read] for request in batch]
        self.prompts = list(zip(*(prompt for prompt, _ in read), strict=True))
        self.negatives = list(zip(*(negative for _, negative in read), strict=True))
        self.told: dict[tuple[tuple[Spoken, ...], ...], Conditioning] = {}

    def at(self, step: int) -> Conditioning:
        """The prompts, and behind them the negative ones where there is guidance."""
        halves = [self.prompts, self.negatives][: 2 if self.guided[step] else 1]
        texts = tuple(half[step] for half in halves)
        if texts not in self.told:
            asked = [
                (text, strength)
                for half, strength in zip(texts, self.strengths, strict=False)
                for text in half
            ]
            for strength in dict.fromkeys(self.strengths):
                self._learn([text for text, its in asked if its == strength], strength)
            self.told[texts] = Conditioning.cat([self.known[self.kind, *one] for one in asked])
        self.share(*self.strengths[: len(halves)])
        return self.told[texts]

    def _learn(self, texts: Sequence[Spoken], strength: float) -> None:
        """Encodes those that are not known."""
        new = [one for one in dict.fromkeys(texts) if (self.kind, one, strength) not in self.known]
        if not new:
            return
        self.share(strength)
        found = self.family.encode_text(
            new, [self.facts] * len(new), chunks=self.chunks, clip_skip=self.first.clip_skip
        )
        for row, text in enumerate(new):
            states = found.map(lambda value, row=row: value[row : row + 1])
            self.known[self.kind, text, strength] = states


class Says:
    """What the model answers a batch at each step of a pass. Of parts, each where its share is, so
    that no adapter moves what is another's; of tiles, each where it lies."""

    def __init__(
        self, family: ModelFamily, batch: Sequence[Request], one: Pass, sigmas: Sequence[float],
        share: Share = lambda *shares: None, known: Known | None = None, parts: Sequence[Part] = (),
    ) -> None:  # fmt: skip
        self.family, self.first, self.parts, self.tiles = family, batch[0], parts, one.tiles
        known = {} if known is None else known

        def told(batch: Sequence[Request], known: Known) -> list[Told]:
            places = one.facts(family.downscale)
            return [Told(family, batch, facts, sigmas, share, known) for facts in places]

        # Adapters differ from part to part, and with them what a text is encoded to.
        own = ([replace(one, prompt=part.prompt) for one in batch] for part in parts)
        self.told = [told(batch, {}) for batch in own] or [told(batch, known)]

    def at(self, step: int, x_t: Tensor, t: float) -> Tensor:
        if not self.parts:
            return self._joined(self.told[0], step, x_t, t)
        output = torch.zeros_like(x_t)
        for part, told in zip(self.parts, self.told, strict=True):
            part.wear()
            share, rows, columns = part.share, slice(None), slice(None)
            if self.tiles:
                (share,) = interpolate(share[None, None], x_t.shape[-2:], mode="bilinear")[0]
            elif step >= LAYOUT * self.first.steps:
                rows, columns = part.window
            said = self._joined(told, step, x_t[..., rows, columns], t)
            output[..., rows, columns] += share[rows, columns] * said
        return output

    def _joined(self, told: Sequence[Told], step: int, x_t: Tensor, t: float) -> Tensor:
        if not self.tiles:
            return _predict(self.family, told[0].at(step), self.first, x_t, t)
        of = dict(zip(self.tiles, told, strict=True))
        return joined(
            lambda tile, x: _predict(self.family, of[tile].at(step), self.first, x, t),
            x_t, self.tiles,
        )  # fmt: skip


def _predict(
    family: ModelFamily, told: Conditioning, asked: Request, x_t: Tensor, t: float
) -> Tensor:
    """The model's output with classifier-free guidance, both halves in one forward pass; plain
    where `told` has no other half."""
    # A whole number goes in as the integer the model was trained with.
    value = torch.tensor(int(t) if t == int(t) else t, device=x_t.device)
    if len(next(iter(told.values()))) == len(x_t):
        return family.predict(x_t, value.expand(len(x_t)), told)
    output = family.predict(torch.cat([x_t, x_t]), value.expand(2 * len(x_t)), told)
    prompt, other = output.chunk(2)
    output = samplers.guided(prompt, other, asked.guidance)
    share = asked.guidance_rescale
    return samplers.rescaled(output, prompt, share) if share else output
