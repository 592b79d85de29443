"""Who an adapter is of, as its header says: the word and the class noun in prompts. Torch-free."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from kaiffin.foundation.text import composed

EVERYONE = "kaiffin.subjects"  # [[word, class noun], ...], in files of several subjects
FOLDER = re.compile(r"\d+_(.+)")  # of sd-scripts: 10_sks dog


def everyone(header: Mapping[str, str]) -> list[tuple[str, str]]:
    """As `named`, of all whom the file teaches; of others' files only one is known."""
    listed = _json(header.get(EVERYONE, ""))
    pairs = [one for one in listed if isinstance(one, list)] if isinstance(listed, list) else []
    found = [(composed(str(one[0])), composed(str(one[1]))) for one in pairs if len(one) == 2]
    return found or [named(header)]


def triggers(header: Mapping[str, str]) -> list[str]:
    """What calls the file in prompts: a phrase for each of several subjects, else its header's."""
    if EVERYONE in header:
        return [f"{word} {noun}".strip() for word, noun in everyone(header)]
    return [header.get("modelspec.trigger_phrase", "")]


def named(header: Mapping[str, str]) -> tuple[str, str]:
    """(word, class noun), "" for what is not said.

    By `modelspec.trigger_phrase`, of which Kaiffin writes the word as the title too; else by what
    sd-scripts writes of its folders, of which the one with the most photos counts.
    """
    phrase = composed(header.get("modelspec.trigger_phrase", "")).partition(",")[0].strip()
    title = composed(header.get("modelspec.title", ""))
    if title and f"{phrase} ".startswith(f"{title} "):
        return title, phrase.removeprefix(title).strip()
    if not phrase:
        seen: dict[str, int] = {}
        for name, photos in _folders(header):
            seen[name] = seen.get(name, 0) + photos
        phrase = max(seen, key=lambda name: seen[name], default="")
    word, _, noun = phrase.partition(" ")
    return word, noun.strip()


def _folders(header: Mapping[str, str]) -> Iterator[tuple[str, int]]:
    """What the folders of photos are called, without their repeats, and how many are in them."""
    for name, facts in _mapping(header.get("ss_dataset_dirs", "")).items():
        count = facts.get("img_count") if isinstance(facts, dict) else None
        yield from _called(name, count if isinstance(count, int) else 1)
    for name in _mapping(header.get("ss_tag_frequency", "")):
        yield from _called(name, 1)
    for one in _all(_json(header.get("ss_datasets", ""))):
        if isinstance(words := one.get("class_tokens"), str) and words.strip():
            yield composed(words.strip()), 1


def _called(name: str, photos: int) -> Iterator[tuple[str, int]]:
    if found := FOLDER.fullmatch(composed(name).strip()):
        yield found[1].strip(), photos


def _mapping(text: str) -> dict[str, Any]:
    found = _json(text)
    return found if isinstance(found, dict) else {}


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None  # a stranger's


def _all(found: Any) -> Iterator[dict[str, Any]]:
    """Every mapping of a list of data sets and their subsets."""
    for one in found if isinstance(found, list) else ():
        if isinstance(one, dict):
            yield one
            yield from _all(one.get("subsets"))
