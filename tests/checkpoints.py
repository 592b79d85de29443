"""Checkpoint files for tests: tiny ones in the layouts of the wild, large ones of names alone."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import tiny
import torch
from safetensors.torch import load_file, save_file

SIZES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "I8": 1, "U8": 1}
UNET = "model.diffusion_model."
Tensors = dict[str, torch.Tensor]

# Layers of the published UNets by which they are told, in the original names.
SD1 = {
    "input_blocks.0.0.weight": (320, 4, 3, 3),
    "input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": (320, 768),
    "output_blocks.11.0.skip_connection.weight": (320, 640, 1, 1),
    "out.2.weight": (4, 320, 3, 3),
}
SDXL = {
    "input_blocks.0.0.weight": (320, 4, 3, 3),
    "label_emb.0.0.weight": (1280, 2816),
    "input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight": (640, 2048),
    "input_blocks.8.1.transformer_blocks.9.attn2.to_k.weight": (1280, 2048),
    "out.2.weight": (4, 320, 3, 3),
}


def names_alone(
    path: Path, shapes: Mapping[str, tuple[int, ...]], dtype: str = "F16",
    metadata: Mapping[str, str] | None = None,
) -> Path:  # fmt: skip
    """A file with a true header and a hole in the place of its weights: no disk is used."""
    entries: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    end = 0
    for name, shape in shapes.items():
        start, end = end, end + math.prod(shape) * SIZES[dtype]
        entries[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(entries).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + end)
    return path


def whole(layers: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """Layers of a UNet under the prefix that they have in a whole checkpoint."""
    return {UNET + name: shape for name, shape in layers.items()}


def rewritten(file: Path, change: Callable[[Tensors], Tensors], metadata: Any = None) -> Path:
    """The same file with other tensors. change: takes all and gives the new ones."""
    tensors = change(load_file(file))
    save_file({name: t.contiguous() for name, t in tensors.items()}, file, metadata)
    return file


def single_file_xl(folder: Path, file: Path) -> Path:
    """As `tiny.tiny_single_file`, of an SDXL folder: OpenCLIP's names for the second encoder."""
    tiny.tiny_single_file(folder, file)
    second = load_file(folder / "text_encoder_2" / "model.safetensors")

    def change(tensors: Tensors) -> Tensors:
        old, new = "cond_stage_model.", "conditioner.embedders.0."
        renamed = {name.replace(old, new): value for name, value in tensors.items()}
        start = "conditioner.embedders.1.model."
        return renamed | {start + name: value for name, value in _openclip(second).items()}

    return rewritten(file, change)


def _openclip(tensors: Tensors) -> Tensors:
    """The original code's names of a text tower, with query, key and value in one matrix."""
    names = {
        "embeddings.token_embedding": "token_embedding",
        "embeddings.position_embedding.weight": "positional_embedding",
        "final_layer_norm": "ln_final", "encoder.layers": "transformer.resblocks",
        "self_attn.out_proj": "attn.out_proj", "layer_norm1": "ln_1", "layer_norm2": "ln_2",
        "fc1": "c_fc", "fc2": "c_proj", "mlp.c": "mlp.c",
    }  # fmt: skip
    made: Tensors = {"text_projection": tensors["text_projection.weight"].T}
    for name, value in tensors.items():
        path = name.removeprefix("text_model.")
        for ours, theirs in names.items():
            path = path.replace(ours, theirs)
        if "self_attn.q_proj" in path:
            three = [tensors[name.replace("q_proj", f"{x}_proj")] for x in "qkv"]
            made[path.replace("self_attn.q_proj.", "attn.in_proj_")] = torch.cat(three)
        elif "self_attn" not in path and "text_projection" not in path and "ids" not in path:
            made[path] = value
    return made
