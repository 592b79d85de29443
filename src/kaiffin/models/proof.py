"""An adapter file opened by others' code: diffusers' loader, or PEFT for its own folders.

What they attach goes onto the family's own modules, so no second copy of the base is needed, and
is taken off again afterwards.
"""

from __future__ import annotations

import contextlib
import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kaiffin.errors import AdapterError
from kaiffin.models import parts
from kaiffin.models.base import ModelFamily
from kaiffin.models.load import as_pipeline


@contextlib.contextmanager
def opened_by_others(family: ModelFamily, path: Path) -> Iterator[dict[str, int]]:
    """Inside, `family` runs with the adapter as an independent reader attached it.

    Yields the number of layers that it matched in each tower. Raises AdapterError where it
    refuses the file.
    """
    opened = _by_peft(family, path) if path.is_dir() else _by_diffusers(family, path)
    with warnings.catch_warnings(action="ignore"), parts.quiet(), opened:
        yield {tower: _count(module) for tower, module in family.towers.items()}


@contextlib.contextmanager
def _by_diffusers(family: Any, path: Path) -> Iterator[None]:
    pipeline = as_pipeline(family)
    try:
        pipeline.load_lora_weights(str(path.parent), weight_name=path.name)
    except (ValueError, RuntimeError, KeyError, TypeError) as error:
        pipeline.unload_lora_weights()
        raise AdapterError(f"{path}: diffusers cannot open it: {error}.") from None
    try:
        yield
    finally:
        pipeline.unload_lora_weights()


@contextlib.contextmanager
def _by_peft(family: ModelFamily, folder: Path) -> Iterator[None]:
    """A PEFT folder, or one per tower below it."""
    from peft import PeftModel

    inner = {tower: folder / tower for tower in family.towers}
    folders = {t: p for t, p in inner.items() if (p / "adapter_config.json").is_file()}
    if not folders:
        text = (folder / "adapter_config.json").read_text(encoding="utf-8")
        targets = " ".join(json.loads(text).get("target_modules") or [])
        folders = {"text_encoder" if "encoder.layers" in targets else "unet": folder}
    models: list[Any] = []
    try:
        for tower, path in folders.items():
            model: Any = family.towers[tower]
            models.append(PeftModel.from_pretrained(model, str(path)))
        yield
    except (ValueError, RuntimeError, KeyError, TypeError) as error:
        raise AdapterError(f"{folder}: PEFT cannot open it: {error}.") from None
    finally:
        for model in models:
            model.unload()


def _count(module: Any) -> int:
    from peft.tuners.tuners_utils import BaseTunerLayer

    return sum(isinstance(inner, BaseTunerLayer) for inner in module.modules())
