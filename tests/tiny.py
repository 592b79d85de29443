"""Tiny random base models in diffusers layout: the real classes, seconds to build, no download.

Any Unicode prompt works: the vocabulary is CLIP's 256 byte symbols, each with and without the
end-of-word mark, and the two specials (514 entries).
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPVisionConfig,
)

from kaiffin.adapters.files.names import sgm_path
from kaiffin.miniature.build.export import SD_PARTS, SDXL_PARTS, write_index

SIZE = 64  # pixels of the native square
START, END = 512, 513


def byte_symbols() -> list[str]:
    """The printable stand-ins of the 256 bytes that GPT-2's and CLIP's tokenizers use."""
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in kept]
    return [chr(byte) for byte in kept] + [chr(256 + i) for i in range(len(others))]


def write_tokenizer(path: Path) -> None:
    """CLIP tokenizer files (vocab.json, merges.txt) with no merges."""
    path.mkdir(parents=True, exist_ok=True)
    symbols = byte_symbols()
    entries = [*symbols, *(s + "</w>" for s in symbols), "<|startoftext|>", "<|endoftext|>"]
    (path / "vocab.json").write_text(json.dumps({entry: i for i, entry in enumerate(entries)}))
    (path / "merges.txt").write_text("#version: 0.2\n")
    config = {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": 77,
        "bos_token": "<|startoftext|>",
        "eos_token": "<|endoftext|>",
        "unk_token": "<|endoftext|>",
        "pad_token": "<|endoftext|>",
    }
    (path / "tokenizer_config.json").write_text(json.dumps(config))


def text_config(width: int, projection: int, layers: int = 2) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=514,
        hidden_size=width,
        intermediate_size=2 * width,
        projection_dim=projection,
        num_hidden_layers=layers,
        num_attention_heads=2,
        max_position_embeddings=77,
        bos_token_id=START,
        eos_token_id=END,
        pad_token_id=END,
        hidden_act="quick_gelu",
    )


def vae(latent_channels: int) -> AutoencoderKL:
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8, 8, 8, 8),
        layers_per_block=1,
        norm_num_groups=4,
        latent_channels=latent_channels,
        sample_size=SIZE,
        scaling_factor=0.18215,
    )


def _unet(
    channels: int, context: int, attention: Sequence[str], **more: object
) -> UNet2DConditionModel:
    """attention: "CrossAttn" for each level that has it, "" for the others, as published."""
    return UNet2DConditionModel(
        sample_size=SIZE // 8,
        in_channels=channels,
        out_channels=channels,
        block_out_channels=(16, 32),
        layers_per_block=1,
        norm_num_groups=8,
        cross_attention_dim=context,
        down_block_types=tuple(f"{name}DownBlock2D" for name in attention),
        up_block_types=tuple(f"{name}UpBlock2D" for name in reversed(attention)),
        **more,
    )


def _scheduler(path: Path, prediction: str) -> None:
    path.mkdir(parents=True, exist_ok=True)
    config = {
        "_class_name": "DDIMScheduler",
        "beta_schedule": "scaled_linear",
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "num_train_timesteps": 1000,
        "prediction_type": prediction,
        "set_alpha_to_one": False,
        "clip_sample": False,
        "steps_offset": 1,
        "timestep_spacing": "leading",
    }
    (path / "scheduler_config.json").write_text(json.dumps(config))


def tiny_sd(path: Path, *, prediction: str = "epsilon", channels: int = 4, seed: int = 0) -> Path:
    """An SD-1.x-shaped pipeline folder: 64 px, f = 8, about 0.3 M weights."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        vae(channels).save_pretrained(path / "vae")
        _unet(channels, 32, ("CrossAttn", ""), attention_head_dim=2).save_pretrained(path / "unet")
        CLIPTextModel(text_config(32, 32)).save_pretrained(path / "text_encoder")
    write_tokenizer(path / "tokenizer")
    _scheduler(path / "scheduler", prediction)
    write_index(path, "StableDiffusionPipeline", SD_PARTS)
    return path


def tiny_sdxl(path: Path, *, prediction: str = "epsilon", seed: int = 0) -> Path:
    """An SDXL-shaped pipeline folder: two text encoders, size conditioning, linear projections."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        vae(4).save_pretrained(path / "vae")
        unet = _unet(
            4,
            64,
            ("", "CrossAttn"),
            attention_head_dim=(2, 4),
            use_linear_projection=True,
            transformer_layers_per_block=(1, 2),
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=6 * 8 + 32,
        )
        unet.save_pretrained(path / "unet")
        CLIPTextModel(text_config(32, 32)).save_pretrained(path / "text_encoder")
        second = CLIPTextModelWithProjection(text_config(32, 32, layers=3))
        second.save_pretrained(path / "text_encoder_2")
    write_tokenizer(path / "tokenizer")
    write_tokenizer(path / "tokenizer_2")
    _scheduler(path / "scheduler", prediction)
    write_index(path, "StableDiffusionXLPipeline", SDXL_PARTS)
    return path


def tiny_single_file(folder: Path, file: Path) -> Path:
    """The SD-1.x pipeline in `folder` as one checkpoint with the original (LDM) names.

    Its configuration goes beside it, into `<stem>.config`, as for any unusual shape.
    """
    tensors = {}
    for name, value in load_file(folder / "unet" / WEIGHTS).items():
        tensors["model.diffusion_model." + _ldm_unet(name)] = value
    for name, value in load_file(folder / "vae" / WEIGHTS).items():
        tensors["first_stage_model." + _ldm_vae(name)] = _as_convolution(name, value)
    for name, value in load_file(folder / "text_encoder" / "model.safetensors").items():
        path = f"text_model.{name.removeprefix('text_model.')}"
        tensors[f"cond_stage_model.transformer.{path}"] = value
    save_file({name: value.contiguous() for name, value in tensors.items()}, file)
    own = file.with_suffix(".config")
    shutil.copytree(folder, own, ignore=shutil.ignore_patterns("*.safetensors"))
    return file


WEIGHTS = "diffusion_pytorch_model.safetensors"


def _ldm_unet(name: str) -> str:
    """By the table of the adapter formats, whose layers the checkpoint names as well."""
    module, _, part = name.rpartition(".")
    if module == "conv_norm_out":
        return f"out.0.{part}"
    return f"{sgm_path(module, layers_per_block=1)}.{part}"


def _ldm_vae(name: str, levels: int = 4) -> str:
    name = name.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
    for side, word in (("down_blocks", "down"), ("up_blocks", "up")):
        if match := re.search(rf"{side}\.(\d+)\.(resnets|downsamplers|upsamplers)\.(\d+)", name):
            block, kind, layer = match.groups()
            level = int(block) if word == "down" else levels - 1 - int(block)
            inner = f"block.{layer}" if kind == "resnets" else f"{word}sample"
            name = name.replace(match.group(0), f"{word}.{level}.{inner}")
    name = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", name)
    name = name.replace("mid_block.attentions.0.group_norm", "mid.attn_1.norm")
    for ours, ldm in (("to_q", "q"), ("to_k", "k"), ("to_v", "v"), ("to_out.0", "proj_out")):
        name = name.replace(f"mid_block.attentions.0.{ours}", f"mid.attn_1.{ldm}")
    return name


def _as_convolution(name: str, value: torch.Tensor) -> torch.Tensor:
    """LDM's VAE attention has 1x1 convolutions where diffusers has Linear."""
    is_projection = "attentions" in name and ".to_" in name and value.dim() == 2
    return value[..., None, None] if is_projection else value


def tiny_clip(path: Path) -> Path:
    """A random CLIP with its tokenizer, in transformers' layout: a judge."""
    torch.manual_seed(0)
    vision = CLIPVisionConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        image_size=32, patch_size=8, projection_dim=16,
    )  # fmt: skip
    text = text_config(32, 16)
    config = CLIPConfig(
        text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=16
    )
    CLIPModel(config).save_pretrained(path)
    write_tokenizer(path)
    return path
