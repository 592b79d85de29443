"""An adapter file opened, with the family of the base that it is for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kaiffin.adapters.files import reading, safe, tables
from kaiffin.adapters.files.reading import AdapterFile
from kaiffin.foundation.errors import AdapterError
from kaiffin.models.families.spec import TOWERS
from kaiffin.models.files import resolve
from kaiffin.models.files.embedded import EMBEDDED


@dataclass(frozen=True)
class Opened:
    """An adapter file with the table that it was read against."""

    file: AdapterFile
    table: Mapping[str, tables.Shape]
    layers_per_block: int


def open_file(path: Path, base: str | None = None) -> Opened:
    """Reads `path` against base `base` (its configurations only), or what the file says it is for.

    Raises AdapterError where the file is missing, broken or a pickle.
    """
    shapes, metadata = _peek(path)
    if base is None and metadata.get("ss_sd_model_name") in EMBEDDED:
        base = metadata["ss_sd_model_name"]
    if base is None:
        family: Any = _guess_family(shapes, metadata)
        table, per_block = tables.published(family), 2
    else:
        located = resolve.locate(base)
        family, folder = located.family, located.configs
        table = tables.layers(folder, family)
        unet = json.loads((folder / "unet" / "config.json").read_text(encoding="utf-8"))
        per_block = unet["layers_per_block"]
    found = reading.read(path, table, family, per_block)
    return Opened(found, table, per_block)


def _peek(path: Path) -> tuple[Mapping[str, tables.Shape], dict[str, str]]:
    if not path.is_dir():
        return safe.header(path)
    places = [path, *(path / tower for tower in TOWERS["sdxl"])]
    for place in places:
        if (place / "adapter_model.safetensors").is_file():
            return safe.header(place / "adapter_model.safetensors")
    pickles = sorted(p.name for p in path.iterdir() if p.suffix in safe.PICKLES)
    if pickles:
        raise AdapterError(
            f"{path}: holds only {pickles[0]}, a pickle, which can run code when opened.",
            "Get the .safetensors version.",
        )
    raise AdapterError(f"{path}: holds no adapter_model.safetensors.", "Name a PEFT folder.")


def _guess_family(shapes: Mapping[str, tables.Shape], metadata: Mapping[str, str]) -> str:
    """By the header, else by layers that only SDXL has, else by how wide its context is."""
    version = metadata.get("ss_base_model_version", "")
    if version:
        return "sdxl" if version.startswith("sdxl") else "sd1"
    marks = ("lora_te2_", "text_encoder_2.", "transformer_blocks_9_", "transformer_blocks.9.")
    if any(mark in key for key in shapes for mark in marks):
        return "sdxl"
    wide = any(
        "attn2" in key and "to_k" in key and len(shape) == 2 and 2048 in shape
        for key, shape in shapes.items()
    )
    return "sdxl" if wide else "sd1"
