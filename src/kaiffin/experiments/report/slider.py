"""Before and after on the same seeds, and what a slider through the checkpoints shows. Torch-free.

Of many candidates, seeds and prompts some are shown, evenly chosen: first fewer seeds, then fewer
prompts; the base and the chosen candidate always.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kaiffin.experiments.report.album import Album, Fact, Picture, spread
from kaiffin.score.catalogue import MEASURES, SECTIONS, leading, number
from kaiffin.score.choice import Choice, Stop

MOST_STOPS = 16  # of the slider
MOST_CELLS = 80  # pictures of a stop


@dataclass(frozen=True)
class Pair:
    """One seed of a prompt. slot: its number among the pictures of a stop."""

    slot: int
    seed: int
    base: Picture | None
    now: Picture | None
    base_notes: Sequence[str]
    now_notes: Sequence[str]


@dataclass(frozen=True)
class Card:
    """A prompt with its seeds. heading: of the section that begins here, and what it is for."""

    prompt: str
    heading: tuple[str, str] | None
    cells: Sequence[Pair]


@dataclass(frozen=True)
class Slider:
    """stops: the base first; slides: by (step, slot), None where the file is gone."""

    choice: Choice
    stops: Sequence[Stop]
    slides: Mapping[tuple[int, int], Picture | None]

    @property
    def hidden(self) -> int:
        """How many pictures of a stop are not shown."""
        return len(self.choice.slots) - len(slots(self.choice))


def slider(choice: Choice, album: Album) -> Slider:
    """Takes the pictures into the album; the base's and the chosen ones are never left out."""
    some = spread(choice.candidates, MOST_STOPS)
    kept = {stop.step for stop in some} | {choice.chosen, choice.highest}
    stops = [choice.base, *(stop for stop in choice.candidates if stop.step in kept)]
    slides = {}
    for stop in stops:
        is_optional = stop.step not in (0, choice.chosen)
        for slot in slots(choice):
            path, (prompt, seed) = stop.pictures[slot], choice.slots[slot]
            text = choice.prompts[prompt].text
            slides[stop.step, slot] = album.add(
                path, f"{stop.label}, seed {seed}".capitalize(),
                f"{stop.label}: {text}, seed {seed}", _facts(stop.rows[slot]), optional=is_optional,
            )  # fmt: skip
    return Slider(choice, stops, slides)


def slots(choice: Choice) -> list[int]:
    """Numbers of the pictures that are shown of each stop."""
    prompts = spread(range(len(choice.prompts)), MOST_CELLS)
    count = len(choice.seeds)
    seeds = min(count, max(1, MOST_CELLS // len(prompts)))
    return [i * count + k for i in prompts for k in range(seeds)]


def _facts(row: Mapping[str, Any]) -> list[Fact]:
    """The scores of one picture, in words."""
    scores = [
        f"{measure.short} {number(row[name])}"
        for name, measure in MEASURES.items()
        if isinstance(row.get(name), (int, float)) and not isinstance(row[name], bool)
    ]
    facts = [("scores", " · ".join(scores))] if scores else []
    if row.get("nearest"):
        verdict = ", and the picture repeats it" if row.get("copy") else ""
        facts.append(("nearest photo", f"{row['nearest']}{verdict}"))
    return facts


def notes(stop: Stop, slot: int) -> list[str]:
    """The scores beside a picture, in short."""
    row = stop.rows[slot]
    known = [name for name, value in row.items() if isinstance(value, (int, float))]
    parts = [f"{MEASURES[name].short} {number(row[name], 2)}" for name in _leading(stop, known)]
    return parts + ([f"repeats {row.get('nearest')}"] if row.get("copy") else [])


def cards(one: Slider) -> list[Card]:
    """The prompts in order, with the chosen candidate's pictures."""
    choice, found = one.choice, []
    groups: dict[int, list[int]] = {}
    for slot in slots(choice):
        groups.setdefault(choice.slots[slot][0], []).append(slot)
    before = None
    for index, own in groups.items():
        prompt = choice.prompts[index]
        heading = SECTIONS.get(prompt.section, (prompt.section, ""))
        cells = [
            Pair(slot, choice.slots[slot][1], one.slides[0, slot], one.slides[choice.chosen, slot],
                 notes(choice.base, slot), notes(choice.best, slot))
            for slot in own
        ]  # fmt: skip
        found.append(Card(prompt.text, heading if prompt.section != before else None, cells))
        before = prompt.section
    return found


def script_data(one: Slider, album: Album) -> list[dict[str, Any]]:
    """For the page's script: every stop that has its pictures on the page."""
    chosen = one.choice.chosen
    stops = [stop for stop in one.stops if album.whole or stop.step in (0, chosen)]
    return [
        {
            "step": stop.step,
            "label": stop.label,
            "chosen": stop.step == chosen,
            "said": said(stop),
            "cells": {slot: _cell(one, stop, slot, album) for slot in slots(one.choice)},
        }
        for stop in stops
    ]


def _cell(one: Slider, stop: Stop, slot: int, album: Album) -> tuple[str | None, list[str]]:
    shown = one.slides[stop.step, slot]
    return shown.key if shown and album.image(shown) else None, notes(stop, slot)


def _leading(stop: Stop, known: Iterable[str]) -> list[str]:
    """What is said first; not of the base what compares with the base."""
    first = leading(set(known))
    return first if stop.step else [name for name in first if not MEASURES[name].against_base]


def said(stop: Stop) -> str:
    """The means of a stop in one line."""
    names = _leading(stop, stop.means)
    parts = [f"{MEASURES[name].short} {number(stop.means[name].mean)}" for name in names]
    if stop.loss is not None:
        parts.append(f"loss {number(stop.loss, 4)}")
    return " · ".join(parts) or "as it was, without the adapter"
