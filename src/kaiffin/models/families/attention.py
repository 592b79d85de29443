"""Where in a picture words act: the cross-attention of a UNet, read while it predicts (DAAM, Tang
et al. 2023, arXiv 2210.04885)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CROSS = "attn2"  # how diffusers calls an attention to the text
COARSE = 64  # places: a layer of fewer says little about where


def heard(
    net: nn.Module, predict: Callable[[], object], places: Sequence[int], size: tuple[int, int]
) -> Tensor:
    """How much each cell of a picture of `size` (h, w) hears of the tokens at `places`, (B, h, w):
    attention while `predict` runs, as a mean over tokens, heads and layers that are not too coarse.
    All 0 where there is no such attention."""
    named = ((name.rpartition(".")[2], one) for name, one in net.named_modules())
    layers: list[Any] = [one for name, one in named if name == CROSS and hasattr(one, "heads")]
    seen: dict[nn.Module, Tensor] = {}

    def keep(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        seen[module] = output

    parts = [part for layer in layers for part in (layer.to_q, layer.to_k)]
    handles = [part.register_forward_hook(keep) for part in parts]
    try:
        predict()
    finally:
        for handle in handles:
            handle.remove()
    fine = min(COARSE, max((seen[one.to_q].shape[1] for one in layers), default=0))
    maps = [
        _shaped(_attention(seen[one.to_q], seen[one.to_k], one.heads, places), size)
        for one in layers
        if seen[one.to_q].shape[1] >= fine
    ]
    return torch.stack(maps).mean(0) if maps else torch.zeros(1, *size)


def _attention(query: Tensor, key: Tensor, heads: int, places: Sequence[int]) -> Tensor:
    """(B, n): of each of n places on the tokens at `places`."""
    query, key = (x.float().unflatten(-1, (heads, -1)).transpose(1, 2) for x in (query, key))
    scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
    return scores.softmax(-1)[..., list(places)].mean((1, 3))


def _shaped(attention: Tensor, size: tuple[int, int]) -> Tensor:
    """From the places of a layer, some halvings of `size` below, to (B, h, w)."""
    height, width = size
    while height * width > attention.shape[1]:
        height, width = math.ceil(height / 2), math.ceil(width / 2)
    small = attention.view(-1, 1, height, width)
    return F.interpolate(small, size, mode="bilinear", align_corners=False)[:, 0]
