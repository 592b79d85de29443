"""The objective: each formula once, pure, per example."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def loss(
    output: Tensor,
    target: Tensor,
    *,
    kind: str = "mse",
    huber_delta: float = 0.1,
    weight: Tensor | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """Distance of output and target (B, C, h, w), averaged over each example: (B,) fp32.

    kind: mse, l1 or huber (torch's smooth form `delta * (|d| - delta / 2)` beyond delta);
    weight: (B,) factor per example; mask: (B, 1, h, w) in [0, 1], weights the mean over places.
    """
    output, target = output.float(), target.float()
    if kind == "mse":
        distance = F.mse_loss(output, target, reduction="none")
    elif kind == "l1":
        distance = F.l1_loss(output, target, reduction="none")
    elif kind == "huber":
        distance = F.huber_loss(output, target, reduction="none", delta=huber_delta)
    else:
        raise ValueError(f"loss {kind!r} is not known")
    if mask is None:
        each = distance.flatten(1).mean(1)
    else:
        places = mask.expand_as(distance).flatten(1)
        each = (distance.flatten(1) * places).sum(1) / places.sum(1).clamp(min=1e-6)
    return each if weight is None else each * weight.to(each)


def dco(each: Tensor, of_base: Tensor, beta: float) -> Tensor:
    """DCO (Lee et al. 2024, arXiv 2402.12004) from the errors (B,) of the adapted model and
    of the base on the same noise: `-log sigmoid(-beta (each - of_base))`, over beta.

    Divided by beta its gradient is that of `each` times a factor from 0, far better than the base,
    to 1, far worse, whatever beta is; so other terms keep their weight beside it.
    """
    return F.softplus(beta * (each - of_base)) / beta


def min_snr_weight(snr: Tensor, gamma: float, prediction_type: str) -> Tensor:
    """min-SNR weights (Hang et al. 2023, arXiv 2303.09556): min(SNR, gamma) on the x0 loss.

    Expressed on the loss of what is predicted: eps has the x0 loss times SNR, so the weight is
    min(SNR, gamma) / SNR; v has it times SNR + 1, so the weight is min(SNR, gamma) / (SNR + 1).
    """
    capped = snr.clamp(max=gamma)
    if prediction_type == "epsilon":
        # SNR is 0 only at a zero-terminal-SNR schedule's last step, where min / SNR tends to 1.
        return torch.where(snr > 0, capped / snr.clamp(min=1e-12), torch.ones_like(snr))
    return capped / (snr + 1)


def offset_noise(eps: Tensor, offset: Tensor, strength: float) -> Tensor:
    """eps (B, C, h, w) plus strength * offset (B, C, 1, 1), so that brightness can be learnt."""
    return eps + strength * offset
