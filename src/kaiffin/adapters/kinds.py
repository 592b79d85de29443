"""Layers as files hold them: by their parts, with their kind and rank (see foundation.kinds)."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from torch import Tensor

from kaiffin.foundation.kinds import KINDS, PARTS


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
