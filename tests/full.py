"""The real models' architecture at full size with random weights, built quickly in bf16."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import UNet2DConditionModel

from kaiffin.models.load import CONFIGS


def full_unet(family: str, dtype: torch.dtype = torch.bfloat16) -> UNet2DConditionModel:
    """The UNet of `sd1` or `sdxl`: made on the meta device, then filled with small noise."""
    folder = Path(CONFIGS) / family / "unet"
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(str(folder))
    unet = unet.to(dtype).to_empty(device="cpu")
    torch.manual_seed(0)
    with torch.no_grad():
        for name, parameter in unet.named_parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, 0.5 * parameter[0].numel() ** -0.5)
            else:
                parameter.fill_(1.0 if "norm" in name and name.endswith("weight") else 0.0)
    return unet.requires_grad_(False)
