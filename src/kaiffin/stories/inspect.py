"""`kaiffin adapter inspect`: what an adapter file holds, and whether it would load. Torch-free."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kaiffin.adapters.files import arrays, norms
from kaiffin.adapters.files.open import Opened, open_file
from kaiffin.adapters.fit import faults
from kaiffin.adapters.kinds import rank_of
from kaiffin.foundation.errors import AdapterError
from kaiffin.foundation.tell import SILENT, Tell
from kaiffin.foundation.text import counted
from kaiffin.models.families.spec import SPECS

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Part:
    """The layers of one tower or block.

    layers: how many, of the base's `total`; ranks, alphas: those that occur, smallest first;
    norm: Frobenius, of all updates together, None where they turn the base's weights, which are
    not here.
    """

    name: str
    layers: int
    total: int
    ranks: tuple[int, ...]
    alphas: tuple[float, ...]
    norm: float | None


@dataclass(frozen=True)
class Inspection:
    """What is in an adapter file.

    kinds: number of layers by kind; weights: numbers in them, without alphas and tokens; tokens:
    shape of what is bundled, (vectors, width), by name; problems: why it does not load, or what
    other programs make of it, each with the way out.
    """

    path: Path
    layout: str
    family: str
    kinds: Mapping[str, int]
    weights: int
    trigger: str
    towers: Sequence[Part]
    blocks: Sequence[Part]
    tokens: Mapping[str, tuple[int, ...]]
    metadata: Mapping[str, str]
    strays: Sequence[str]
    problems: Sequence[str]


def inspect(path: Path, base: str | None = None, *, tell: Tell = SILENT) -> Inspection:
    """Looks into the file, against base `base` or the one that it says it is for.

    Raises AdapterError where it is broken: missing, cut off, with halves of layers.
    """
    opened = open_file(path, base, tell=tell, reader=arrays.read)
    file, spec = opened.file, SPECS[opened.file.family]
    return Inspection(
        path=path, layout=file.layout, family=spec.title, kinds=file.kinds(),
        weights=sum(norms.num_weights(parts) for parts in file.modules.values()),
        trigger=file.metadata.get("modelspec.trigger_phrase", ""),
        towers=_parts(opened, {name: name.partition(".")[0] for name in opened.table.layers}),
        blocks=_parts(opened, {name: spec.block_of(name) for name in opened.table.layers}),
        tokens={name: tuple(value.shape) for name, value in file.embeddings.items()},
        metadata=file.metadata, strays=list(file.strays), problems=_problems(opened),
    )  # fmt: skip


def _parts(opened: Opened, part_of: Mapping[str, str]) -> list[Part]:
    """The file's layers by part, parts in the order of the base. part_of: by layer."""
    totals: dict[str, int] = defaultdict(int)
    mine: dict[str, list[Mapping[str, Tensor]]] = defaultdict(list)
    for layer, part in part_of.items():
        totals[part] += 1
        if layer in opened.file.modules:
            mine[part].append(opened.file.modules[layer])
    return [_part(name, found, totals[name]) for name, found in mine.items()]


def _part(name: str, layers: Sequence[Mapping[str, Tensor]], total: int) -> Part:
    norm = math.sqrt(sum(norms.norm(parts) ** 2 for parts in layers))
    return Part(
        name, len(layers), total,
        tuple(sorted({rank_of(parts) for parts in layers})),
        tuple(sorted({float(parts["alpha"]) for parts in layers})),
        None if math.isnan(norm) else norm,
    )  # fmt: skip


def _problems(opened: Opened) -> list[str]:
    found = _few_of_each(faults(opened.file, opened.table))
    if opened.file.misspelled:
        found.append(
            f"{counted(len(opened.file.misspelled), 'text key')} without `text_model`: ComfyUI"
            " and A1111 ignore that. `kaiffin adapter convert IN OUT --to kohya` mends it."
        )
    return found


def _few_of_each(errors: Iterable[AdapterError]) -> list[str]:
    """The first error of each way out, and how many more there are: layers fail in crowds."""
    alike: dict[str, list[AdapterError]] = defaultdict(list)
    for error in errors:
        alike[error.fix].append(error)
    said = []
    for fix, found in alike.items():
        more = len(found) - 1
        like = f" And {counted(more, 'more layer')} like it." if more else ""
        said.append(f"{found[0].message}{like} {fix}".strip())
    return said
