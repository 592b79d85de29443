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
MOST_KNOWN = 256  # texts whose states are kept in a call
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


class Texts:
    """What texts were encoded to in this call, and the adapters' strength in them.

    The adapters are as strong in the negative half of guidance as the request says (Park et al.
    2025, arXiv 2508.00319), also where its text is encoded.
    """

    def __init__(self, family: ModelFamily, share: Share | None = None) -> None:
        self.family, self.share = family, share or (lambda *shares: None)
        self.known: dict[Hashable, Conditioning] = {}  # by all that it depends on; a row of each

    def encoded(
        self, asked: Sequence[tuple[Spoken, float]], facts: SizeFacts, chunks: int, clip_skip: int
    ) -> Conditioning:
        """A row for each text at its strength; what is new is encoded, all at once."""
        keys = [(text, strength, facts, chunks, clip_skip) for text, strength in asked]
        for strength in dict.fromkeys(strength for _, strength in asked):
            new = [key for key in dict.fromkeys(keys) if key[1] == strength]
            new = [key for key in new if key not in self.known]
            if not new:
                continue
            self.share(strength)
            found = self.family.encode_text(
                [key[0] for key in new], [facts] * len(new), chunks=chunks, clip_skip=clip_skip
            )
            for row, key in enumerate(new):
                self.known[key] = found.map(lambda value, row=row: value[row : row + 1])
        rows = [self.known[key] for key in keys]
        if len(self.known) > MOST_KNOWN:
            self.known.clear()
        return Conditioning.cat(rows)


class Told:
    """What a batch is told at each step."""

    def __init__(self, texts: Texts, batch: Sequence[Request]) -> None:
        self.texts, self.first = texts, batch[0]
        sigmas = texts.family.schedule.sigmas(self.first.steps, self.first.schedule)
        self.guided = [self.first.guided(sigma) for sigma in sigmas]
        self.chunks = num_chunks(texts.family, self.first)  # in a batch they are equal
        read = [[one.texts(self.first.steps) for one in request.read] for request in batch]
        self.prompts = list(zip(*(prompt for prompt, _ in read), strict=True))
        self.negatives = list(zip(*(negative for _, negative in read), strict=True))
        self.told: dict[Hashable, Conditioning] = {}

    def at(self, step: int, facts: SizeFacts) -> Conditioning:
        """The prompts, and behind them the negative ones where there is guidance. facts: of the
        picture, or of the part of it that is looked at."""
        halves = [(self.prompts[step], 1.0)]
        if self.guided[step]:
            halves.append((self.negatives[step], self.first.negative_strength))
        key = (facts, *halves)
        if key not in self.told:
            asked = [(text, strength) for half, strength in halves for text in half]
            self.told[key] = self.texts.encoded(asked, facts, self.chunks, self.first.clip_skip)
        self.texts.share(*(strength for _, strength in halves))
        return self.told[key]


class Says:
    """What the model answers a batch at each step of a pass. Of parts, each where its share is, so
    that no adapter moves what is another's; of tiles, each where it lies."""

    def __init__(
        self, family: ModelFamily, batch: Sequence[Request], one: Pass,
        texts: Sequence[Texts] | None = None, parts: Sequence[Part] = (),
    ) -> None:  # fmt: skip
        """texts: of each part, whose adapters differ, and with them what a text is encoded to."""
        self.family, self.first, self.parts = family, batch[0], parts
        self.facts = one.facts(family.downscale)
        self.tiles = dict(zip(one.tiles, self.facts, strict=False))  # none where it is seen whole
        own = [[replace(asked, prompt=part.prompt) for asked in batch] for part in parts] or [batch]
        self.told = [
            Told(known, said) for known, said in zip(texts or [Texts(family)], own, strict=True)
        ]

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

    def _joined(self, told: Told, step: int, x_t: Tensor, t: float) -> Tensor:
        def seen(x: Tensor, facts: SizeFacts) -> Tensor:
            return _predict(self.family, told.at(step, facts), self.first, x, t)

        if not self.tiles:
            return seen(x_t, self.facts[0])
        return joined(lambda tile, x: seen(x, self.tiles[tile]), x_t, list(self.tiles))


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
