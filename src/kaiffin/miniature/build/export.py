"""Write the networks as folders that diffusers and transformers load unmodified."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import diffusers
import torch
from huggingface_hub import save_torch_state_dict
from torch import Tensor, nn
from transformers import CLIPModel, CLIPTextConfig, CLIPTextModel

from kaiffin.miniature.build import nets
from kaiffin.miniature.build.tokenizer import write_tokenizer

# What model_index.json holds beside the parts that both pipelines have.
SD_PARTS: dict[str, Any] = {
    "feature_extractor": [None, None],
    "image_encoder": [None, None],
    "requires_safety_checker": False,
    "safety_checker": [None, None],
}
SDXL_PARTS: dict[str, Any] = {
    "feature_extractor": [None, None],
    "force_zeros_for_empty_prompt": False,
    "image_encoder": [None, None],
    "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
    "tokenizer_2": ["transformers", "CLIPTokenizer"],
}


def _half(network: nn.Module, prefix: str = "") -> dict[str, Tensor]:
    """The weights as contiguous half-precision tensors on the CPU, keys in order."""
    state = sorted(network.state_dict().items())
    return {prefix + key: value.detach().half().cpu().contiguous() for key, value in state}


def _write(folder: Path, name: str, tensors: dict[str, Tensor]) -> None:
    """In one file, or in shards of at most 16 MB where there is more."""
    for key, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise FloatingPointError(f"{folder.name}: {key} is not finite in half precision")
    save_torch_state_dict(
        tensors, folder, filename_pattern=name + "{suffix}.safetensors", max_shard_size="16MB"
    )
    for path in folder.glob("*.safetensors"):
        path.chmod(0o644)  # safetensors writes for the owner alone


def _write_json(path: Path, facts: dict) -> None:
    path.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def _write_diffusers(folder: Path, network: nn.Module) -> None:
    network.save_config(folder)
    _write(folder, "diffusion_pytorch_model", _half(network))


def _write_clip(folder: Path, clip: CLIPModel) -> None:
    clip.config.dtype = "float32"  # else transformers keeps the half precision of the file
    clip.config.save_pretrained(folder)
    _write(folder, "model", _half(clip))
    half = [0.5, 0.5, 0.5]
    _write_json(
        folder / "preprocessor_config.json",
        {
            "image_processor_type": "CLIPImageProcessor",
            "do_convert_rgb": True,
            "do_resize": True,
            "size": {"shortest_edge": nets.SIZE},
            "resample": 3,
            "do_center_crop": True,
            "crop_size": {"height": nets.SIZE, "width": nets.SIZE},
            "do_rescale": True,
            "rescale_factor": 1 / 255,
            "do_normalize": True,
            "image_mean": half,
            "image_std": half,
        },
    )


def text_encoder(clip: CLIPModel) -> CLIPTextModel:
    """The text tower of `clip`, alone; the weights are shared."""
    text = CLIPTextConfig(
        **{
            key: value
            for key, value in clip.config.text_config.to_dict().items()
            if key not in ("model_type", "architectures", "transformers_version", "dtype")
        }
    )
    text._attn_implementation = "eager"
    tower = CLIPTextModel(text)
    inner = getattr(tower, "text_model", tower)  # transformers 5.6 dropped this child
    inner.load_state_dict(clip.text_model.state_dict(), assign=True)
    return tower.requires_grad_(False).eval().to(clip.device)


def _write_text_encoder(folder: Path, tower: Any, keys: dict[str, Tensor]) -> None:
    """A text tower, `keys` as the published checkpoints name them."""
    folder.mkdir()
    tower.config.architectures = [type(tower).__name__]
    tower.config.dtype = "float32"  # as diffusers loads the UNet and the VAE
    tower.config.save_pretrained(folder)
    _write(folder, "model", keys)


def _write_shared(folder: Path, tower: Any, vae: nn.Module) -> None:
    """What the miniature and its XL twin have in common."""
    write_tokenizer(folder / "tokenizer")
    inner = getattr(tower, "text_model", tower)
    _write_text_encoder(folder / "text_encoder", tower, _half(inner, "text_model."))
    _write_diffusers(folder / "vae", vae)
    nets.make_schedule().save_pretrained(folder / "scheduler")


def export(
    folder: Path, clip: CLIPModel, tower: Any, vae: nn.Module, unet: nn.Module
) -> None:  # fmt: skip
    """Write the miniature beside `folder`, then swap: a reader finds the old set or the new one.
    tower: the text tower that the UNet reads."""
    with _swapped(folder) as draft:
        _write_shared(draft, tower, vae)
        write_tokenizer(draft / "clip")
        _write_clip(draft / "clip", clip)
        _write_diffusers(draft / "unet", unet)
        write_index(draft, "StableDiffusionPipeline", SD_PARTS)


def export_twin(
    folder: Path, tower: Any, second: nn.Module, vae: nn.Module, unet: nn.Module
) -> None:
    """The same for the XL twin."""
    with _swapped(folder) as draft:
        _write_shared(draft, tower, vae)
        write_tokenizer(draft / "tokenizer_2", second=True)
        _write_text_encoder(draft / "text_encoder_2", second, _half(second))
        _write_diffusers(draft / "unet", unet)
        write_index(draft, "StableDiffusionXLPipeline", SDXL_PARTS)


def write_index(folder: Path, pipeline: str, more: dict) -> None:
    """model_index.json, which says what a pipeline is made of; more: beside what all have."""
    _write_json(
        folder / "model_index.json",
        {
            "_class_name": pipeline,
            "_diffusers_version": diffusers.__version__,
            **more,
            "scheduler": ["diffusers", "DDIMScheduler"],
            "text_encoder": ["transformers", "CLIPTextModel"],
            "tokenizer": ["transformers", "CLIPTokenizer"],
            "unet": ["diffusers", "UNet2DConditionModel"],
            "vae": ["diffusers", "AutoencoderKL"],
        },
    )


@contextmanager
def _swapped(folder: Path) -> Iterator[Path]:
    """A folder to write into that takes the place of `folder` at the end."""
    draft, old = folder.with_name(f".{folder.name}.draft"), folder.with_name(f".{folder.name}.old")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    yield draft
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        os.rename(folder, old)
    os.rename(draft, folder)
    shutil.rmtree(old, ignore_errors=True)
