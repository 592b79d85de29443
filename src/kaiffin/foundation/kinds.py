"""The kinds of adapters, one row each: what a layer of each has, and where each can go. Torch-free.

The formulas are in `adapters.layers`; a test holds both against each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

KindName = Literal["lora", "rslora", "dora", "loha", "lokr", "oft"]  # those that can be trained


@dataclass(frozen=True)
class Kind:
    """What there is to know of a kind of adapter beside its formula.

    title: with its article, as it begins a sentence.
    parts: names in kohya's and LyCORIS' files of what a layer may have, beside `alpha`.
    marks: those that tell it from plain LoRA.
    formula: the kind whose layers it has; root: its scale is alpha / sqrt(rank), not alpha / rank.
    rank: what its rank is, to people.
    up: whether a layer has an up matrix, which LoRA+ trains faster.
    needs_weights: its update turns on the base's weights, which a quantized base only has rounded.
    peft: whether PEFT's and diffusers' layouts can hold it.
    plain: whether everything that reads a kohya LoRA reads it (else LyCORIS' readers do).
    adds_up: whether several are one exactly, their ranks side by side.
    network_args: what LyCORIS calls it in `ss_network_args`.
    """

    name: str
    title: str
    parts: tuple[str, ...]
    marks: tuple[str, ...] = ()
    formula: str = ""
    root: bool = False
    rank: str = "rank"
    up: bool = False
    needs_weights: bool = False
    peft: bool = False
    plain: bool = False
    adds_up: bool = False
    network_args: Mapping[str, str] = field(default_factory=dict)


_UP_DOWN = ("lora_down.weight", "lora_up.weight")
_HADAMARD = ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b")
_KRONECKER = ("lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b")

KINDS: Mapping[str, Kind] = {
    kind.name: kind
    for kind in (  # of those whose marks a layer has, the first is its kind
        Kind(
            "lora", "A LoRA", _UP_DOWN, formula="lora", up=True, peft=True, plain=True,
            adds_up=True,
        ),
        Kind(
            "rslora", "An rsLoRA", _UP_DOWN, formula="lora", root=True, up=True, peft=True,
            plain=True, adds_up=True,
        ),
        Kind(
            "oft", "An OFT", ("oft_blocks",), ("oft_blocks",), formula="oft", rank="block size",
            needs_weights=True, network_args={"algo": "diag-oft"},
        ),
        Kind(
            "loha", "A LoHa", _HADAMARD, (*_HADAMARD, "hada_t1", "hada_t2"), formula="loha",
            network_args={"algo": "loha"},
        ),
        Kind(
            "lokr", "A LoKr", _KRONECKER, (*_KRONECKER, "lokr_t2"), formula="lokr",
            network_args={"algo": "lokr"},
        ),
        # In files of others only: nothing here makes it (see adapters.forms).
        Kind("tucker", "A LoRA in Tucker's form", (*_UP_DOWN, "lora_mid.weight"),
             ("lora_mid.weight",), up=True),
        Kind(
            "dora", "A DoRA", (*_UP_DOWN, "dora_scale"), ("dora_scale",), formula="dora", up=True,
            needs_weights=True, peft=True, network_args={"algo": "lora", "dora_wd": "True"},
        ),
    )
}  # fmt: skip

# Every part that a layer in a file may have.
PARTS = tuple(
    dict.fromkeys(
        ["alpha", *(part for kind in KINDS.values() for part in (*kind.parts, *kind.marks))]
    )
)
