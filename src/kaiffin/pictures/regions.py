"""Several subjects in one picture: each adapter acts in its own region, which is told of its own
subject alone.

A region is where the model's output is that of one prompt with the adapters of that region, and
elsewhere it counts for nothing: composition of the outputs at each step, each through a window of
about the base's own size, as MultiDiffusion (Bar-Tal et al. 2023, arXiv 2302.08113) has it, with
each adapter in its own output.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kaiffin.adapters.files.open import peek
from kaiffin.adapters.files.subject import triggers
from kaiffin.foundation.errors import AdapterError, ConfigError, nearest
from kaiffin.foundation.text import composed, same, word_pattern

Box = tuple[float, float, float, float]

ALL: Box = (0.0, 0.0, 1.0, 1.0)
WAYS = "Write columns, rows or WORD=LEFT,TOP,RIGHT,BOTTOM in shares, such as kaiffin=0,0,0.5,1."
APART = "Write what each region is told, with AND between."
AND = re.compile(r"\s*\bAND\b\s*")
# What joins a subject to the next, and is left out with it.
JOINING = re.compile(r"(?:[\s,;&+]|\b(?:and|with|beside|next to|near|by|a|an|the|my)\b)+$", re.I)


@dataclass(frozen=True)
class Subject:
    """phrases: what calls it in prompts, the fullest first; adapters: places among a picture's."""

    phrases: tuple[str, ...]
    adapters: tuple[int, ...]

    def said(self, text: str) -> re.Match[str] | None:
        """Where `text` calls it."""
        found = (word_pattern(phrase).search(composed(text)) for phrase in self.phrases)
        return next((one for one in found if one), None)


@dataclass(frozen=True)
class Region:
    """box: left, top, right, bottom in shares of the picture; prompt: what it is told; adapters:
    places among the picture's, of those that act nowhere else. The background has none, and is
    where no other region is."""

    box: Box
    prompt: str
    adapters: tuple[int, ...] = ()


def subjects_of(adapters: Sequence[Path], asked: Sequence[str]) -> list[Subject]:
    """Who is taught by `adapters`, as their headers say, one or several each; one that says nothing
    is called by its file's name where a region is `asked` for that, and else left out."""
    words = {same(text.rpartition("=")[0].strip()) for text in asked}
    found: dict[tuple[str, ...], list[int]] = {}
    for place, path in enumerate(adapters):
        header = peek(path)[1]
        for trigger in triggers(header):
            known = _phrases(trigger, "kaiffin.run" in header)
            if not known and same(path.stem) in words:
                known = (path.stem,)
            if known:
                found.setdefault(known, []).append(place)
    return [Subject(known, tuple(places)) for known, places in found.items()]


def _phrases(trigger: str, ours: bool) -> tuple[str, ...]:
    """By which an adapter is called whose header says `trigger`. ours: Kaiffin wrote it, as the
    subject's word and its noun, which may be left out."""
    parts = [part.strip() for part in (trigger, *trigger.split(",")) if part.strip()]
    if ours:
        words = trigger.split()
        parts += [" ".join(words[:count]) for count in range(len(words) - 1, 0, -1)]
    return tuple(dict.fromkeys(parts))


def regions_of(asked: Sequence[str], prompt: str, subjects: Sequence[Subject]) -> list[Region]:
    """asked: columns or rows, in which `subjects` stand by the order of the prompt, or WORD=BOX for
    each. The prompt tells each region of its own subject, the background of none; parts with AND
    between say it themselves. Raises ConfigError for what cannot be meant."""
    boxes = _boxes(asked, prompt, subjects)
    of = [subjects[place] for place in boxes]
    told, rest = _apart(prompt, of) if AND.search(prompt) else _told(prompt, of)
    found = [
        Region(box, text, one.adapters)
        for box, text, one in zip(boxes.values(), told, of, strict=True)
    ]
    if _covers([one.box for one in found]):
        return found
    if rest is None:
        raise ConfigError(
            "the regions leave a part of the picture to nobody.",
            "Say what is there in a part of the prompt that names no subject, with AND between.",
        )
    return [*found, Region(ALL, rest)]


def described(regions: Sequence[Region], adapters: Sequence[Path]) -> list[str]:
    """What was understood, a line each."""
    lines = []
    for one in regions:
        names = " and ".join(adapters[place].name for place in one.adapters) or "the rest"
        box = ",".join(f"{side:g}" for side in one.box)
        where = f" in {box}" if one.adapters else ""
        lines.append(f"{names}{where} is told {one.prompt!r}")
    bound = {place for one in regions for place in one.adapters}
    rest = (path.name for place, path in enumerate(adapters) if place not in bound)
    return [*lines, *(f"{name} acts everywhere" for name in rest)]


# --- boxes --------------------------------------------------------------------------------------


def _boxes(asked: Sequence[str], prompt: str, subjects: Sequence[Subject]) -> dict[int, Box]:
    """The box of each subject that has a region, by its place in `subjects`."""
    if asked[0] in ("columns", "rows"):
        if len(asked) > 1:
            raise ConfigError(f"--region {asked[0]} and {asked[1]!r} do not go together.", WAYS)
        return _aligned(asked[0], prompt, subjects)
    boxes: dict[int, Box] = {}
    for text in asked:
        word, _, numbers = text.rpartition("=")
        box, word = _box(numbers, text), word.strip()
        names = {same(phrase): i for i, one in enumerate(subjects) for phrase in one.phrases}
        if same(word) not in names:
            raise ConfigError(
                f"--region {text!r}: no adapter is called {word!r}.",
                nearest(word, names, "Its header (modelspec.trigger_phrase) or its file's name is"
                        " what calls it."),
            )  # fmt: skip
        place = names[same(word)]
        if subjects[place].said(prompt) is None:
            problem = f"--region {text!r}: {word!r} is not in the prompt {prompt!r}."
            raise ConfigError(problem, "Name it in the prompt.")
        if place in boxes:
            raise ConfigError(
                f"--region {text!r}: {word!r} has a region already.", "Give it one box."
            )
        boxes[place] = box
    return boxes


def _box(numbers: str, text: str) -> Box:
    try:
        left, top, right, bottom = (float(one) for one in numbers.split(","))
    except ValueError:
        raise ConfigError(f"--region {text!r}: cannot be read.", WAYS) from None
    if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):  # nor for what is no number
        raise ConfigError(
            f"--region {text!r}: is no box within the picture.",
            "Left and top are 0 to 1, and right and bottom beyond them up to 1.",
        )
    return left, top, right, bottom


def _aligned(way: str, prompt: str, subjects: Sequence[Subject]) -> dict[int, Box]:
    """Equal parts for all subjects, in the order in which the prompt names them."""
    unsaid = [one.phrases[0] for one in subjects if one.said(prompt) is None]
    if unsaid:
        raise ConfigError(
            f"--region {way}: {unsaid[0]!r} is not in the prompt {prompt!r}.",
            "Name every subject in the prompt.",
        )
    count = len(subjects)
    if count < 2:
        raise AdapterError(
            f"--region {way} is for two subjects and more, and"
            f" {'one adapter says' if count else 'no adapter says'} which words call it"
            " (modelspec.trigger_phrase).",
            "Name two such adapters.",
        )
    found = [one.said(prompt) for one in subjects]
    order = sorted(range(count), key=lambda place: found[place].start() if found[place] else 0)
    boxes: dict[int, Box] = {}
    for number, place in enumerate(order):
        begin, end = number / count, (number + 1) / count
        boxes[place] = (begin, 0.0, end, 1.0) if way == "columns" else (0.0, begin, 1.0, end)
    return boxes


def _covers(boxes: Sequence[Box]) -> bool:
    """Whether no point of the picture is outside all boxes."""
    xs = sorted({0.0, 1.0, *(x for box in boxes for x in box[0::2])})
    ys = sorted({0.0, 1.0, *(y for box in boxes for y in box[1::2])})
    return all(
        any(box[0] <= left < box[2] and box[1] <= top < box[3] for box in boxes)
        for left, top in itertools.product(xs[:-1], ys[:-1])
    )


# --- what each is told --------------------------------------------------------------------------


def _apart(prompt: str, subjects: Sequence[Subject]) -> tuple[list[str], str | None]:
    """Of a prompt in parts: the part of each subject, and the one that names none."""
    parts = AND.split(prompt)
    own = [[part for part in parts if one.said(part)] for one in subjects]
    none = [part for part in parts if not any(one.said(part) for one in subjects)]
    for one, found in zip(subjects, own, strict=True):
        if len(found) != 1:
            raise ConfigError(
                f"{one.phrases[0]!r} is in {len(found)} parts of the prompt {prompt!r}.",
                "With AND, each subject has one part.",
            )
    if len({found[0] for found in own}) < len(own) or len(none) > 1:
        problem = f"the prompt {prompt!r} is not one part for each subject and one for the rest."
        raise ConfigError(problem, APART)
    return [found[0] for found in own], none[0] if none else None


def _told(prompt: str, subjects: Sequence[Subject]) -> tuple[list[str], str]:
    """Of one sentence: the same with one subject in place of all, for each, and with none. What
    stands between two belongs to the one before, without the words that join them."""
    prompt = composed(prompt)
    found = [one.said(prompt) for one in subjects]
    spans = [one.span() for one in found if one]
    order = sorted(range(len(spans)), key=lambda place: spans[place])
    first, last = spans[order[0]][0], spans[order[-1]][1]
    between = prompt[first:last]
    own = {order[-1]: prompt[spans[order[-1]][0] : last]}
    for place, after in itertools.pairwise(order):
        own[place] = JOINING.sub("", prompt[spans[place][0] : spans[after][0]])
    told = [f"{prompt[:first]}{own[place]}{prompt[last:]}" for place in range(len(subjects))]
    for place, text in enumerate(told):
        others = [one for number, one in enumerate(subjects) if number != place]
        if re.search(r"[()\[\]|]", between) or any(one.said(text) for one in others):
            problem = f"the prompt {prompt!r} cannot be told to each region by itself."
            raise ConfigError(problem, APART)
    return told, f"{JOINING.sub('', prompt[:first])}{prompt[last:]}".strip(" ,")


# --- the model's side ---------------------------------------------------------------------------


def shares(regions: Sequence[Region], height: int, width: int) -> list[Tensor]:
    """How much of each latent cell is a region's, (height, width) each: of a cell that is in
    several boxes, each has as much. Raises ConfigError for a box that has no cell."""
    y = ((torch.arange(height) + 0.5) / height)[:, None]
    x = ((torch.arange(width) + 0.5) / width)[None]
    inside = {}
    for place, region in enumerate(regions):
        left, top, right, bottom = region.box
        cells = (left <= x) & (x < right) & (top <= y) & (y < bottom)
        inside[place] = cells.float()
        if not cells.any():
            raise ConfigError(
                f"a region of {left:g},{top:g},{right:g},{bottom:g} is too small for a picture of"
                f" {width}x{height} cells.", "Make it larger, or the picture.",
            )  # fmt: skip
    taken = torch.stack([inside[i] for i, one in enumerate(regions) if one.adapters]).sum(0)
    return [
        inside[i] / taken.clamp(min=1) if one.adapters else (taken == 0).float()
        for i, one in enumerate(regions)
    ]


def window(share: Tensor, native: int) -> tuple[slice, slice]:
    """Rows and columns around all cells of a share, `native` of each where the picture has them: a
    model draws best what is as large as what it was taught."""
    return _around(share.any(1), native), _around(share.any(0), native)


def _around(held: Tensor, native: int) -> slice:
    places = held.nonzero().flatten().tolist()
    first, last = places[0], places[-1] + 1
    size = min(max(last - first, native), len(held))
    start = min(max((first + last - size) // 2, 0), len(held) - size)
    return slice(start, start + size)


def written(regions: Sequence[Region]) -> list[dict[str, Any]]:
    """As JSON data, for a recipe."""
    return [asdict(one) | {"box": list(one.box), "adapters": list(one.adapters)} for one in regions]


def read(found: Sequence[Mapping[str, Any]], adapters: int) -> tuple[Region, ...]:
    """From a recipe that may be a stranger's, of a picture with so many adapters. Raises ValueError
    or TypeError for what `regions_of` does not answer."""
    regions = tuple(
        Region(tuple(one["box"]), one["prompt"], tuple(one["adapters"])) for one in found
    )
    worn = [place for one in regions for place in one.adapters]
    for one in regions:
        left, top, right, bottom = one.box
        if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1 and isinstance(one.prompt, str)):
            raise ValueError(f"a region {one}")
    if len(set(worn)) < len(worn) or not all(place in range(adapters) for place in worn):
        raise ValueError("regions of other adapters")
    if regions and not worn:
        raise ValueError("regions without a subject")
    return regions
