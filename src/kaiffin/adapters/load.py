"""An adapter file onto a family: read, checked against the base, ready to inject."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from kaiffin.adapters import files, formats
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
    modules = full_modules(family)
    found = formats.read(path, modules, family.name, family.layers_per_block)
    version = found.metadata.get("ss_base_model_version", "")
    mine = formats.BASE_VERSIONS[family.name]
    if version and version.startswith("sdxl") != mine.startswith("sdxl"):
        raise AdapterError(
            f"{path}: was made for {version}, and {family.base} is {mine}.",
            "Use the base it was trained on.",
        )
    try:
        formats.refuse_strays(found)
        _only_lora(found)
        adapter = Lora.from_state(found.state(), modules)
    except AdapterError as error:
        raise AdapterError(f"{path}: {error.message}", error.fix) from None
    adapter.scale = weight
    return adapter


def was_trained_on(path: Path, family: ModelFamily) -> bool:
    """Whether the file names this very base; True where it does not say."""
    _, header = files.header(path)
    return header.get("kaiffin.base_revision", family.revision) == family.revision


def _only_lora(found: formats.AdapterFile) -> None:
    others = [kind for kind in found.kinds() if kind != "lora"]
    if others or found.embeddings:
        what = others[0] if others else "an adapter with custom tokens"
        raise AdapterError(f"is {what}, and Kaiffin applies plain LoRA.", "Use a LoRA file.")
