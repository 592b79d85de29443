"""From what the judges see to a table: a row of measures a picture, a mean a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from kaiffin.foundation.text import counted
from kaiffin.score import measures
from kaiffin.score.catalogue import MEASURES, SUBJECT
from kaiffin.score.choice import means_of
from kaiffin.score.statistics import Interval, clustered

Row = dict[str, Any]


@dataclass(frozen=True)
class Embeddings:
    """Pictures of one model and what the judges make of them, a unit vector each: `prompt` (N, D)
    by the judge of prompts, `identity` (N, D) by the one of likeness."""

    images: Sequence[Image.Image]
    prompt: Tensor
    identity: Tensor


@dataclass(frozen=True)
class References:
    """The photos that pictures are compared with.

    photos: names of those trained on, `trained` (P, D) as the identity judge sees them and
    `layouts` (P, L) as they are laid out; compared: names of the references, `to` (R, D), which
    are held out or the same.
    """

    photos: Sequence[str]
    trained: Tensor
    layouts: Tensor
    compared: Sequence[str]
    to: Tensor
    held_out: bool

    @property
    def ceiling(self) -> float | None:
        return measures.ceiling(self.trained, self.to, held_out=self.held_out)

    def identity(self, pictures: Tensor) -> Tensor:
        return measures.identity(pictures, self.to, held_out=self.held_out)

    @property
    def kind(self) -> str:
        if self.held_out:
            return "held-out"
        return "one photo" if len(self.compared) == 1 else "leave-one-out"

    @property
    def words(self) -> str:
        """What pictures are compared with."""
        count = len(self.compared)
        if self.held_out:
            photos = counted(count, "photo that was", "photos that were")
            return f"compared with {photos} not trained on"
        if count == 1:
            return (
                "compared with the one photo that was trained on: nothing could be held out, so a"
                " copy of it scores highest; look at the share of copies"
            )
        return (
            f"compared with the {count} photos that were trained on, but never with the one that is"
            " nearest: a copy of a photo gains nothing"
        )

    def as_json(self) -> dict[str, Any]:
        """As choice.json names them."""
        return {
            "kind": self.kind, "photos": list(self.compared), "ceiling": self.ceiling,
            "words": self.words,
        }  # fmt: skip


def rows(
    sections: Sequence[str], of: Sequence[int], seeds: Sequence[int], texts: Tensor,
    base: Embeddings, own: Embeddings, references: References,
) -> list[Row]:  # fmt: skip
    """A row for each picture of `own`, paired with that of `base`.

    sections: of each prompt; of: each picture's prompt; seeds: each picture's; texts: (P, D) what
    the judge makes of the plain prompts. A measure that does not apply to a section is None.
    """
    alike = references.identity(own.identity)
    mine = [i for i, prompt in enumerate(of) if sections[prompt] in SUBJECT]
    likeness, shares = torch.zeros(len(of)), torch.zeros(len(of))
    likeness[mine] = measures.likeness(base.identity[mine], own.identity[mine], references.to)
    shares[mine] = _shares([of[i] for i in mine], texts, base.prompt[mine], own.prompt[mine])
    columns = {
        "likeness": likeness,
        "prompt_share": shares,
        "clip_t": measures.clip_t(own.prompt, texts[list(of)]),
        "win": _wins(sections, of, texts, own.prompt),
        "identity": alike,
        "drift": measures.drift(base.identity, own.identity),
        "leak": measures.leak(references.identity(base.identity), alike),
    }
    near, which = measures.copying(own.identity, references.trained)
    layouts = torch.stack([measures.layout(image) for image in own.images])
    copies = measures.is_copy(layouts, references.layouts)
    table: list[Row] = []
    for i, prompt in enumerate(of):
        section = sections[prompt]
        clipped, saturated = measures.burn(own.images[i])
        even = measures.contrast(base.images[i])
        row = {name: values[i].item() for name, values in columns.items()} | {
            "copying": near[i].item(),
            "copy": bool(copies[i]),
            "nearest": references.photos[int(which[i])],
            "clipped": clipped,
            "saturated": saturated,
            "contrast": measures.contrast(own.images[i]) / even if even else None,
        }
        kept = {k: v for k, v in row.items() if section in _sections(k)}
        blank = dict.fromkeys(row)
        table.append({"prompt": prompt, "seed": seeds[i], "section": section, **blank, **kept})
    return table


def _sections(column: str) -> Sequence[str]:
    """The sections in which a column has a value."""
    return MEASURES[column].sections if column in MEASURES else SUBJECT


def _shares(of: Sequence[int], texts: Tensor, before: Tensor, after: Tensor) -> Tensor:
    """(N,) `measures.margin` as a share of what the base's pictures of the prompt reach.

    0 where a picture is no nearer to its prompt than to the others, 1 where it shows it as the base
    does. A prompt that the base itself hardly shows is held against a quarter of its usual margin.
    """
    prompts = list(dict.fromkeys(of))
    own = [prompts.index(prompt) for prompt in of]
    reached = measures.margin(before, texts[prompts], own)
    usual = torch.stack([reached[[o == p for o in own]].mean() for p in range(len(prompts))])
    usual = usual.clamp_min(max(usual.mean().item() / 4, 1e-3))
    return measures.margin(after, texts[prompts], own) / usual[own]


def _wins(sections: Sequence[str], of: Sequence[int], texts: Tensor, shown: Tensor) -> Tensor:
    """Against the prompts of the same part: of the subject, of the class, of other things."""
    parts = ["subject" if section in SUBJECT else section for section in sections]
    found = torch.zeros(len(of))
    for part in dict.fromkeys(parts):
        prompts = [p for p, name in enumerate(parts) if name == part]
        mine = [i for i, p in enumerate(of) if parts[p] == part]
        own = [prompts.index(of[i]) for i in mine]
        found[mine] = measures.wins(shown[mine], texts[prompts], own)
    return found


def means(rows: Sequence[Row], own: Embeddings) -> dict[str, Interval]:
    """The mean of each measure with its interval over prompts."""
    found = means_of(rows)
    variety = diversity(rows, own)
    if variety:
        found["diversity"] = clustered(list(variety.values()), list(variety))
    return found


def diversity(rows: Sequence[Row], own: Embeddings) -> dict[int, float]:
    """`measures.diversity` of each prompt of the subject, among its seeds."""
    subject = [i for i, row in enumerate(rows) if row["section"] in SUBJECT]
    return measures.diversity(own.identity[subject], [rows[i]["prompt"] for i in subject])
