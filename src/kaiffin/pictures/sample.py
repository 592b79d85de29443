"""Prompts to pictures, with the whole recipe of each inside its PNG.

The noise of a picture depends on its seed alone, and pictures are computed together only when all
that could mix them (size, steps, number of token blocks) is equal: the picture of (prompt, seed)
does not depend on the batch it was made in, beyond float rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence

import torch
from PIL import Image
from torch import Tensor

from kaiffin.foundation.prompts import Spoken
from kaiffin.foundation.runtime import randn
from kaiffin.models.base import Conditioning, ModelFamily, SizeFacts
from kaiffin.models.diffusion import samplers
from kaiffin.pictures.request import Request, settings

OnStep = Callable[[int], None]  # told after each denoising step of how many pictures it was
Weigh = Callable[[float], None]  # told how far the denoising is, from 0 to 1
Share = Callable[..., None]  # told the adapters' strength in each of so many equal parts of a batch
Draw = Callable[[], list[Image.Image]]  # the pictures of a batch as they are by now
# Told after each denoising step: the batch, how many steps are done, and how to see it.
Watch = Callable[[Sequence[Request], int, Draw], None]
MOST_KNOWN = 256  # texts whose states are kept in a call
# Pixels that are decoded together at most: the decoder's memory is the largest of all. More is
# quicker where pictures are small.
DECODED = 512 * 512


def generate(
    family: ModelFamily,
    requests: Sequence[Request],
    *,
    batch_size: int = 4,
    on_step: OnStep | None = None,
    weigh: Weigh | None = None,
    watch: Watch | None = None,
    share: Share | None = None,
) -> Iterator[Image.Image]:
    """Yields one picture per request, in order; adapters are attached by the caller.

    batch_size: how many are computed together at most; changes no picture by more than one grey
    level. weigh: sets the adapters' weights before each denoising step; share: their strength in
    the halves of guidance. What `on_step` or `watch` raises ends the making.
    """
    texts = _Texts(family, share or (lambda *shares: None))
    try:
        for batch in _batches(family, requests, batch_size):
            yield from _make(texts, batch, on_step, weigh, watch)
    finally:
        texts.share(1.0)


def _batches(
    family: ModelFamily, requests: Sequence[Request], size: int
) -> Iterator[list[Request]]:
    """Consecutive requests that differ in prompt, negative and seed only."""
    batch: list[Request] = []
    kind: object = None
    for request in requests:
        own = (settings(request), _chunks(family, request))
        if batch and (own != kind or len(batch) == size):
            yield batch
            batch = []
        batch.append(request)
        kind = own
    if batch:
        yield batch


@torch.no_grad()
def _make(
    texts: _Texts, batch: list[Request], on_step: OnStep | None, weigh: Weigh | None,
    watch: Watch | None,
) -> list[Image.Image]:  # fmt: skip
    """One batch through text encoder, sampler and decoder."""
    family, first = texts.family, batch[0]
    if weigh:
        weigh(0.0)
    sigmas = family.schedule.sigmas(first.steps, first.schedule)
    done = 0
    told = _Told(texts, batch)
    denoise = samplers.denoiser(
        lambda x_t, t: _predict(family, told.at(done), first, x_t, t), family.schedule
    )

    def noise(step: int | str) -> Tensor:
        shape = (
            family.latent_channels,
            first.height // family.downscale,
            first.width // family.downscale,
        )
        draws = [randn(shape, request.seed, "picture", step) for request in batch]
        return torch.stack(draws).to(family.device)

    x = family.schedule.first_noise(noise("start"), sigmas[0])

    def draw(latents: Tensor) -> list[Image.Image]:
        together = max(1, DECODED // (first.height * first.width))
        parts = (family.decode(part) for part in latents.split(together))
        return [_picture(pixels) for part in parts for pixels in part]

    def report(i: int, x0: Tensor) -> None:
        nonlocal done
        done = i + 1
        if on_step:
            on_step(len(batch))
        if watch:
            watch(batch, i + 1, lambda: draw(x0))
        if weigh and i + 1 < first.steps:
            weigh((i + 1) / (first.steps - 1))

    x0 = samplers.SAMPLERS[first.sampler](denoise, x, sigmas, noise, report, **first.options)
    return draw(x0)


def _chunks(family: ModelFamily, request: Request) -> int:
    """How many blocks of tokens its longest words need, at any step."""
    texts = (one for read in request.read for one in read.texts(request.steps))
    return family.num_chunks(list(dict.fromkeys(texts)))


class _Texts:
    """What texts were encoded to in this call, and the adapters' strength in them.

    The adapters are as strong in the negative half of guidance as the request says (Park et al.
    2025, arXiv 2508.00319), also where its text is encoded.
    """

    def __init__(self, family: ModelFamily, share: Share) -> None:
        self.family, self.share = family, share
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


class _Told:
    """What a batch is told at each step."""

    def __init__(self, texts: _Texts, batch: list[Request]) -> None:
        self.texts, self.first = texts, batch[0]
        sigmas = texts.family.schedule.sigmas(self.first.steps, self.first.schedule)
        self.guided = [self.first.guided(sigma) for sigma in sigmas]
        self.facts = SizeFacts.whole(self.first.height, self.first.width)
        self.chunks = _chunks(texts.family, self.first)  # in a batch they are equal
        read = [[one.texts(self.first.steps) for one in request.read] for request in batch]
        self.prompts = list(zip(*(prompt for prompt, _ in read), strict=True))
        self.negatives = list(zip(*(negative for _, negative in read), strict=True))
        self.told: dict[Hashable, Conditioning] = {}

    def at(self, step: int) -> Conditioning:
        """The prompts, and behind them the negative ones where there is guidance."""
        halves = [(self.prompts[step], 1.0)]
        if self.guided[step]:
            halves.append((self.negatives[step], self.first.negative_strength))
        key = tuple(halves)
        if key not in self.told:
            asked = [(text, strength) for half, strength in halves for text in half]
            self.told[key] = self.texts.encoded(
                asked, self.facts, self.chunks, self.first.clip_skip
            )
        self.texts.share(*(strength for _, strength in halves))
        return self.told[key]


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


def _picture(pixels: Tensor) -> Image.Image:
    """(3, H, W) in [-1, 1] -> 8-bit RGB."""
    grey = ((pixels + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return Image.fromarray(grey.permute(1, 2, 0).cpu().numpy())
