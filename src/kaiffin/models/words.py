"""New tokens of a family's text encoders: words that stand for vectors of their own.

Neither tokenizer nor weights are touched. A prompt is cut at the new words, which get ids far above
every vocabulary, and a hook on the token embedding puts their vectors in place. Taking a word away
therefore leaves the base as it was, bit for bit.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from kaiffin.foundation.errors import AdapterError
from kaiffin.foundation.text import composed, same

FIRST_ID = 1 << 20  # of new tokens; no vocabulary is as large
Vectors = Mapping[str, Tensor]  # tower -> (n, width), n equal in all towers


class Words:
    """The new tokens of one loaded base, none at first.

    encoders and tokenizers by tower, `text_encoder` and for SDXL `text_encoder_2`.
    """

    def __init__(self, encoders: Mapping[str, nn.Module], tokenizers: Mapping[str, Any]) -> None:
        self.tokenizers = dict(tokenizers)
        self.embeddings = {tower: _embedding(model) for tower, model in encoders.items()}
        self.vectors: dict[str, Vectors] = {}
        self._users: Counter[str] = Counter()
        self._ids: dict[str, Tensor] = {}
        for tower, embedding in self.embeddings.items():
            embedding.register_forward_pre_hook(self._before(tower))
            embedding.register_forward_hook(self._after(tower))
        for tower, model in encoders.items():
            # Old configs say 2, at which transformers pools at the highest id: a new token's.
            inner: Any = getattr(model, "text_model", model)
            inner.eos_token_id = self.tokenizers[tower].eos_token_id

    def add(self, word: str, vectors: Vectors) -> None:
        """From now on `word` means these vectors, in any case and however its letters are composed.
        AdapterError where it means others already."""
        known = self._known(word) or composed(word)
        before = self.vectors.get(known, vectors)
        if any(not torch.equal(before[tower], vectors[tower]) for tower in vectors):
            raise AdapterError(
                f"two adapters bring the token {word!r}.", "Use one of them, or train one anew."
            )
        self.vectors[known] = vectors
        self._users[known] += 1

    def remove(self, word: str) -> None:
        """Takes the word away, once as many remove it as have added it."""
        known = self._known(word) or word
        self._users[known] -= 1
        if not self._users[known]:
            del self.vectors[known], self._users[known]

    def _known(self, word: str) -> str | None:
        """As it was added."""
        return next((name for name in self.vectors if same(name) == same(word)), None)

    def is_known(self, word: str) -> bool:
        """Whether the base's own vocabulary has `word` as a whole."""
        tokenizer = next(iter(self.tokenizers.values()))
        return len(plain_ids(tokenizer, word)) == 1

    def starting_from(self, text: str, count: int) -> dict[str, Tensor]:
        """`count` vectors of each tower, those of the pieces of `text`, fp32.

        One vector is their mean; more go round through the pieces.
        """
        found = {}
        for tower, embedding in self.embeddings.items():
            ids = plain_ids(self.tokenizers[tower], text)
            rows = embedding.weight[torch.tensor(ids, device=embedding.weight.device)]
            rows = rows.detach().float().clone()
            places = [i % len(rows) for i in range(count)]
            found[tower] = rows.mean(0, keepdim=True) if count == 1 else rows[places]
        return found

    def ids(self, tokenizer: Any, text: str) -> list[int]:
        """Token ids of `text`, without begin and end."""
        return [id for unit in self.units(tokenizer, text) for id in unit]

    def units(self, tokenizer: Any, text: str) -> Iterator[list[int]]:
        """The same, in what must not be parted: all vectors of a new token, else single tokens."""
        for part, places in self._split(text):
            if places is None:
                yield from ([id] for id in plain_ids(tokenizer, part))
            else:
                yield [FIRST_ID + place for place in places]

    def pieces(self, tokenizer: Any, text: str) -> list[str]:
        """How `text` is split; a new token of n vectors is n pieces."""
        found: list[str] = []
        for part, places in self._split(text):
            if places is None:
                found += plain_pieces(tokenizer, part)
            else:
                found += [part] * len(places)
        return found

    def _split(self, text: str) -> Iterator[tuple[str, range | None]]:
        """Parts of `text`; those that are new tokens come with the places of their vectors."""
        if not self.vectors:
            yield text, None
            return
        places, start = {}, 0
        for word, vectors in self.vectors.items():
            count = len(next(iter(vectors.values())))
            places[same(word)] = range(start, start + count)
            start += count
        longest_first = sorted(self.vectors, key=len, reverse=True)
        pattern = "|".join(_whole(word) for word in longest_first)
        for part in re.split(f"({pattern})", composed(text), flags=re.IGNORECASE):
            known = places.get(same(part))
            if known is not None or part.strip():
                yield part, known

    def _before(self, tower: str):
        def remember(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
            if not self.vectors:
                return None
            self._ids[tower] = inputs[0]
            return (inputs[0].where(inputs[0] < FIRST_ID, 0), *inputs[1:])

        return remember

    def _after(self, tower: str):
        def put(_: nn.Module, __: tuple[Tensor, ...], out: Tensor) -> Tensor | None:
            if not self.vectors:
                return None
            ids = self._ids.pop(tower)
            rows = torch.cat([vectors[tower] for vectors in self.vectors.values()]).to(out)
            new = rows[(ids - FIRST_ID).clamp(min=0)]
            return torch.where((ids >= FIRST_ID)[..., None], new, out)

        return put


def plain_ids(tokenizer: Any, text: str) -> list[int]:
    """Ids of `text` in the tokenizer's own vocabulary, without begin and end."""
    return tokenizer(composed(text), add_special_tokens=False, verbose=False).input_ids


def plain_pieces(tokenizer: Any, text: str) -> list[str]:
    """How the tokenizer itself splits `text`."""
    return tokenizer.convert_ids_to_tokens(plain_ids(tokenizer, text))


def _whole(word: str) -> str:
    """A pattern of `word` that is not the part of a longer word."""
    before = r"(?<!\w)" if re.match(r"\w", word) else ""
    after = r"(?!\w)" if re.search(r"\w$", word) else ""
    return f"{before}{re.escape(word)}{after}"


def _embedding(model: nn.Module) -> nn.Embedding:
    return next(
        module for name, module in model.named_modules()
        if name.endswith("token_embedding") and isinstance(module, nn.Embedding)
    )  # fmt: skip
