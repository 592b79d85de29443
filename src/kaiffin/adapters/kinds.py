"""The kinds of adapters as files name them: which keys a layer of each has, and its rank."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from torch import Tensor

LORA = ("lora_down.weight", "lora_up.weight", "alpha")


KINDS = {  # the parts that tell a kind of adapter from plain LoRA; the first that fits counts
    "oft": ("oft_blocks",),
    "loha": ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", "hada_t1", "hada_t2"),
    "lokr": (
        "lokr_w1", "lokr_w2", "lokr_w1_a", "lokr_w1_b", "lokr_w2_a", "lokr_w2_b", "lokr_t2",
    ),
    "tucker": ("lora_mid.weight",),
    "dora": ("dora_scale",),
}  # fmt: skip


PARTS = (*LORA, *(part for parts in KINDS.values() for part in parts))


def kind_of(parts: Collection[str]) -> str:
    for kind, marks in KINDS.items():
        if any(mark in parts for mark in marks):
            return kind
    return "lora"


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
    for part in PARTS:
        if key.endswith(f".{part}"):
            return key.removesuffix(f".{part}"), part
    return key, ""
