"""What a safetensors file says of itself before its weights: names, shapes, dtypes. Torch-free.

Read with care, since such files come from strangers and downloads that broke off; what is no such
file is told by what it is instead.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kaiffin.foundation.errors import MissingWeightsError

PICKLES = (".bin", ".ckpt", ".pt", ".pth", ".pkl")
LIMIT = 100_000_000  # bytes; the largest real checkpoints have headers of about 1 MB
UNREADABLE = (
    OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, struct.error,
)  # fmt: skip
AGAIN = "Copy or download it again."

# What lies under the name of a .safetensors file, by its first bytes, and the way out.
IMPOSTORS = {
    b"version https://git-lfs": (
        "a Git LFS pointer, a note of 130 bytes in the place of the file",
        "Run `git lfs pull` in its repository, or download the file itself.",
    ),
    b"<": (
        "a web page that was saved under this name: a login, an error or the page about the file",
        "Download the file itself, logged in where the site asks for it.",
    ),
    b"GGUF": (
        "a GGUF file, a model quantised for ComfyUI or llama.cpp",
        "Take the .safetensors file that it was made of; `--base.quantize nf4` saves the memory.",
    ),
    b"PK\3\4": ("a pickle, which can run code when opened", "Take the .safetensors version."),
    b"\x80": ("a pickle, which can run code when opened", "Take the .safetensors version."),
}


@dataclass(frozen=True)
class Header:
    """shapes, dtypes: by the tensors' names, dtypes as the format spells them (F16, F8_E4M3);
    metadata: what its maker wrote beside them."""

    shapes: Mapping[str, tuple[int, ...]]
    dtypes: Mapping[str, str]
    metadata: Mapping[str, str] = field(default_factory=dict)

    def has(self, *starts: str) -> bool:
        """Whether the name of a tensor begins so."""
        return any(name.startswith(starts) for name in self.shapes)


def shards(index: Path) -> list[Path]:
    """The files of one model that an index names, all of which must be there; no path leaves the
    index's folder. Raises MissingWeightsError."""
    try:
        names = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
        files = [index.parent / Path(name).name for name in sorted(set(names))]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise MissingWeightsError(
            f"{index}: is broken, no weight_map can be read ({type(error).__name__}).", AGAIN
        ) from None
    if absent := [file.name for file in files if not file.is_file()]:
        raise MissingWeightsError(
            f"{index.parent}: {absent[0]} is missing, which {index.name} names.", AGAIN
        )
    return files


def read(path: Path) -> Header:
    """The header of a whole safetensors file; MissingWeightsError says what else it is."""
    try:
        with path.open("rb") as file:
            _refuse_impostor(path, file.read(64))
        header, needed = _read(path)
    except FileNotFoundError:
        raise _absent(path) from None
    except UNREADABLE as error:
        raise MissingWeightsError(
            f"{path}: is not a readable safetensors file ({error}).", AGAIN
        ) from None
    there = path.stat().st_size
    if there < needed:
        raise MissingWeightsError(
            f"{path}: ends early: {there:,} of {needed:,} bytes are there.", AGAIN
        )
    return header


def size(path: Path) -> int:
    """Bytes that a safetensors file must have by its own header; -1 where that cannot be read."""
    try:
        return _read(path)[1]
    except UNREADABLE:
        return -1


def _read(path: Path) -> tuple[Header, int]:
    """The header, and the bytes that there must be; raises one of UNREADABLE."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        if length > min(LIMIT, path.stat().st_size):
            raise ValueError("its header would be longer than the file")
        header, ends = _parsed(json.loads(file.read(length)))
    return header, 8 + length + ends


def _parsed(entries: Mapping[str, Any]) -> tuple[Header, int]:
    """The header, and where the last tensor ends."""
    tensors = {name: entry for name, entry in entries.items() if name != "__metadata__"}
    header = Header(
        {name: tuple(entry["shape"]) for name, entry in tensors.items()},
        {name: str(entry["dtype"]) for name, entry in tensors.items()},
        dict(entries.get("__metadata__") or {}),
    )
    if not all(isinstance(math.prod(shape), int) for shape in header.shapes.values()):
        raise ValueError("shapes that are no whole numbers")
    return header, max((int(entry["data_offsets"][1]) for entry in tensors.values()), default=0)


def _refuse_impostor(path: Path, start: bytes) -> None:
    if not start:
        raise MissingWeightsError(f"{path}: is empty.", AGAIN)
    for magic, (what, fix) in IMPOSTORS.items():
        # A header of 60 or 128 bytes begins with `<` or \x80 as well; a length has zeros after it.
        if start.lstrip().startswith(magic) and start[4:8] != bytes(4):
            raise MissingWeightsError(f"{path}: is {what}.", fix)


def _absent(path: Path) -> MissingWeightsError:
    if path.is_symlink():
        return MissingWeightsError(
            f"{path}: is a link to {path.readlink()}, which is not there.",
            "Copy the file itself: a cache holds links into its folder `blobs`, which must come"
            " along.",
        )
    return MissingWeightsError(f"{path}: there is no such file.")
