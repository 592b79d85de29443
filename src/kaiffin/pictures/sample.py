"""Prompts to pictures, with the whole recipe of each inside its PNG.

The noise of a picture depends on its seed alone, and pictures are computed together only when all
that could mix them (size, steps, number of token blocks) is equal: the picture of (prompt, seed)
does not depend on the batch it was made in, beyond float rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from PIL import Image
from torch import Tensor

from kaiffin.foundation.prompts import Spoken
from kaiffin.foundation.runtime import randn
from kaiffin.models.base import Conditioning, ModelFamily, SizeFacts
from kaiffin.models.diffusion import samplers
from kaiffin.pictures.request import Request, settings

LAYOUT = 0.4  # of the steps, in which parts see the whole picture: they agree on horizon and light
OnStep = Callable[[int], None]  # told after each denoising step of how many pictures it was
Weigh = Callable[[float], None]  # told how far the denoising is, from 0 to 1
Draw = Callable[[], list[Image.Image]]  # the pictures of a batch as they are by now
# Told after each denoising step: the batch, how many steps are done, and how to see it.
Watch = Callable[[Sequence[Request], int, Draw], None]


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


def generate(
    family: ModelFamily,
    requests: Sequence[Request],
    *,
    batch_size: int = 4,
    on_step: OnStep | None = None,
    weigh: Weigh | None = None,
    watch: Watch | None = None,
    parts: Sequence[Part] = (),
) -> Iterator[Image.Image]:
    """Yields one picture per request, in order; adapters are attached by the caller.

    batch_size: how many are computed together at most; changes no picture by more than one grey
    level. weigh: sets the adapters' weights before each denoising step. What `on_step` or `watch`
    raises ends the making. parts: each is told its own prompt in place of the requests'.
    """
    for batch in _batches(family, requests, batch_size):
        yield from _make(family, batch, on_step, weigh, watch, parts)


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
    watch: Watch | None, parts: Sequence[Part],
) -> list[Image.Image]:  # fmt: skip
    """One batch through text encoder, sampler and decoder."""
    first = batch[0]
    if weigh:
        weigh(0.0)
    sigmas = family.schedule.sigmas(first.steps, first.schedule)
    done = 0
    says = _in_parts(family, batch, parts) if parts else _whole(family, batch)
    denoise = samplers.denoiser(lambda x_t, t: says(done, x_t, t), family.schedule)

    def noise(step: int | str) -> Tensor:
        shape = (
            family.latent_channels,
            first.height // family.downscale,
            first.width // family.downscale,
        )
        draws = [randn(shape, request.seed, "picture", step) for request in batch]
        return torch.stack(draws).to(family.device)

    x = family.schedule.first_noise(noise("start"), sigmas[0])

    # One by one: the decoder's memory is the largest of all, and its speed gains nothing here.
    def draw(latents: Tensor) -> list[Image.Image]:
        return [_picture(family.decode(latent[None])) for latent in latents]

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


class _Told:
    """What a batch is told at each step; each text is encoded once."""

    def __init__(self, family: ModelFamily, batch: list[Request]) -> None:
        self.family, self.first = family, batch[0]
        self.facts = [SizeFacts.whole(self.first.height, self.first.width)] * len(batch)
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


Says = Callable[[int, Tensor, float], Tensor]  # (step, x_t, t) -> the model's output


def _whole(family: ModelFamily, batch: list[Request]) -> Says:
    told = _Told(family, batch)
    return lambda step, x_t, t: _predict(family, told.at(step), batch[0], x_t, t)


def _in_parts(family: ModelFamily, batch: list[Request], parts: Sequence[Part]) -> Says:
    """Each part's output where its share is, so that no adapter moves what is another's."""
    own = [_whole(family, [replace(one, prompt=part.prompt) for one in batch]) for part in parts]
    layout = LAYOUT * batch[0].steps

    def says(step: int, x_t: Tensor, t: float) -> Tensor:
        output = torch.zeros_like(x_t)
        for part, one in zip(parts, own, strict=True):
            part.wear()
            rows, columns = part.window if step >= layout else (slice(None), slice(None))
            seen = x_t[..., rows, columns]
            output[..., rows, columns] += part.share[rows, columns] * one(step, seen, t)
        return output

    return says


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
