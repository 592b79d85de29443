"""An adapter file onto a family: read, checked against the base, ready to inject."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from kaiffin.adapters import formats
from kaiffin.adapters.lora import Lora
from kaiffin.errors import AdapterError
from kaiffin.models.base import ModelFamily


def full_modules(family: ModelFamily) -> dict[str, nn.Module]:
    """Every Linear and Conv2d of all towers as `<tower>.<canonical path>`."""
    return {
        f"{tower}.{path}": module
        for tower in family.towers
        for path, module in family.modules(tower).items()
    }


def load_adapter(path: Path, family: ModelFamily, weight: float = 1.0) -> Lora:
    """The adapter in `path` for `family`, not attached yet; `AdapterError` names a mismatch."""
    tensors, header = formats.read(path)
    version = header.get("ss_base_model_version", "")
    mine = formats.BASE_VERSIONS[family.name]
    if version and version.startswith("sdxl") != mine.startswith("sdxl"):
        raise AdapterError(
            f"{path}: was made for {version}, and {family.base} is {mine}.",
            "Use the base it was trained on.",
        )
    modules = full_modules(family)
    try:
        state = formats.from_kohya(tensors, family.name, list(modules), family.layers_per_block)
        adapter = Lora.from_state(state, modules)
    except AdapterError as error:
        raise AdapterError(f"{path}: {error.message}", error.fix) from None
    adapter.scale = weight
    return adapter


def was_trained_on(path: Path, family: ModelFamily) -> bool:
    """Whether the file names this very base; True where it does not say."""
    _, header = formats.read(path)
    return header.get("kaiffin.base_revision", family.revision) == family.revision
