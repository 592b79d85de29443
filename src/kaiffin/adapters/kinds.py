"""Layers as files hold them: by their parts, with kind, rank and shapes (see foundation.kinds).

Torch-free: tensors are looked at, be they torch's or numpy's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING

from kaiffin.foundation.errors import AdapterError
from kaiffin.foundation.kinds import KINDS, PARTS
from kaiffin.foundation.text import first_few

if TYPE_CHECKING:
    from torch import Tensor

Size = tuple[int, ...]  # of a weight: (out, in) or (out, in, kh, kw)
DOWN, MID, UP = "lora_down.weight", "lora_mid.weight", "lora_up.weight"
MAGNITUDE = "dora_scale"
CORES = (MID, "hada_t1", "hada_t2", "lokr_t2")  # of Tucker's form
OTHER_BASE = "The adapter was trained on another base; name that base with --base."


def kind_of(parts: Collection[str]) -> str:
    """The kind of a layer that has these parts; rsLoRA is LoRA in a file."""
    marked = (kind.name for kind in KINDS.values() if any(mark in parts for mark in kind.marks))
    return next(marked, "lora")


def rank_of(parts: Mapping[str, Tensor]) -> int:
    """Rank of a module; 0 where a LoKr factor is kept whole; OFT's block size."""
    if "oft_blocks" in parts:
        return parts["oft_blocks"].shape[-1]
    for part in ("lora_down.weight", "hada_w1_b", "lokr_w2_b", "lokr_w1_b"):
        if part in parts:
            return parts[part].shape[0]
    return 0


def by_module(state: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """`<module>.<part>` -> tensor, as module -> part -> tensor."""
    modules: dict[str, dict[str, Tensor]] = {}
    for key, value in state.items():
        name, part = kohya_split(key)
        modules.setdefault(name, {})[part] = value
    return modules


def kohya_split(key: str) -> tuple[str, str]:
    """Module and part of a key; part "" where it is no known one."""
    for part in PARTS:
        if key.endswith(f".{part}"):
            return key.removesuffix(f".{part}"), part
    return key, ""


# --- shapes -----------------------------------------------------------------------------------


def shapes_of(size: Size, parts: Mapping[str, Tensor]) -> dict[str, Size]:
    """What each part must be beside a weight of `size`, for the kind, form and rank of `parts`.

    Raises AdapterError for a LoKr whose factors make another weight.
    """
    kind = kind_of(parts)
    if kind == "lokr":
        shapes = _lokr(size, {part: tuple(value.shape) for part, value in parts.items()})
    else:
        # A core that is of another kind is found to be too much, as every part that is.
        form = SHAPES.get((kind, is_tucker(parts))) or SHAPES[kind, kind == "tucker"]
        shapes = form(size, rank_of(parts))
    if MAGNITUDE in parts and kind != "oft":
        shapes[MAGNITUDE] = magnitude(size, magnitude_axis(size, parts[MAGNITUDE].shape))
    return shapes


def refuse_other_shapes(name: str, needed: Mapping[str, Size], parts: Mapping[str, Tensor]) -> None:
    """AdapterError that names a part of layer `name` that is too much, missing or of another
    shape; the alpha is nobody's weight."""
    refuse_names([f"{name}.{part}" for part in sorted(set(parts) - {*needed, "alpha"})],
                 "the adapter has no place for")  # fmt: skip
    refuse_names([f"{name}.{part}" for part in sorted(set(needed) - set(parts))], "the file lacks")
    for part, shape in needed.items():
        if tuple(parts[part].shape) != shape:
            raise AdapterError(
                f"{name}.{part}: shape {tuple(parts[part].shape)} where this base needs {shape}.",
                OTHER_BASE,
            )


def refuse_names(names: Collection[str], reason: str) -> None:
    """AdapterError with the first of them, where there are any."""
    if names:
        raise AdapterError(
            f"{reason} {first_few(names, 3)}.",
            "The adapter belongs to another base model or another configuration.",
        )


def is_tucker(parts: Collection[str]) -> bool:
    """Whether a layer is in Tucker's form, with a core between two matrices."""
    return any(core in parts for core in CORES)


def lora(size: Size, rank: int) -> dict[str, Size]:
    """down: (r, in) or (r, in, kh, kw); up: (out, r) or (out, r, 1, 1)."""
    out, *inner = size
    return {DOWN: (rank, *inner), UP: (out, rank, *[1] * (len(inner) - 1))}


def tucker_lora(size: Size, rank: int) -> dict[str, Size]:
    """down: (r, in, 1, 1), up: (out, r, 1, 1), mid: (r, r, kh, kw)."""
    out, inner, *kernel = size
    ones = [1] * len(kernel)
    return {DOWN: (rank, inner, *ones), UP: (out, rank, *ones), MID: (rank, rank, *kernel)}


def loha(size: Size, rank: int) -> dict[str, Size]:
    """w1_a, w2_a: (out, r); w1_b, w2_b: (r, in * kernel)."""
    a, b = (size[0], rank), (rank, math.prod(size[1:]))
    return {"hada_w1_a": a, "hada_w1_b": b, "hada_w2_a": a, "hada_w2_b": b}


def tucker_loha(size: Size, rank: int) -> dict[str, Size]:
    """t1, t2: (r, r, kh, kw); w1_a, w2_a: (r, out); w1_b, w2_b: (r, in)."""
    out, inner, *kernel = size
    a, b, core = (rank, out), (rank, inner), (rank, rank, *kernel)
    return {
        "hada_w1_a": a, "hada_w1_b": b, "hada_w2_a": a, "hada_w2_b": b, "hada_t1": core,
        "hada_t2": core,
    }  # fmt: skip


def oft(size: Size, rank: int) -> dict[str, Size]:
    """blocks: (out / s, s, s) of block size s."""
    return {"oft_blocks": (size[0] // rank, rank, rank)}


def magnitude(size: Size, axis: int) -> Size:
    """Of DoRA, along an axis of the weight: (out, 1[, 1, 1]) or (1, in[, 1, 1])."""
    return tuple(n if i == axis else 1 for i, n in enumerate(size))


def magnitude_axis(size: Size, shape: Size) -> int:
    """1 in files of LyCORIS with `wd_on_out` off."""
    return 1 if tuple(shape[:1]) == (1,) != tuple(size[:1]) else 0


def _lokr(size: Size, found: Mapping[str, Size]) -> dict[str, Size]:
    """The factors may have any shapes, as long as their product has the weight's."""
    rows, columns = _lokr_factor(found, "lokr_w1")
    second = _lokr_core(size, found) if "lokr_t2" in found else _lokr_factor(found, "lokr_w2")
    made = (rows * second[0], columns * math.prod(second[1:]))
    if made != (size[0], math.prod(size[1:])):
        raise AdapterError(
            f"makes {made} of its factors where this base needs {tuple(size)}.", OTHER_BASE
        )
    return {part: shape for part, shape in found.items() if part.startswith("lokr_")}


def _lokr_factor(found: Mapping[str, Size], name: str) -> Size:
    """Of a factor, whole or a product."""
    whole = found.get(name)
    return whole or (found[f"{name}_a"][0], found[f"{name}_b"][1])


def _lokr_core(size: Size, found: Mapping[str, Size]) -> Size:
    """Of the second factor in Tucker's form: a core (r, s, kh, kw), rows (r, out / a) and columns
    (s, in / b)."""
    core, rows, columns = (found.get(f"lokr_{name}") for name in ("t2", "w2_a", "w2_b"))
    if core is None or rows is None or columns is None:
        raise AdapterError("lacks factors of its Tucker form.", "The file is incomplete.")
    if (
        len(core) != 4
        or len(rows) != 2
        or len(columns) != 2
        or (core != (rows[0], columns[0], *size[2:]))
    ):
        raise AdapterError(f"has a core {core} that does not fit {tuple(size)}.", OTHER_BASE)
    return (rows[1], columns[1], *core[2:])


# kind, whether in Tucker's form -> shapes by size and rank
SHAPES: Mapping[tuple[str, bool], Callable[[Size, int], dict[str, Size]]] = {
    ("lora", False): lora, ("dora", False): lora, ("tucker", True): tucker_lora,
    ("loha", False): loha, ("loha", True): tucker_loha, ("oft", False): oft,
}  # fmt: skip
