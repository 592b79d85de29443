"""What a training step is fed with: batches by number, encoded once and kept."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from kaiffin.adapters.stack import Stack
from kaiffin.data.dataset import Dataset, Draw, mask_key
from kaiffin.data.turns import Turns
from kaiffin.foundation.cache import TensorCache, content_key
from kaiffin.foundation.config import SubjectConfig
from kaiffin.foundation.phases import EMBEDDING, TEXT, Phase
from kaiffin.foundation.runtime import Runtime, uniform
from kaiffin.models.base import Conditioning, ModelFamily, SizeFacts
from kaiffin.train.classes import KEEP, class_caption
from kaiffin.train.crew import Crew

TEXTS = 4096  # captions whose states are kept on disk: 1 GB for SD 1.x, 2.6 GB for SDXL


@dataclass(frozen=True)
class Batch:
    """What is known of the items before any noise.

    role: instance, prior or keep; latents mean and std (B, C, h, w); sizes and captions per item;
    mask (B, 1, h, w) or None; subject: whose photos, or class pictures, all of them are.
    """

    role: str
    mean: Tensor
    std: Tensor
    captions: list[str]
    sizes: list[SizeFacts]
    names: list[str]
    mask: Tensor | None
    subject: SubjectConfig

    def __len__(self) -> int:
        return len(self.names)


class Inputs:
    """The batches of one phase, and what the denoiser is told of them.

    What frozen towers say is kept in `cache` by content. Latents therefore are encoded once; texts
    are too, unless the phase trains what encodes them, or there are so many that they would fill
    the disk: then the last ones are remembered.
    """

    def __init__(
        self, family: ModelFamily, dataset: Dataset | Turns, phase: Phase, runtime: Runtime,
        cache: TensorCache, crew: Crew | None = None,
    ) -> None:  # fmt: skip
        self.family, self.dataset, self.cache = family, dataset, cache
        self.crew = crew or Crew()
        self.data, self.device = phase.config.data, runtime.device
        self.train = phase.config.train
        self.batch_size = self.train.batch_size or 1
        told = sum(len(example.captions) for example in dataset.instance)
        told *= self.data.variants if self.data.shuffle_tags or self.data.tag_dropout else 1
        self.texts = cache if told <= TEXTS else TensorCache(None, cache.memory)
        self.text_learns = bool(phase.trains & {TEXT, EMBEDDING})
        self.text_state = ""

    def keep_texts_of(self, stack: Stack) -> None:
        """From now on captions are kept as the towers with this `stack` on them encode them."""
        self.text_state = "" if self.text_learns else _fingerprint(stack)

    def batches(self, number: int) -> list[Batch]:
        """The `number`-th photos and, with prior preservation, as many class pictures; in steps
        that keep the class, the photos once more, under captions of it. Of a crew, this process's
        part of them."""
        size, mine = self.batch_size, self.crew.mine
        drawn = mine(self.dataset.batch(number, size))
        found = [self.batch([d for d in drawn for _ in range(self.train.noises)], "instance")]
        if of_class := self.dataset.prior_batch(number, size):
            found.append(self.batch(mine(of_class), "prior"))
        if self.keeps(number // self.train.accumulate):
            found.append(self._of_class(found[0], number))
        return found

    def keeps(self, step: int) -> bool:
        """Whether this step holds the class to the base, counted from 0."""
        goal = self.train.objective
        return bool(goal.keep) and uniform(self.train.seed, KEEP, step) < goal.keep_share

    def shows_class(self, step: int) -> bool:
        """Whether class pictures are among what this step learns from, counted from 0."""
        first = step * self.train.accumulate
        numbers = range(first, first + self.train.accumulate)
        return any(self.dataset.prior_batch(number, 1) for number in numbers)

    def _of_class(self, batch: Batch, number: int) -> Batch:
        first, seed = self.crew.piece(number) * len(batch), self.train.seed
        captions = [
            class_caption(caption, batch.subject, seed, first + k)
            for k, caption in enumerate(batch.captions)
        ]
        return replace(batch, role=KEEP, captions=captions, mask=None)

    def batch(self, draws: Sequence[Draw], role: str = "instance") -> Batch:
        """The draws, all of one crop size, with their latents."""
        latents = [self.latents(draw) for draw in draws]
        masks = [entry.get("mask") for entry in latents]
        present = [mask for mask in masks if mask is not None]
        return Batch(
            role,
            torch.stack([entry["mean"] for entry in latents]),
            torch.stack([entry["std"] for entry in latents]),
            [draw.caption for draw in draws],
            [SizeFacts(*draw.frame) for draw in draws],
            [draw.example.name for draw in draws],
            torch.stack(present).to(self.device) if present else None,
            draws[0].example.subject,
        )

    def latents(self, draw: Draw) -> dict[str, Tensor]:
        """`mean` and `std` (C, h, w), and where there are masks `mask` (1, h, w), on the CPU."""
        example, data = draw.example, self.data
        key = content_key(
            "latents", self.family.revision, self.family.dtype, example.sha256, draw.crop,
            draw.turn, draw.flipped, data.background, data.masks, mask_key(example), example.role,
        )  # fmt: skip

        def encode() -> dict[str, Tensor]:
            pixels = self.dataset.pixels(draw)[None]
            mean, std = self.family.encode_images(pixels.to(self.device))
            entry = {"mean": mean[0], "std": std[0]}
            mask = self.dataset.mask(draw)
            if mask is not None:
                entry["mask"] = torch.nn.functional.interpolate(
                    mask[None], size=mean.shape[-2:], mode="area"
                )[0]
            return entry

        return self.cache.get(key, encode)

    def conditioning(self, batch: Batch) -> Conditioning:
        """What the denoiser is told; with gradients where the text towers learn."""
        if self.text_learns:
            return self.family.encode_text(batch.captions, batch.sizes)
        return self._kept(batch.captions, batch.sizes, self.text_state)

    def plain_conditioning(
        self, captions: Sequence[str], sizes: Sequence[SizeFacts]
    ) -> Conditioning:
        """What the base itself would be told; to be called while adapters are off."""
        return self._kept(captions, sizes, "")

    def _kept(
        self, captions: Sequence[str], sizes: Sequence[SizeFacts], state: str
    ) -> Conditioning:
        parts = [self._told(c, s, state) for c, s in zip(captions, sizes, strict=True)]
        return Conditioning.cat(parts).map(lambda tensor: tensor.to(self.device))

    def _told(self, caption: str, size: SizeFacts, state: str) -> Conditioning:
        """Of one picture, on the CPU."""
        base = (self.family.revision, self.family.dtype, state)
        key = content_key("text", *base, caption, size)

        def encode() -> dict[str, Tensor]:
            with torch.no_grad():
                return dict(self.family.encode_text([caption], [size]))

        return Conditioning(self.texts.get(key, encode))


def _fingerprint(stack: Stack) -> str:
    """A hash of what adapters and tokens change in the text towers; "" for nothing."""
    text = {name: value for name, value in stack.state().items() if TEXT in name}
    digest = hashlib.sha256()
    for name, value in sorted(text.items()):
        digest.update(name.encode() + value.numpy().tobytes())
    return digest.hexdigest() if text else ""
