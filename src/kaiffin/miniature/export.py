"""Write the four networks as a folder that diffusers and transformers load unmodified."""

import json
import os
import shutil
from pathlib import Path

import diffusers
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import CLIPModel, CLIPTextConfig, CLIPTextModel

from kaiffin.miniature import nets
from kaiffin.miniature.tokenizer import write_tokenizer


def _half(network: nn.Module, prefix: str = "") -> dict[str, Tensor]:
    """The weights as contiguous half-precision tensors on the CPU, keys in order."""
    state = sorted(network.state_dict().items())
    return {prefix + key: value.detach().half().cpu().contiguous() for key, value in state}


def _write(path: Path, tensors: dict[str, Tensor]) -> None:
    for key, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise FloatingPointError(f"{path.parent.name}: {key} is not finite in half precision")
    save_file(tensors, path, {"format": "pt"})
    path.chmod(0o644)  # safetensors writes for the owner alone


def _write_json(path: Path, facts: dict) -> None:
    path.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def _write_diffusers(folder: Path, network: nn.Module) -> None:
    network.save_config(folder)
    _write(folder / "diffusion_pytorch_model.safetensors", _half(network))


def _write_clip(folder: Path, clip: CLIPModel) -> None:
    clip.config.dtype = "float32"  # else transformers keeps the half precision of the file
    clip.config.save_pretrained(folder)
    _write(folder / "model.safetensors", _half(clip))
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


def _write_text_encoder(folder: Path, clip: CLIPModel) -> None:
    """The text tower of `clip`, under the `text_model.` keys of the old SD checkpoints."""
    folder.mkdir()
    text = CLIPTextConfig(
        **{
            key: value
            for key, value in clip.config.text_config.to_dict().items()
            if key not in ("model_type", "architectures", "transformers_version", "dtype")
        }
    )
    text.architectures = [CLIPTextModel.__name__]
    text.dtype = "float32"  # as diffusers loads the UNet and the VAE
    text.save_pretrained(folder)
    _write(folder / "model.safetensors", _half(clip.text_model, "text_model."))


def export(folder: Path, clip: CLIPModel, vae: nn.Module, unet: nn.Module) -> None:
    """Write beside `folder`, then swap: a reader finds the old set or the new one."""
    draft, old = folder.with_name(f".{folder.name}.draft"), folder.with_name(f".{folder.name}.old")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    write_tokenizer(draft / "tokenizer")
    write_tokenizer(draft / "clip")
    _write_clip(draft / "clip", clip)
    _write_text_encoder(draft / "text_encoder", clip)
    _write_diffusers(draft / "vae", vae)
    _write_diffusers(draft / "unet", unet)
    nets.make_schedule().save_pretrained(draft / "scheduler")
    _write_json(
        draft / "model_index.json",
        {
            "_class_name": "StableDiffusionPipeline",
            "_diffusers_version": diffusers.__version__,
            "feature_extractor": [None, None],
            "image_encoder": [None, None],
            "requires_safety_checker": False,
            "safety_checker": [None, None],
            "scheduler": ["diffusers", "DDIMScheduler"],
            "text_encoder": ["transformers", "CLIPTextModel"],
            "tokenizer": ["transformers", "CLIPTokenizer"],
            "unet": ["diffusers", "UNet2DConditionModel"],
            "vae": ["diffusers", "AutoencoderKL"],
        },
    )
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        os.rename(folder, old)
    os.rename(draft, folder)
    shutil.rmtree(old, ignore_errors=True)
