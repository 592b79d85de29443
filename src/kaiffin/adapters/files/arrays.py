"""Adapter files as numpy's arrays, for whoever only looks into them. Torch-free.

What numpy has no numbers for is widened: bf16 is the upper half of fp32. Only fp8, which adapters
of our families hardly ever are, is left to torch.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kaiffin.adapters.files import safe

if TYPE_CHECKING:
    from torch import Tensor

FLOATS = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}


def read(path: Path) -> tuple[Mapping[str, Any], dict[str, str]]:
    """As `safe.read`, with arrays of fp32 or as they are; the same errors for the same files."""
    with safe.opened(path) as file:
        names, metadata = list(file.keys()), dict(file.metadata() or {})
        dtypes = {name: file.get_slice(name).get_dtype() for name in names}
        if not set(dtypes.values()) <= FLOATS.keys():
            return _by_torch(path)
    if not names:
        raise safe.empty(path)
    entries, data = _mapped(path)
    arrays = {name: _array(data, entries[name]) for name in names}
    for name, value in arrays.items():
        if not np.isfinite(value).all():
            raise safe.not_finite(path, name)
    return arrays, metadata


def _mapped(path: Path) -> tuple[dict[str, Any], np.ndarray]:
    """What the header says of each tensor, and the bytes after it; the library has checked both."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        entries = json.loads(file.read(length))
    return entries, np.memmap(path, np.uint8, "r")[8 + length :]


def _array(data: np.ndarray, entry: Mapping[str, Any]) -> np.ndarray:
    start, end = entry["data_offsets"]
    value = data[start:end].view(FLOATS[entry["dtype"]]).reshape(entry["shape"])
    if entry["dtype"] == "BF16":
        value = (value.astype("<u4") << 16).view("<f4")
    return value


def _by_torch(path: Path) -> tuple[Mapping[str, Any], dict[str, str]]:
    tensors, metadata = safe.read(path)
    return {name: value.float().numpy() for name, value in tensors.items()}, metadata


def number(value: float, like: Tensor | np.ndarray, dtype: str = "") -> Any:
    """One number as an array of numpy's or a tensor of torch's, as `like` is. dtype: of the tensor,
    by torch's name; that of `like` where it is none."""
    if isinstance(like, np.ndarray):
        return np.asarray(value, np.float32)
    import torch

    named = getattr(torch, dtype, None)
    return torch.tensor(value, dtype=named if isinstance(named, torch.dtype) else like.dtype)


def doubles(value: Tensor | np.ndarray) -> np.ndarray:
    """In double precision, flat but for the first axis."""
    plain = value if isinstance(value, np.ndarray) else value.detach().cpu().double().numpy()
    return plain.astype(np.float64).reshape(len(plain), -1)
