"""Safetensors files of adapters: read with care, written whole or not at all, hashed.

Torch-free until tensors of torch's are read or written.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import shutil
import struct
import tempfile
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from kaiffin.foundation.errors import AdapterError
from kaiffin.foundation.folder import file_sha256, write_bytes
from kaiffin.models.files.header import PICKLES

if TYPE_CHECKING:
    from torch import Tensor

HEADER_LIMIT = 50_000_000  # bytes; a LoRA of every SDXL layer has a header under 1 MB


def hashes(tensors: Mapping[str, Tensor], header: Mapping[str, str]) -> dict[str, str]:
    """`sshs_model_hash` and `sshs_legacy_hash` as sd-scripts computes them.

    Over the file with the ss_* metadata only: SHA-256 of the bytes after the header, and the first
    8 digits of SHA-256 over 64 KiB at offset 1 MiB.
    """
    from safetensors.torch import save as to_bytes

    data = to_bytes(dict(tensors), {k: v for k, v in header.items() if k.startswith("ss_")})
    (length,) = struct.unpack("<Q", data[:8])
    legacy = hashlib.sha256(data[0x100000 : 0x100000 + 0x10000]).hexdigest()[:8]
    return {
        "sshs_model_hash": hashlib.sha256(data[8 + length :]).hexdigest(),
        "sshs_legacy_hash": legacy,
    }


def model_hash(path: Path) -> str:
    """What A1111, Forge and Civitai know an adapter by: `sshs_model_hash` of its header, or else
    SHA-256 over the bytes after it (Civitai's AutoV3). Empty for a folder, which they do not read.
    """
    if path.is_dir():
        return ""
    return header(path)[1].get("sshs_model_hash") or bytes_hash(path)


def bytes_hash(path: Path) -> str:
    """SHA-256 of a file's bytes after its header: its weights alone."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
    return file_sha256(path, 8 + length)


def save(path: Path, tensors: Mapping[str, Tensor], header: Mapping[str, str]) -> None:
    """Writes a file whole or not at all; equal content gives equal bytes."""
    kept = {name: tensors[name].contiguous() for name in sorted(tensors)}
    full = dict(sorted({**header, **hashes(kept, header)}.items()))
    write_bytes(path, _canonical_bytes(kept, full))


def _canonical_bytes(tensors: Mapping[str, Tensor], header: Mapping[str, str]) -> bytes:
    """The library's serialisation with the metadata in sorted order: it hashes strings in an
    order that changes from process to process."""
    from safetensors.torch import save as to_bytes

    data = to_bytes(dict(tensors), dict(header))
    (length,) = struct.unpack("<Q", data[:8])
    entries = json.loads(data[8 : 8 + length])
    ordered = {"__metadata__": dict(sorted(entries.pop("__metadata__").items())), **entries}
    text = json.dumps(ordered, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data[8 + length :]


def header(path: Path) -> tuple[dict[str, tuple[int, ...]], dict[str, str]]:
    """Shapes and metadata of an adapter file, its weights unread; defects are an `AdapterError`."""
    with opened(path) as file:
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        return shapes, dict(file.metadata() or {})


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of an adapter file; every defect is an `AdapterError` in one line."""
    import torch

    with opened(path, "pt") as file:
        metadata = dict(file.metadata() or {})
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    for name, value in tensors.items():
        if not value.is_floating_point() and not name.endswith(".alpha"):
            raise AdapterError(f"{path}: {name} holds {value.dtype}, not weights.")
        if not torch.isfinite(value.float()).all():
            raise not_finite(path, name)
    if not tensors:
        raise empty(path)
    return tensors, metadata


def not_finite(path: Path, name: str) -> AdapterError:
    return AdapterError(f"{path}: {name} holds numbers that are not finite.")


def empty(path: Path) -> AdapterError:
    return AdapterError(f"{path}: holds no tensors.")


@contextlib.contextmanager
def without(path: Path, keys: Collection[str]) -> Iterator[Path]:
    """A copy of a file or folder without these keys, gone afterwards; `path` itself where there are
    none."""
    if not keys:
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / path.name
        if path.is_dir():
            shutil.copytree(path, copy)
        for file in sorted(copy.rglob("*.safetensors")) if path.is_dir() else [path]:
            tensors, metadata = read(file)
            kept = {key: value for key, value in tensors.items() if key not in keys}
            save(file if path.is_dir() else copy, kept, metadata)
        yield copy


@contextlib.contextmanager
def about(path: Path) -> Iterator[None]:
    """An `AdapterError` inside that does not say of which file it is says so outside."""
    try:
        yield
    except AdapterError as error:
        if error.message.startswith(str(path)):
            raise
        raise AdapterError(f"{path}: {error.message}", error.fix) from None


@contextlib.contextmanager
def opened(path: Path, framework: str = "np") -> Iterator[Any]:
    """The library's reader of a file; whatever is wrong with it is an `AdapterError`."""
    if path.is_dir():
        raise AdapterError(f"{path}: is a folder.", "Name the .safetensors file in it.")
    if path.suffix.lower() in PICKLES:
        raise AdapterError(
            f"{path}: {path.suffix} files are pickles, which can run code when opened.",
            "Get the .safetensors version.",
        )
    _check_header(path)
    try:
        with safe_open(path, framework=framework) as file:
            yield file
    except (OSError, SafetensorError, ValueError) as error:
        raise AdapterError(
            f"{path}: is no readable safetensors file ({error}).", "Copy or download it again."
        ) from None


def _check_header(path: Path) -> None:
    """Refuses what would make the reader allocate more than the file justifies."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(8)
    except OSError as error:
        raise AdapterError(f"{path}: cannot be read ({error.strerror}).") from None
    length = struct.unpack("<Q", start)[0] if len(start) == 8 else math.inf
    if length > min(size - 8, HEADER_LIMIT):
        raise AdapterError(
            f"{path}: is no safetensors file, or is cut off ({size} bytes).",
            "Copy or download it again.",
        )
