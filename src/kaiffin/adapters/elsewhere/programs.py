"""What other programs accept, as they said themselves when they were run: names, parts, nodes.

`known/*.json` are made by `tools/programs.py` from checkouts of the programs, never by hand. Names
are written as shells expand them: `lora_te_text_model_encoder_layers_{0,1}_mlp_{fc1,fc2}`.
Torch-free.
"""

from __future__ import annotations

import functools
import itertools
import json
import re
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

KNOWN = Path(__file__).with_name("known")


@dataclass(frozen=True)
class Node:
    """A node type. inputs: those that are linked, with their types; widgets: settings in the order
    of the editor, with their choices where there are some; outputs: types."""

    inputs: Mapping[str, str]
    widgets: Mapping[str, Sequence[str]]
    outputs: Sequence[str]


@dataclass(frozen=True)
class Program:
    """A program at one commit. names: of layers of the published bases, by family, that it takes;
    parts: how keys go on behind a name; nodes: ComfyUI's, as far as a workflow needs them; ran: the
    folder of it that was run, where that was not the program."""

    title: str
    version: str
    commit: str
    date: str
    names: Mapping[str, frozenset[str]]
    parts: Sequence[str]
    nodes: Mapping[str, Node]
    ran: str = ""

    @functools.cached_property
    def forms(self) -> Mapping[str, frozenset[str]]:
        """The names without their numbers: what holds on a base with fewer or more blocks."""
        return {family: frozenset(map(without_numbers, n)) for family, n in self.names.items()}

    def knows(self, name: str, family: str, asked: Container[str] = ()) -> bool:
        """Whether it takes a name. asked: those about which it has spoken; others as their like,
        for a base with fewer or more blocks."""
        is_like = without_numbers(name) in self.forms[family]
        return name in self.names[family] or (name not in asked and is_like)

    def takes(self, key: str, family: str) -> bool:
        """Whether it has a place for a key of a file for a base of `family`."""
        names = (key.removesuffix(part) for part in self.parts if key.endswith(part))
        return any(without_numbers(name) in self.forms.get(family, ()) for name in names)


@functools.cache
def program(name: str) -> Program:
    """`a1111`, `comfyui` or `sd-scripts`."""
    text = (KNOWN / f"{name}.json").read_text(encoding="utf-8")
    said = json.loads(text)
    said["names"] = {family: frozenset(expanded(n)) for family, n in said["names"].items()}
    said["nodes"] = {kind: Node(**node) for kind, node in said["nodes"].items()}
    return Program(**said)


def all_known() -> list[Program]:
    """Every program that was run, in the order of the alphabet."""
    return [program(path.stem) for path in sorted(KNOWN.glob("*.json"))]


def without_numbers(name: str) -> str:
    """`lora_unet_mid_block_resnets_1_conv1` -> `lora_unet_mid_block_resnets_#_conv1`."""
    return re.sub(r"(?<=[._])\d+(?=[._]|$)", "#", name)


def expanded(patterns: Iterable[str]) -> Iterator[str]:
    """Every name that the patterns stand for."""
    for pattern in patterns:
        pieces = re.split(r"\{(.*?)\}", pattern)
        choices = [piece.split(",") if i % 2 else [piece] for i, piece in enumerate(pieces)]
        yield from map("".join, itertools.product(*choices))
