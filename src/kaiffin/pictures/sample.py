"""Prompts to pictures, with the whole recipe of each inside its PNG.

The noise of a picture depends on its seed alone, and pictures are computed together only when all
that could mix them (size, steps, number of token blocks) is equal: the picture of (prompt, seed)
does not depend on the batch it was made in, beyond float rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from PIL import Image
from torch import Tensor

from kaiffin.foundation.prompts import Spoken
from kaiffin.foundation.runtime import randn
from kaiffin.models.base import Conditioning, ModelFamily, SizeFacts
from kaiffin.models.diffusion import samplers
from kaiffin.pictures.passes import Pass, passes
from kaiffin.pictures.request import Request, settings
from kaiffin.pictures.tiles import joined

OnStep = Callable[[int], None]  # told after each denoising step of how many pictures it was
Weigh = Callable[[float], None]  # told how far the denoising is, from 0 to 1
Draw = Callable[[], list[Image.Image]]  # the pictures of a batch as they are by now
# Told after each denoising step: the batch, how many steps are done, and how to see it.
Watch = Callable[[Sequence[Request], int, Draw], None]


def generate(
    family: ModelFamily,
    requests: Sequence[Request],
    *,
    batch_size: int = 4,
    on_step: OnStep | None = None,
    weigh: Weigh | None = None,
    watch: Watch | None = None,
) -> Iterator[Image.Image]:
    """Yields one picture per request, in order; adapters are attached by the caller.

    batch_size: how many are computed together at most; changes no picture by more than one grey
    level. weigh: sets the adapters' weights before each denoising step. What `on_step` or `watch`
    raises ends the making.
    """
    for batch in _batches(family, requests, batch_size):
        yield from _make(family, batch, on_step, weigh, watch)


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
    family: ModelFamily, batch: list[Request], on_step: OnStep | None, weigh: Weigh | None,
    watch: Watch | None,
) -> list[Image.Image]:  # fmt: skip
    """One batch through text encoder, sampler and decoder, in as many passes as it takes."""
    images: list[Image.Image] = []
    done = 0

    def report(draw: Draw) -> None:
        nonlocal done
        done += 1
        if on_step:
            on_step(len(batch))
        if watch:
            watch(batch, done, draw)

    for plan in passes(batch[0]):
        if weigh:
            weigh(0.0)
        one = plan(family, batch, images)
        done += one.skipped(batch[0].steps)
        images = one.finish(_decoded(family, _sampled(family, batch, one, weigh, report)))
    return images


def _sampled(
    family: ModelFamily, batch: list[Request], one: Pass, weigh: Weigh | None,
    report: Callable[[Draw], None],
) -> Tensor:  # fmt: skip
    """The latents of one pass."""
    first, skipped = batch[0], one.skipped(batch[0].steps)
    sigmas = family.schedule.sigmas(first.steps, first.schedule)[skipped:]
    now = skipped
    told = [_Told(family, batch, facts) for facts in one.facts(family.downscale)]

    def predict(x_t: Tensor, t: float) -> Tensor:
        if not one.tiles:
            return _predict(family, told[0].at(now), first, x_t, t)
        by_tile = dict(zip(one.tiles, told, strict=True))
        return joined(
            lambda tile, x: _predict(family, by_tile[tile].at(now), first, x, t), x_t, one.tiles
        )

    def noise(step: int | str) -> Tensor:
        width, height = (side // family.downscale for side in one.size)
        shape = (family.latent_channels, height, width)
        draws = [_noise(shape, request, one.name, step) for request in batch]
        return torch.stack(draws).to(family.device)

    x = one.first(family.schedule, noise("start"), sigmas[0])

    def on_step(i: int, x0: Tensor) -> None:
        nonlocal now
        now = skipped + i + 1
        report(lambda: _decoded(family, x0))
        if weigh and now < first.steps:
            weigh(now / (first.steps - 1))

    if len(sigmas) == 1:  # no step at all: what it began from
        return x.expand(len(batch), *x.shape[1:])
    if weigh:
        weigh(skipped / max(first.steps - 1, 1))
    denoise = one.kept(samplers.denoiser(predict, family.schedule))
    sampler = samplers.SAMPLERS[first.sampler]
    return sampler(denoise, x, sigmas, lambda i: noise(skipped + i), on_step, **first.options)


def _noise(shape: tuple[int, ...], request: Request, name: str, step: int | str) -> Tensor:
    """Of one picture, at one step; the first of all on its way to that of another seed, if so
    asked."""
    own = randn(shape, request.seed, name, step)
    start = request.start
    if start is None or not start.vary or (name, step) != ("picture", "start"):
        return own
    return samplers.between(own, randn(shape, start.vary_seed, name, step), start.vary)


# One by one: the decoder's memory is the largest of all, and its speed gains nothing here.
def _decoded(family: ModelFamily, latents: Tensor) -> list[Image.Image]:
    return [_picture(family.decode(latent[None])) for latent in latents]


def _chunks(family: ModelFamily, request: Request) -> int:
    """How many blocks of tokens its longest words need, at any step."""
    texts = (one for read in request.read for one in read.texts(request.steps))
    return family.num_chunks(list(dict.fromkeys(texts)))


class _Told:
    """What a batch is told at each step; each text is encoded once."""

    def __init__(self, family: ModelFamily, batch: list[Request], facts: SizeFacts) -> None:
        self.family, self.first = family, batch[0]
        self.facts = [facts] * len(batch)
        self.chunks = _chunks(family, self.first)  # in a batch they are equal
        read = [[one.texts(self.first.steps) for one in request.read] for request in batch]
        self.prompts = list(zip(*(prompt for prompt, _ in read), strict=True))
        self.negatives = list(zip(*(negative for _, negative in read), strict=True))
        self.encoded: dict[tuple[Spoken, ...], Conditioning] = {}
        self.told: dict[tuple[tuple[Spoken, ...], ...], Conditioning] = {}

    def at(self, step: int) -> Conditioning:
        """The prompts, and behind them the negative ones but where guidance 1 asks for none."""
        halves = [self.prompts, self.negatives][: 1 if self.first.guidance == 1 else 2]
        texts = tuple(half[step] for half in halves)
        if texts not in self.told:
            self.told[texts] = Conditioning.cat([self._encoded(half) for half in texts])
        return self.told[texts]

    def _encoded(self, texts: tuple[Spoken, ...]) -> Conditioning:
        if texts not in self.encoded:
            self.encoded[texts] = self.family.encode_text(
                texts, self.facts, chunks=self.chunks, clip_skip=self.first.clip_skip
            )
        return self.encoded[texts]


def _predict(
    family: ModelFamily, told: Conditioning, asked: Request, x_t: Tensor, t: float
) -> Tensor:
    """The model's output with classifier-free guidance, both halves in one forward pass."""
    # A whole number goes in as the integer the model was trained with.
    value = torch.tensor(int(t) if t == int(t) else t, device=x_t.device)
    if asked.guidance == 1:
        return family.predict(x_t, value.expand(len(x_t)), told)
    output = family.predict(torch.cat([x_t, x_t]), value.expand(2 * len(x_t)), told)
    prompt, other = output.chunk(2)
    output = samplers.guided(prompt, other, asked.guidance)
    share = asked.guidance_rescale
    return samplers.rescaled(output, prompt, share) if share else output


def _picture(pixels: Tensor) -> Image.Image:
    """(1, 3, H, W) in [-1, 1] -> 8-bit RGB."""
    grey = ((pixels[0] + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return Image.fromarray(grey.permute(1, 2, 0).cpu().numpy())
