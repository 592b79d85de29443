"""From what the judges see to a table: a row of measures a picture, a mean a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from PIL import Image
from torch import Tensor

from kaiffin.score import measures
from kaiffin.score.judge import Scorer
from kaiffin.score.statistics import Interval, clustered

Section = Literal["scenes", "actions", "styles", "class", "unrelated"]
SUBJECT: tuple[Section, ...] = ("scenes", "actions", "styles")  # their prompts name the subject
# What each measure is averaged over.
OVER = {
    "likeness": SUBJECT, "prompt_share": SUBJECT, "clip_t": SUBJECT, "win": SUBJECT,
    "identity": SUBJECT, "copying": SUBJECT, "copy": SUBJECT, "clipped": SUBJECT,
    "saturated": SUBJECT, "contrast": SUBJECT, "leak": ("class",), "drift": ("class", "unrelated"),
    "diversity": SUBJECT,
}  # fmt: skip
Row = dict[str, Any]


@dataclass(frozen=True)
class Seen:
    """Pictures of one model as the judges see them: shown for prompts (N, D), like for photos."""

    images: Sequence[Image.Image]
    shown: Tensor
    like: Tensor

    @staticmethod
    def by(judge: Scorer, identity_judge: Scorer, images: Sequence[Image.Image]) -> Seen:
        return Seen(images, judge.embed_images(images), identity_judge.embed_images(images))


@dataclass(frozen=True)
class References:
    """The photos that pictures are compared with.

    photos: names of those trained on, `trained` (P, D) as the identity judge sees them and
    `layouts` (P, L) as they are laid out; to: the references (R, D), held out or the same.
    """

    photos: Sequence[str]
    trained: Tensor
    layouts: Tensor
    to: Tensor
    held_out: bool

    @property
    def ceiling(self) -> float | None:
        return measures.ceiling(self.trained, self.to, held_out=self.held_out)

    def identity(self, pictures: Tensor) -> Tensor:
        return measures.identity(pictures, self.to, held_out=self.held_out)


def rows(
    sections: Sequence[str], of: Sequence[int], seeds: Sequence[int], texts: Tensor,
    base: Seen, own: Seen, references: References,
) -> list[Row]:  # fmt: skip
    """A row for each picture of `own`, paired with that of `base`.

    sections: of each prompt; of: each picture's prompt; seeds: each picture's; texts: (P, D) what
    the judge makes of the plain prompts. A measure that does not apply to a section is None.
    """
    alike = references.identity(own.like)
    mine = [i for i, prompt in enumerate(of) if sections[prompt] in SUBJECT]
    likeness, shown = torch.zeros(len(of)), torch.zeros(len(of))
    likeness[mine] = measures.likeness(base.like[mine], own.like[mine], references.to)
    shown[mine] = _shown([of[i] for i in mine], texts, base.shown[mine], own.shown[mine])
    columns = {
        "likeness": likeness,
        "prompt_share": shown,
        "clip_t": measures.clip_t(own.shown, texts[list(of)]),
        "win": _wins(sections, of, texts, own.shown),
        "identity": alike,
        "drift": measures.drift(base.like, own.like),
        "leak": measures.leak(references.identity(base.like), alike),
    }
    near, which = measures.copying(own.like, references.trained)
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
        kept = {k: v for k, v in row.items() if section in OVER.get(k, OVER["copying"])}
        blank = dict.fromkeys(row)
        table.append({"prompt": prompt, "seed": seeds[i], "section": section, **blank, **kept})
    return table


def _shown(of: Sequence[int], texts: Tensor, before: Tensor, after: Tensor) -> Tensor:
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


def means(table: Sequence[Row], own: Seen) -> dict[str, Interval]:
    """The mean of each measure with its interval over prompts."""
    found = {}
    for name in OVER:
        if name == "diversity":
            pairs = list(diversity(table, own).items())
        else:
            pairs = [(r["prompt"], float(r[name])) for r in table if r[name] is not None]
        if pairs:
            found[name] = clustered([v for _, v in pairs], [p for p, _ in pairs])
    return found


def diversity(table: Sequence[Row], own: Seen) -> dict[int, float]:
    """`measures.diversity` of each prompt of the subject, among its seeds."""
    subject = [i for i, row in enumerate(table) if row["section"] in SUBJECT]
    return measures.diversity(own.like[subject], [table[i]["prompt"] for i in subject])
