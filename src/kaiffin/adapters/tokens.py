"""A custom token: one word whose vectors are trained (textual inversion, Gal et al. 2022).

In an adapter file it is bundled as `bundle_emb.<word>....`, which A1111 reads; alone it is an
embedding file, of which A1111 and ComfyUI take the file's name for the word.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

import torch
from torch import Tensor, nn

from kaiffin.adapters.files.spelling import (
    ALONE,
    BUNDLED,
    FIXED,
    OLD_PAIR,
    PAIR,
    places_of_bundle,
)
from kaiffin.foundation.errors import AdapterError, ConfigError
from kaiffin.foundation.text import composed
from kaiffin.models.words import Words

WORD = "kaiffin.word"  # in the header of an embedding file: what it was trained as


class HasWords(Protocol):
    """A family, as far as tokens know it."""

    base: str
    words: Words


class Token:
    """One word with its trainable vectors, fp32 (n, width) in each text tower."""

    def __init__(self, word: str, vectors: Mapping[str, Tensor]) -> None:
        self.word = composed(word)
        self.vectors = {tower: nn.Parameter(value) for tower, value in vectors.items()}
        self._family: HasWords | None = None

    @classmethod
    def create(cls, word: str, count: int, init: str, family: HasWords) -> Token:
        """A new token that starts from the vectors of `init`.

        Raises ConfigError where the base knows the word already.
        """
        if family.words.is_known(word):
            raise ConfigError(
                f"subject.token {word!r} is a word that {family.base} knows already.",
                f"Take one that means nothing yet, such as <{word}>.",
            )
        return cls(word, family.words.starting_from(init, count))

    def inject(self, family: HasWords) -> None:
        family.words.add(self.word, self.vectors)
        self._family = family

    def eject(self) -> None:
        if self._family is not None:
            self._family.words.remove(self.word)
            self._family = None

    def parameters(self) -> Iterator[nn.Parameter]:
        yield from self.vectors.values()

    def state(self) -> dict[str, Tensor]:
        """Detached CPU copies by `<tower>`."""
        return {tower: value.detach().cpu().clone() for tower, value in self.vectors.items()}

    @torch.no_grad()
    def load(self, state: Mapping[str, Tensor]) -> None:
        for tower, value in self.vectors.items():
            value.copy_(state[tower])

    def bundled(self) -> dict[str, Tensor]:
        """As it lies in an adapter file, without the `bundle_emb.` before each name."""
        keys = BUNDLED if len(self.vectors) == 1 else PAIR
        return {f"{self.word}.{keys[tower]}": value for tower, value in self.state().items()}

    def alone(self) -> dict[str, Tensor]:
        """As an embedding file holds it."""
        keys = ALONE if len(self.vectors) == 1 else PAIR
        return {keys[tower]: value for tower, value in self.state().items()}


def unpack_embedding(
    tensors: Mapping[str, Tensor], widths: Mapping[str, int]
) -> tuple[str, dict[str, Tensor]]:
    """The word that a textual inversion's file names, or "", and the vectors of each text tower.

    widths: what the base's towers have. Raises AdapterError where the file is for other towers.
    """
    spelled = [ALONE, BUNDLED] if len(widths) == 1 else [PAIR, OLD_PAIR]
    towers = {key: tower for table in spelled for tower, key in table.items()}
    word = ""
    if len(tensors) == 1 and len(widths) == 1 and not tensors.keys() & FIXED:
        (word,), (tower,) = tensors, widths
        towers = {word: tower}
    found = {towers.get(key, key): value.float() for key, value in tensors.items()}
    found = {t: v[None] if v.dim() == 1 else v for t, v in found.items()}
    if {t: v.shape[-1] for t, v in found.items()} != dict(widths):
        has = ", ".join(f"{key} {tuple(value.shape)}" for key, value in tensors.items())
        wants = ", ".join(f"{tower} {width}" for tower, width in widths.items())
        raise AdapterError(
            f"holds {has}, where this base's vectors are {wants} wide.",
            "The embedding was made for another base.",
        )
    if 0 in map(len, found.values()) or len({len(value) for value in found.values()}) != 1:
        raise AdapterError("has not as many vectors for one text encoder as for the other.")
    return word, found


def read_bundle(bundled: Mapping[str, Tensor], family: HasWords) -> list[Token]:
    """The tokens of an adapter file; `AdapterError` names one that does not fit the base."""
    widths = {tower: e.weight.shape[1] for tower, e in family.words.embeddings.items()}
    found = unpack_bundle(bundled, widths)
    device = next(iter(family.words.embeddings.values())).weight.device
    return [Token(w, {t: v.to(device) for t, v in vectors.items()}) for w, vectors in found.items()]


def unpack_bundle(
    bundled: Mapping[str, Tensor], widths: Mapping[str, int]
) -> dict[str, dict[str, Tensor]]:
    """Vectors (n, width) by word and text tower. widths: what the base's towers have.

    Raises AdapterError for what is no token of such a base.
    """
    return {
        word: {tower: bundled[name].float() for tower, name in towers.items()}
        for word, towers in places_of_bundle(bundled, widths).items()
    }
