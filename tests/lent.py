"""One open base for all tests of a process, which each finds as it was loaded.

What is put on a base and taken off again leaves no trace. A test that leaves one (weights merged
in, a hook, other settings of a layer) has had its base for itself: the next opens it anew.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from conftest import load_tiny
from torch import Tensor

from kaiffin.models.base import ModelFamily, SizeFacts

MARKS = {"_hf_peft_config_loaded", "_weight_conversions"}  # of PEFT, which was there and is gone
_OPEN: dict[Path, tuple[ModelFamily, object]] = {}  # with what it looked like when it was opened


def lent(path: Path) -> Iterator[ModelFamily]:
    """The base in `path`, whose files stay as they are."""
    if path not in _OPEN:
        family = load_tiny(path)
        family.encode_text([""], [SizeFacts.whole(64, 64)])  # at the first, transformers adds hooks
        _OPEN[path] = family, look(family)
    family, before = _OPEN[path]
    yield family
    if look(family) != before:
        del _OPEN[path]


def look(family: ModelFamily) -> object:
    """All that a test could change: the bytes of the weights, every attribute of every module,
    which holds its hooks too, and the family's own, with its new words."""
    models = (*family.towers.values(), family.vae)
    modules = [module for model in models for module in model.modules()]
    weights = [
        (id(one), one.dtype, one.requires_grad, one.grad is None, _sum(one))
        for model in models
        for one in (*model.parameters(), *model.buffers())
    ]
    return [_attributes(one) for one in (family, family.words, *modules)], weights


def _attributes(thing: object) -> dict[str, object]:
    return {name: _of(value) for name, value in vars(thing).items() if name not in MARKS}


def _of(value: Any) -> object:
    """Numbers and words as they are, dictionaries by what they hold, all else by its identity."""
    if isinstance(value, dict):
        return {key: id(one) for key, one in value.items()} if value else None
    return value if isinstance(value, (bool, int, float, str)) else id(value)


def _sum(tensor: Tensor) -> int:
    return zlib.crc32(tensor.detach().numpy())
