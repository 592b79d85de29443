"""How large the updates of an adapter file are: its numbers, norms and products. Torch-free.

In double precision, by the thin factors of a layer: its update is never written out for LoRA.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from kaiffin.adapters.files.arrays import doubles
from kaiffin.adapters.kinds import DOWN, UP, kind_of, rank_of

Parts = Mapping[str, Any]  # of a layer: tensors of torch's or arrays of numpy's


def strength(parts: Parts) -> float:
    """alpha / r, the factor on `up @ down`; 1 for a LoKr whose factors are kept whole."""
    rank = rank_of(parts)
    return float(parts["alpha"]) / rank if rank else 1.0


def num_weights(parts: Parts) -> int:
    """How many numbers a layer learnt; its alpha is a setting."""
    return sum(math.prod(value.shape) for part, value in parts.items() if part != "alpha")


def norm(parts: Parts) -> float:
    """Frobenius norm of a layer's update, for LoRA (DoRA: without its magnitude), LoHa and LoKr."""
    kind = kind_of(parts)
    if kind in ("lora", "dora"):
        return math.sqrt(max(0.0, inner(parts, parts)))
    if kind == "loha" and "hada_t1" not in parts:
        w1, w2 = (_product(parts, f"hada_w{i}_a", f"hada_w{i}_b") for i in (1, 2))
        return strength(parts) * float(np.linalg.norm(w1 * w2))
    if kind == "lokr" and "lokr_t2" not in parts:
        norms = [float(np.linalg.norm(_lokr_factor(parts, i))) for i in (1, 2)]
        return strength(parts) * norms[0] * norms[1]  # of a Kronecker product
    return math.nan


def inner(a: Parts, b: Parts) -> float:
    """Frobenius product of two LoRA updates of one layer."""
    ups, downs = ([doubles(parts[part]) for parts in (a, b)] for part in (UP, DOWN))
    product = ((ups[0].T @ ups[1]) * (downs[0] @ downs[1].T)).sum()
    return strength(a) * strength(b) * float(product)


def _product(parts: Parts, left: str, right: str) -> np.ndarray:
    return doubles(parts[left]) @ doubles(parts[right])


def _lokr_factor(parts: Parts, i: int) -> np.ndarray:
    whole = parts.get(f"lokr_w{i}")
    return doubles(whole) if whole is not None else _product(parts, f"lokr_w{i}_a", f"lokr_w{i}_b")
