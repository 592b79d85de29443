"""The four networks of the miniature, sized for a CPU, as diffusers and transformers classes."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor
from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPTextModelWithProjection

SIZE = 64  # pixels
GROWN = 2 * SIZE  # of a VAE that was grown
LATENT_CHANNELS = 16
LATENT_SIDE = 8
WIDTH = 128  # of both CLIP towers, and of the UNet's cross-attention
SECOND_WIDTH = 192  # of the XL twin's second text tower
TIME_WIDTH = 32  # channels for each of the XL twin's six numbers of size and crop


def make_clip(vocab_size: int, max_length: int) -> CLIPModel:
    """CLIP with two 4-layer towers; start and end tokens are the last two of the vocabulary.

    Eager attention: the CPU backward of fused attention was measured up to 4x slower.
    """
    shared = {
        "hidden_size": WIDTH,
        "intermediate_size": 4 * WIDTH,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "hidden_act": "gelu",
        "projection_dim": WIDTH,
    }
    end = vocab_size - 1
    text = {
        **shared,
        "vocab_size": vocab_size,
        "max_position_embeddings": max_length,
        "bos_token_id": vocab_size - 2,
        "eos_token_id": end,
        "pad_token_id": end,
    }
    vision = {**shared, "image_size": SIZE, "patch_size": 8}
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=WIDTH)
    config._attn_implementation = "eager"
    return CLIPModel(config)


def make_vae(channels: tuple[int, ...] = (16, 32, 64, 96), side: int = SIZE) -> AutoencoderKL:
    """64 px to 8 x 8 x 16 latents: a UNet on 8 x 8 costs a quarter of one on 16 x 16."""
    levels = len(channels)
    return AutoencoderKL(
        block_out_channels=channels,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        layers_per_block=1,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=8,
        sample_size=side,
        scaling_factor=1.0,
        mid_block_add_attention=False,
    )


def make_unet(channels: tuple[int, ...] = (128, 160)) -> UNet2DConditionModel:
    """Cross-attention on both levels, 8 x 8 and 4 x 4, heads of 32 channels."""
    return _unet(channels, cross_attention_dim=WIDTH)


def make_twin_unet(channels: tuple[int, ...] = (96, 160)) -> UNet2DConditionModel:
    """The miniature's UNet in SDXL's shape: linear projections around two transformer blocks on
    the lower level, both text towers' states, and `text_time` (arXiv 2307.01952, sections 2.1, 2.2)
    for the pooled text with size and crop."""
    return _unet(
        channels,
        cross_attention_dim=WIDTH + SECOND_WIDTH,
        transformer_layers_per_block=(*(1,) * (len(channels) - 1), 2),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=TIME_WIDTH,
        projection_class_embeddings_input_dim=6 * TIME_WIDTH + WIDTH,
    )


def _unet(channels: tuple[int, ...], **more: Any) -> UNet2DConditionModel:
    unet = UNet2DConditionModel(
        sample_size=LATENT_SIDE,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        block_out_channels=channels,
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D",) * len(channels),
        up_block_types=("CrossAttnUpBlock2D",) * len(channels),
        # diffusers calls the number of heads `attention_head_dim`
        attention_head_dim=tuple(width // 32 for width in channels),
        **more,
    )
    unet.set_attn_processor(AttnProcessor())
    return unet


def make_second_tower(vocab_size: int, max_length: int) -> CLIPTextModelWithProjection:
    """The XL twin's second text tower: wider than the first, with a projection, as SDXL's is.

    It pads with "!", token 0, as SDXL's second tokenizer does.
    """
    config = CLIPTextConfig(
        hidden_size=SECOND_WIDTH,
        intermediate_size=4 * SECOND_WIDTH,
        num_hidden_layers=4,
        num_attention_heads=6,
        hidden_act="gelu",
        projection_dim=WIDTH,
        vocab_size=vocab_size,
        max_position_embeddings=max_length,
        bos_token_id=vocab_size - 2,
        eos_token_id=vocab_size - 1,
        pad_token_id=0,
    )
    config._attn_implementation = "eager"
    return CLIPTextModelWithProjection(config)


def make_schedule() -> DDIMScheduler:
    """Stable Diffusion's own betas; the network predicts v (Salimans and Ho, arXiv 2202.00512)."""
    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )


def to_pixels(images: Tensor) -> Tensor:
    """(B, H, W, 3) uint8 to (B, 3, H, W) floats in -1..1."""
    return images.permute(0, 3, 1, 2).float().div(127.5).sub(1.0).contiguous()


def seen(images: np.ndarray) -> Tensor:
    """The same, at most SIZE pixels a side, which is what the towers and the judges look at."""
    pixels = to_pixels(torch.from_numpy(np.array(images)))
    return pixels if pixels.shape[-1] <= SIZE else F.adaptive_avg_pool2d(pixels, SIZE)
