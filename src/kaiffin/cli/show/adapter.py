"""Adapter files: what is in them, and what was made of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from kaiffin.cli.terminal import console
from kaiffin.foundation.tell import size_text
from kaiffin.foundation.text import counted

if TYPE_CHECKING:
    from kaiffin.adapters.elsewhere.proof import Proof
    from kaiffin.adapters.files.edit import BlockCut
    from kaiffin.stories import adapter
    from kaiffin.stories.inspect import Inspection, Part

WIDTH = 100  # characters of a line of metadata


def inspection(found: Inspection) -> None:
    """What the file holds, and whether every key has its home."""
    kinds = ", ".join(f"{count} {kind}" for kind, count in found.kinds.items())
    console.print(f"{found.path}: {found.layout} layout, {found.family}, {kinds or 'no layers'}")
    console.print(counted(found.weights, "weight"))
    if found.trigger:
        console.print(f"trigger: {_printable(found.trigger)}")
    if found.towers:
        console.print(_towers(found.towers))
        console.print(_blocks(found.blocks))
    for name, shape in found.tokens.items():
        console.print(f"bundled token: {name}, {' vectors of '.join(map(str, shape))}")
    if found.metadata:
        console.print("metadata:")
    for key, value in sorted(found.metadata.items()):
        line = _printable(f"{key}: {value}")
        console.print(f"  {line[:WIDTH]}{' …' if len(line) > WIDTH else ''}")
    for problem in found.problems:
        console.print(f"problem: {problem}")
    console.print("See the problems above." if found.problems else "Every key has its home.")


def _towers(towers: Sequence[Part]) -> Table:
    table = Table("part", "layers", "of the base's", "rank", "alpha", "norm", box=None)
    for part in towers:
        spans = _span(part.ranks), _span(part.alphas)
        table.add_row(part.name, str(part.layers), str(part.total), *spans, _norm(part.norm))
    return table


def _blocks(blocks: Sequence[Part]) -> Table:
    table = Table("block", "layers", "norm of the update", box=None)
    for part in blocks:
        table.add_row(part.name, str(part.layers), _norm(part.norm))
    return table


def _norm(norm: float | None) -> str:
    return "?" if norm is None else f"{norm:.3g}"


def _span(values: Iterable[float]) -> str:
    """`4`, or `1 to 4`."""
    ordered = sorted(values)
    ends = ordered[:1] if ordered[0] == ordered[-1] else [ordered[0], ordered[-1]]
    return " to ".join(f"{value:g}" for value in ends)


def _printable(text: str) -> str:
    """Strings of strangers on one line and without control characters."""
    return "".join(c if c.isprintable() else " " for c in text)


def converted(made: adapter.Converted) -> None:
    tokens = f" and {counted(made.tokens, 'token')}" if made.tokens else ""
    what = f"{counted(made.layers, 'layer')}{tokens}"
    console.print(f"{what}, {made.before} -> {made.layout}: {made.out}")


def proof(made: Proof) -> None:
    for line in made.sentences:
        console.print(line)


def merged(made: adapter.Merged) -> None:
    if made.cuts:
        _cuts(made.cuts)
    console.print(f"{counted(made.layers, 'layer')} of rank {_span(made.ranks)}: {made.out}")


def merged_base(made: adapter.MergedBase) -> None:
    console.print(
        f"{made.base} with {counted(made.adapters, 'adapter')} in its weights: {made.out}"
        + (f" ({size_text(made.size)}), read back" if made.size else "")
    )
    if made.configs:
        console.print(f"Keep {made.configs} beside it: a base of unusual shape needs it.")


def resized(made: adapter.Resized) -> None:
    _cuts(made.cuts)
    console.print(f"{_size(made.before)} -> {_size(made.after)}: {made.out}")


def extracted(made: adapter.Extracted) -> None:
    _cuts(made.cuts)
    size = _size(made.size)
    console.print(f"{made.layers} of {made.total} layers differ: {made.out} ({size})")


def _cuts(cuts: Sequence[BlockCut]) -> None:
    table = Table("block", "layers", "rank", "relative error", box=None)
    for cut in cuts:
        table.add_row(cut.block, str(cut.layers), _span(cut.ranks), f"{cut.error:.2%}")
    console.print(table)


def _size(size: int) -> str:
    return f"{size / 1e6:.1f} MB"


def differences(found: adapter.Differences) -> None:
    """Norms, cosines and distances by block, then what the headers say differently."""
    table = Table("block", f"norm of {found.a.name}", f"norm of {found.b.name}", "cosine",
                  "|a - b| / |a|", box=None)  # fmt: skip
    for block in found.blocks:
        row = (block.a, block.b, block.cosine, block.distance)
        table.add_row(block.block, *(f"{value:.3g}" for value in row))
    if found.blocks:
        console.print(table)
    for name, distance in found.tokens.items():
        far = "not in both" if distance is None else f"|a - b| / |a| = {distance:.3g}"
        console.print(f"  token {_printable(name)}: {far}")
    for key, pair in found.metadata.items():
        both = (_printable(value or "(none)")[:60] for value in pair)
        console.print(f"  {_printable(key)}: {' | '.join(both)}")


def workflow(made: adapter.Workflow) -> None:
    console.print(f"{made.out}: open it in ComfyUI. It wants, in ComfyUI's folders,")
    for place, source in made.needs.items():
        whence = f"from {source}" if source else "or choose yours in the first node"
        console.print(f"  models/{place} ({whence})")
