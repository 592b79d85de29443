"""Safetensors files: equal bytes, known hashes, and hostile ones refused."""

import contextlib
import json
import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_adapters import (
    written,
)
from safetensors.torch import load_file, save_file

from kaiffin.adapters.files import safe
from kaiffin.adapters.load import load_adapter
from kaiffin.foundation.errors import AdapterError
from kaiffin.models.base import ModelFamily


def test_equal_content_gives_equal_bytes(sd: ModelFamily, tmp_path: Path) -> None:
    for name in ("a", "b"):
        written(sd, tmp_path / f"{name}.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_the_model_hash_is_that_of_the_tensor_bytes(sd: ModelFamily, tmp_path: Path) -> None:
    """As sd-scripts computes it: SHA-256 of the file after its header."""
    import hashlib

    path = tmp_path / "a.safetensors"
    written(sd, path)
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    expected = hashlib.sha256(data[8 + length :]).hexdigest()
    assert safe.read(path)[1]["sshs_model_hash"] == expected


@pytest.mark.parametrize("suffix", [".bin", ".pt", ".ckpt"])
def test_pickles_are_refused_unopened(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"cos\nsystem\n(S'exit 1'\ntR.")
    with pytest.raises(AdapterError, match="pickle"):
        safe.read(path)


def test_defects_are_named(sd: ModelFamily, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    with pytest.raises(AdapterError, match="cannot be read"):
        safe.read(path)
    path.write_bytes(b"")
    with pytest.raises(AdapterError, match="cut off"):
        safe.read(path)
    path.write_bytes(struct.pack("<Q", 2**60) + b"{}")
    with pytest.raises(AdapterError, match="cut off"):
        safe.read(path)
    written(sd, path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(AdapterError, match=r"a\.safetensors"):
        safe.read(path)
    written(sd, path)
    tensors = load_file(path)
    key = next(k for k in tensors if k.endswith("lora_up.weight"))
    save_file({**tensors, key: tensors[key] * float("nan")}, path)
    with pytest.raises(AdapterError, match=f"{key} holds numbers that are not finite"):
        safe.read(path)
    save_file({k: v for k, v in tensors.items() if k != key}, path)
    with pytest.raises(AdapterError, match="lora_up is missing"):
        load_adapter(path, sd)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.binary(max_size=200), cut=st.integers(0, 400))
def test_no_file_crashes_the_reader(tmp_path: Path, data: bytes, cut: int) -> None:
    path = tmp_path / "fuzz.safetensors"
    good = json.dumps({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    whole = struct.pack("<Q", len(good)) + good + b"\0" * 8
    for content in (data, whole[: cut % len(whole)] + data, struct.pack("<Q", len(data)) + data):
        path.write_bytes(content)
        with contextlib.suppress(AdapterError):
            safe.read(path)
