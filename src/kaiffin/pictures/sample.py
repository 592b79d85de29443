"""Prompts to pictures, with the whole recipe of each inside its PNG.

The noise of a picture depends on its seed alone, and pictures are computed together only when all
that could mix them (size, steps, number of token blocks) is equal: the picture of (prompt, seed)
does not depend on the batch it was made in, beyond float rounding.
"""

from __future__ import annotations

import functools
import itertools
import time
from collections.abc import Callable, Iterator, Sequence

import psutil
import torch
from PIL import Image
from torch import Tensor

from kaiffin.foundation.errors import UserError
from kaiffin.foundation.runtime import let_go, randn
from kaiffin.models.base import ModelFamily
from kaiffin.models.diffusion import samplers
from kaiffin.models.parts import decoder_bytes
from kaiffin.pictures.batches import Batches, kind_of
from kaiffin.pictures.passes import Pass, passes
from kaiffin.pictures.request import Request, settings
from kaiffin.pictures.told import Part, Says, Share, Texts, num_chunks

OnStep = Callable[[int], None]  # told after each denoising step of how many pictures it was
Weigh = Callable[[float], None]  # told how far the denoising is, from 0 to 1
Draw = Callable[[], list[Image.Image]]  # the pictures of a batch as they are by now
# Told after each denoising step: the batch, how many steps are done, and how to see it.
Watch = Callable[[Sequence[Request], int, Draw], None]
# Pixels that a CPU decodes together at most: beyond this it is no quicker, and the decoder's memory
# is the largest of all.
DECODED = 128 * 128


def generate(
    family: ModelFamily,
    requests: Sequence[Request],
    *,
    batch_size: int | Batches = 4,
    on_step: OnStep | None = None,
    weigh: Weigh | None = None,
    watch: Watch | None = None,
    share: Share | None = None,
    parts: Sequence[Part] = (),
) -> Iterator[Image.Image]:
    """Yields one picture per request, in order; adapters are attached by the caller.

    batch_size: how many are computed together at most, or measures of how many are best; changes
    no picture by more than one grey level, and stands in its `info` as "batch". weigh: sets the
    adapters' weights before each denoising step; share: their strength in the halves of guidance.
    What `on_step` or `watch` raises ends the making. parts: each is told its own prompt in place of
    the requests'.
    """
    texts = [Texts(family, share) for _ in parts or [None]]
    answers = functools.partial(Says, texts=texts, parts=parts)

    def made(batch: list[Request]) -> list[Image.Image]:
        _refuse_beyond_memory(family, batch[0])
        images = _make(family, batch, answers, on_step, weigh, watch)
        for image in images:
            image.info["batch"] = len(batch)
        return images

    try:
        for alike in _alike(family, requests):
            if isinstance(batch_size, Batches):
                key = kind_of(family, alike[0].size, len(parts))
                yield from _measured(alike, batch_size, key, made)
            else:
                for start in range(0, len(alike), batch_size):
                    yield from made(alike[start : start + batch_size])
    finally:
        texts[0].share(1.0)


def _refuse_beyond_memory(family: ModelFamily, asked: Request) -> None:
    """UserError for a picture that cannot fit. A GPU says so itself; a CPU's system would give what
    there is not, and end the process, after hours perhaps."""
    if family.device.type == "cpu":
        needed, there = decoder_bytes(family.vae, *asked.size), psutil.virtual_memory().available
        if needed > there:
            raise UserError(
                f"a picture of {asked.size[0]}x{asked.size[1]} takes {needed / 1e9:.1f} GB at least"
                f" as it is decoded, and {there / 1e9:.1f} GB are there.",
                "Ask for a smaller one, or decode it in tiles: --base.vae_tiling true.",
            )


def _alike(family: ModelFamily, requests: Sequence[Request]) -> Iterator[list[Request]]:
    """Consecutive requests that differ in prompt, negative and seed only."""
    kinds = itertools.groupby(requests, lambda one: (settings(one), num_chunks(family, one)))
    return (list(alike) for _, alike in kinds)


def _measured(
    wanted: list[Request], batches: Batches, key: str, made: Callable[..., list[Image.Image]]
) -> Iterator[Image.Image]:
    """In batches as large as is best by what is known, to which each adds; smaller where there is
    no memory for one."""
    while wanted:
        batch, begun = wanted[: batches.most(key, len(wanted))], time.perf_counter()
        try:
            images = made(batch)
        except torch.OutOfMemoryError:
            if len(batch) == 1:
                raise
            let_go()
            batches.failed(key, len(batch))
            continue
        batches.took(key, len(batch), (time.perf_counter() - begun) / batch[0].steps)
        yield from images
        wanted = wanted[len(batch) :]


@torch.no_grad()
def _make(
    family: ModelFamily, batch: list[Request], answers: Callable[..., Says],
    on_step: OnStep | None, weigh: Weigh | None, watch: Watch | None,
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
        images = one.finish(_decoded(family, _sampled(family, batch, one, weigh, report, answers)))
    return images


def _sampled(
    family: ModelFamily, batch: list[Request], one: Pass, weigh: Weigh | None,
    report: Callable[[Draw], None], answers: Callable[..., Says] = Says,
) -> Tensor:  # fmt: skip
    """The latents of one pass."""
    first, skipped = batch[0], one.skipped(batch[0].steps)
    sigmas = family.schedule.sigmas(first.steps, first.schedule)
    says, sigmas, now = answers(family, batch, one), sigmas[skipped:], skipped

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
    denoise = one.kept(samplers.denoiser(lambda x, t: says.at(now, x, t), family.schedule))
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


def _decoded(family: ModelFamily, latents: Tensor) -> list[Image.Image]:
    height, width = (cells * family.downscale for cells in latents.shape[-2:])
    most = len(latents) if family.device.type != "cpu" else DECODED // (height * width)
    parts = latents.split(max(1, most))
    try:
        return [_picture(pixels) for part in parts for pixels in family.decode(part)]
    except torch.OutOfMemoryError:
        if len(latents) == 1:
            raise
    let_go()  # one by one, where there is no memory for all at once
    return [_picture(pixels) for one in latents.split(1) for pixels in family.decode(one)]


def _picture(pixels: Tensor) -> Image.Image:
    """(3, H, W) in [-1, 1] -> 8-bit RGB."""
    grey = ((pixels + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return Image.fromarray(grey.permute(1, 2, 0).cpu().numpy())
