"""The real models' architecture at full size with random weights, as diffusers folders."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import tiny
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from kaiffin.models import parts
from kaiffin.models.files.resolve import CONFIGS


def full_base(family: str, folder: Path, dtype: torch.dtype = torch.bfloat16) -> Path:
    """A whole base of `sd1` or `sdxl` in `folder`; its tokenizers know bytes only."""
    shutil.copytree(CONFIGS / family, folder)
    for part in sorted(path for path in folder.iterdir() if path.is_dir()):
        if part.name.startswith("tokenizer"):
            tiny.write_tokenizer(part)
        elif part.name != "scheduler":
            with parts.quiet():
                _noise(part, dtype).save_pretrained(part, max_shard_size="20GB")
    return folder


def _noise(part: Path, dtype: torch.dtype) -> Any:
    """The model of `part`'s configuration, made on the meta device and filled with small noise."""
    said = json.loads((part / "config.json").read_text())
    with torch.device("meta"):
        if part.name == "unet":
            model: nn.Module = UNet2DConditionModel.from_config(said)
        elif part.name == "vae":
            model = AutoencoderKL.from_config(said)
        else:
            two = part.name == "text_encoder_2"
            model = (CLIPTextModelWithProjection if two else CLIPTextModel)(CLIPTextConfig(**said))
    model = model.to(dtype).to_empty(device="cpu")
    torch.manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, 0.5 * parameter[0].numel() ** -0.5)
            else:
                parameter.fill_(1.0 if "norm" in name and name.endswith("weight") else 0.0)
        for name, buffer in model.named_buffers():
            if name.endswith("position_ids"):
                buffer.copy_(torch.arange(buffer.numel()).view_as(buffer))
    return model
