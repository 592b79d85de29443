"""An adapter file onto a family: read, checked against the base, ready to inject."""

from __future__ import annotations

from pathlib import Path

from kaiffin.adapters.files import reading, safe
from kaiffin.adapters.lora import Lora
from kaiffin.adapters.stack import Stack, full_modules
from kaiffin.adapters.strength import PLAIN, Weights
from kaiffin.adapters.tokens import read_bundle
from kaiffin.foundation.errors import AdapterError
from kaiffin.models.base import ModelFamily
from kaiffin.models.families.spec import BASE_VERSIONS


def load_adapter(path: Path, family: ModelFamily, weights: Weights = PLAIN) -> Stack:
    """The adapter in `path` with its tokens, not attached yet; `AdapterError` names a mismatch."""
    modules = full_modules(family)
    found = reading.read(path, modules, family.name, family.layers_per_block)
    version = found.metadata.get("ss_base_model_version", "")
    mine = BASE_VERSIONS[family.name]
    if version and version.startswith("sdxl") != mine.startswith("sdxl"):
        raise AdapterError(
            f"{path}: was made for {version}, and {family.base} is {mine}.",
            "Use the base it was trained on.",
        )
    try:
        reading.refuse_strays(found)
        adapter = Lora.from_state(found.state(), modules)
        made = Stack({"": adapter}, read_bundle(found.embeddings, family))
    except AdapterError as error:
        raise AdapterError(f"{path}: {error.message}", error.fix) from None
    made.weights = weights
    made.weigh(0.0)
    return made


def was_trained_on(path: Path, family: ModelFamily) -> bool:
    """Whether the file names this very base; True where it does not say."""
    _, header = safe.header(path)
    return header.get("kaiffin.base_revision", family.revision) == family.revision
