"""A frozen UNet in 8 or 4 bits: bitsandbytes' linear layers in place of torch's.

int8: one scale for each row (Dettmers et al. 2022, arXiv 2208.07339, without outliers apart); nf4:
blocks of 64 numbers on the quantiles of a normal distribution (Dettmers et al. 2023, 2305.14314).
Convolutions, text encoders and VAE stay as they are. Gradients pass through; weights get none.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from kaiffin.foundation.errors import ConfigError
from kaiffin.foundation.extras import needs
from kaiffin.models import parts


def quantize(model: nn.Module, how: str, device: torch.device, dtype: torch.dtype) -> None:
    """Replaces every Linear of `model` in place; `how` is int8 or nf4.

    Raises ConfigError where bitsandbytes is not installed.
    """
    with needs("8bit", f"base.quantize = {how!r}", ConfigError), parts.quiet():
        import bitsandbytes.functional  # of a package that waits a part, so that it runs here
    targets = [(n, m) for n, m in model.named_modules() if type(m) is nn.Linear]
    for name, linear in targets:
        parent, _, leaf = name.rpartition(".")
        made: Any = _layer(bitsandbytes.nn, linear, how, dtype)
        made.load_state_dict(linear.state_dict())
        if made.bias is not None:
            # bitsandbytes casts a bias in place when it computes; on the plan's tensors without
            # contents that would leave one without contents behind.
            made.bias.data = made.bias.data.to(dtype)
        setattr(model.get_submodule(parent), leaf, made.requires_grad_(False).to(device))


def _layer(layers: Any, linear: nn.Linear, how: str, dtype: torch.dtype) -> nn.Module:
    size, bias = (linear.in_features, linear.out_features), linear.bias is not None
    if how == "nf4":
        return layers.Linear4bit(*size, bias=bias, quant_type="nf4", compute_dtype=dtype)
    return layers.Linear8bitLt(*size, bias=bias, has_fp16_weights=False, threshold=0.0)
