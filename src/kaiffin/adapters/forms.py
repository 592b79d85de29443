"""Layers as others' files hold them: forms that Kaiffin applies and goes on training, never begins.

Tucker's form of a convolution has a small core with the kernel between two matrices; LyCORIS
writes LoRA, LoHa and LoKr so (`use_tucker`), and DoRA's magnitude beside any of them (`dora_wd`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from kaiffin.adapters import kinds
from kaiffin.adapters.kinds import MAGNITUDE, Size, is_tucker, kind_of
from kaiffin.adapters.layers import (
    LAYERS,
    Decomposed,
    Layer,
    LohaLayer,
    LokrLayer,
    LoraLayer,
)


def _tucker(core: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """(out, in, kh, kw) of a core (r, s, kh, kw), rows (r, out) and columns (s, in)."""
    return torch.einsum("rskl,ro,si->oikl", core, rows, columns)


class TuckerLora(LoraLayer):
    """down: (r, in, 1, 1), mid: (r, r, kh, kw), up: (out, r, 1, 1)."""

    kind = "tucker"
    parts: ClassVar = {**LoraLayer.parts, "mid": "lora_mid.weight"}
    mid: nn.Parameter
    add_to = Layer.add_to

    def shapes(self) -> dict[str, Size]:
        return kinds.tucker_lora(self.size, self.rank)

    def weight_update(self, target: Any) -> Tensor:
        update = _tucker(self.mid, self.up.flatten(1).T, self.down.flatten(1))
        return update.view(self.size) * (self.alpha / self.rank)


class TuckerLoha(LohaLayer):
    """t1, t2: (r, r, kh, kw); w1_a, w2_a: (r, out); w1_b, w2_b: (r, in)."""

    parts: ClassVar = {**LohaLayer.parts, "t1": "hada_t1", "t2": "hada_t2"}
    t1: nn.Parameter
    t2: nn.Parameter

    def shapes(self) -> dict[str, Size]:
        return kinds.tucker_loha(self.size, self.rank)

    def weight_update(self, target: Any) -> Tensor:
        one = _tucker(self.t1, self.w1_a, self.w1_b)
        update = one * _tucker(self.t2, self.w2_a, self.w2_b)
        return update.view(self.size) * (self.alpha / self.rank)


class TuckerLokr(LokrLayer):
    """t2: (r, r, kh, kw), w2_a: (r, out / a), w2_b: (r, in / b) beside a w1 of (a, b)."""

    parts: ClassVar = {**LokrLayer.parts, "t2": "lokr_t2"}

    def _factor(self, name: str) -> Tensor:
        if name == "w1":
            return super()._factor(name)
        return _tucker(*(getattr(self, part) for part in ("t2", "w2_a", "w2_b")))


_MAGNITUDE = {"magnitude": MAGNITUDE}


class DoraTucker(Decomposed, TuckerLora):
    parts: ClassVar = {**TuckerLora.parts, **_MAGNITUDE}


class DoraLoha(Decomposed, LohaLayer):
    parts: ClassVar = {**LohaLayer.parts, **_MAGNITUDE}


class DoraTuckerLoha(Decomposed, TuckerLoha):
    parts: ClassVar = {**TuckerLoha.parts, **_MAGNITUDE}


class DoraLokr(Decomposed, LokrLayer):
    parts: ClassVar = {**LokrLayer.parts, **_MAGNITUDE}


class DoraTuckerLokr(Decomposed, TuckerLokr):
    parts: ClassVar = {**TuckerLokr.parts, **_MAGNITUDE}


# kind, whether in Tucker's form, whether with DoRA's magnitude -> layer
FORMS: Mapping[tuple[str, bool, bool], type[Layer]] = {
    ("tucker", True, False): TuckerLora, ("tucker", True, True): DoraTucker,
    ("loha", True, False): TuckerLoha, ("loha", True, True): DoraTuckerLoha,
    ("lokr", True, False): TuckerLokr, ("lokr", True, True): DoraTuckerLokr,
    ("loha", False, True): DoraLoha, ("lokr", False, True): DoraLokr,
}  # fmt: skip


def form_of(parts: Mapping[str, Tensor]) -> type[Layer]:
    """The class of a layer that a file holds as `parts`."""
    kind = kind_of(parts)
    form = (kind, is_tucker(parts), MAGNITUDE in parts)
    return FORMS.get(form) or LAYERS[kind]
