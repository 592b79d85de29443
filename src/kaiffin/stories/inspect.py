"""`kaiffin adapter inspect`: what an adapter file holds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from kaiffin.adapters.files import edit, tables
from kaiffin.adapters.files.open import Opened, open_file
from kaiffin.adapters.files.reading import AdapterFile
from kaiffin.adapters.kinds import rank_of
from kaiffin.models.families.spec import FAMILY_NAMES, TOWERS

console = Console(highlight=False, soft_wrap=True, markup=False)


def inspect(path: Path, base: str | None = None) -> bool:
    """Prints what is in the file; whether every key found its home."""
    opened = open_file(path, base)
    file = opened.file
    kinds = ", ".join(f"{count} {kind}" for kind, count in file.kinds().items())
    console.print(f"{path}: {file.layout} layout, {FAMILY_NAMES[file.family]}, {kinds or 'empty'}")
    trigger = file.metadata.get("modelspec.trigger_phrase")
    if trigger:
        console.print(f"trigger: {trigger}")
    console.print(_towers_table(opened))
    console.print(_blocks_table(file))
    for name, value in file.embeddings.items():
        console.print(f"bundled token: {name}, {len(value)} vectors of {value.shape[-1]}")
    _print_metadata(file.metadata)
    wrong = _misfits(opened)
    for line in wrong:
        console.print(f"problem: {line}")
    console.print("Every key has its home." if not wrong else "See the problems above.")
    return not wrong


def _towers_table(opened: Opened) -> Table:
    table = Table("part", "layers", "of the base's", "rank", "alpha", "norm", box=None)
    for tower in TOWERS[opened.file.family]:
        mine = [p for n, p in opened.file.modules.items() if n.startswith(f"{tower}.")]
        total = sum(name.startswith(f"{tower}.") for name in opened.table)
        if not mine:
            continue
        ranks = range_of(rank_of(parts) for parts in mine)
        alphas = range_of(float(parts["alpha"]) for parts in mine)
        table.add_row(tower, str(len(mine)), str(total), ranks, alphas, _norm(mine))
    return table


def _blocks_table(file: AdapterFile) -> Table:
    table = Table("block", "layers", "norm of the update", box=None)
    blocks: dict[str, list[dict[str, torch.Tensor]]] = {}
    for name, parts in file.modules.items():
        blocks.setdefault(edit.block_of(name), []).append(parts)
    for block, parts in blocks.items():
        table.add_row(block, str(len(parts)), _norm(parts))
    return table


def _norm(parts: Sequence[Mapping[str, torch.Tensor]]) -> str:
    """Of all updates together; unknown where they turn the base's weights, which are not here."""
    norm = sum(edit.norm(p) ** 2 for p in parts) ** 0.5
    return "?" if math.isnan(norm) else f"{norm:.3g}"


def range_of(values: Any) -> str:
    distinct = sorted(set(values))
    ends = (distinct[0],) if len(distinct) == 1 else (distinct[0], distinct[-1])
    return " to ".join(f"{value:g}" for value in ends)


def _print_metadata(metadata: Mapping[str, str]) -> None:
    """Strings of strangers: cut, on one line, and without control characters."""
    if metadata:
        console.print("metadata:")
    for key, value in sorted(metadata.items()):
        shown = "".join(c if c.isprintable() else " " for c in f"{key}: {value}")
        console.print(f"  {shown[:100]}{' …' if len(shown) > 100 else ''}")


def _misfits(opened: Opened) -> list[str]:
    file, found = opened.file, []
    if file.strays:
        shown = ", ".join(file.strays[:3]) + (" …" if len(file.strays) > 3 else "")
        found.append(
            f"{len(file.strays)} keys have no home in {FAMILY_NAMES[file.family]}: {shown}"
        )
    if file.misspelled:
        found.append(
            f"{len(file.misspelled)} keys of the text encoder lack `text_model`: ComfyUI and A1111"
            " ignore them. `kaiffin adapter convert IN OUT --to kohya` mends the names."
        )
    odd = [name for name, parts in file.modules.items() if not _fits(parts, opened.table[name])]
    if odd:
        parts = file.modules[odd[0]]
        down, up = (tuple(parts[f"lora_{side}.weight"].shape) for side in ("down", "up"))
        found.append(
            f"{len(odd)} layers have other shapes than this base: {odd[0]} is {up} x {down} for a"
            f" weight of {opened.table[odd[0]]}. Name the right one with --base."
        )
    return found


def _fits(parts: Mapping[str, torch.Tensor], shape: tables.Shape) -> bool:
    down, up = parts.get("lora_down.weight"), parts.get("lora_up.weight")
    if down is None or up is None or "lora_mid.weight" in parts:
        return True
    return (up.shape[0], *down.shape[1:]) == tuple(shape)
