"""Headers are read without tensors and never trusted; what is no safetensors file is named."""

import json
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from kaiffin.foundation.errors import MissingWeightsError
from kaiffin.models.files import header


def test_names_shapes_dtypes_and_what_the_maker_wrote(tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    tensors = {"x": torch.ones(2, 3), "y.z": torch.ones(4).to(torch.float8_e4m3fn)}
    save_file(tensors, file, {"modelspec.title": "mine"})
    found = header.read(file)
    assert found.shapes == {"x": (2, 3), "y.z": (4,)}
    assert found.dtypes == {"x": "F32", "y.z": "F8_E4M3"}
    assert found.metadata == {"modelspec.title": "mine"}
    assert found.has("y.", "q")
    assert not found.has("q")


@pytest.mark.parametrize("length", [60, 128, 0x3C3C])
def test_a_length_is_no_impostor(tmp_path: Path, length: int) -> None:
    """60 and 128 are `<` and the first byte of a pickle."""
    file = tmp_path / "a.safetensors"
    file.write_bytes(struct.pack("<Q", length) + b"{}".ljust(length))
    assert header.read(file).shapes == {}


ENTRY = json.dumps({"x": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}).encode()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is empty"),
        (b"\n<!DOCTYPE html><html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git lfs pull"),
        (b"GGUF\3\0\0\0" + bytes(40), "GGUF.*quantize nf4"),
        (b"PK\3\4" + b"1" * 40, "pickle"),
        (b"\x80\2}q\1X" + b"1" * 40, "pickle"),
        (struct.pack("<Q", len(ENTRY)) + ENTRY + bytes(12), "ends early"),
        (b"\xff" * 8, "not a readable safetensors"),
        ((2**40).to_bytes(8, "little") + b"{}", "longer than the file"),
        (b"\2" + bytes(7) + b"[]", "not a readable safetensors"),
        (b"x" * 100, "not a readable safetensors"),
    ],
)
def test_what_lies_there_instead_is_named(tmp_path: Path, data: bytes, words: str) -> None:
    file = tmp_path / "a.safetensors"
    file.write_bytes(data)
    with pytest.raises(MissingWeightsError, match=words) as caught:
        header.read(file)
    assert caught.value.fix


def test_what_is_not_there(tmp_path: Path) -> None:
    link = tmp_path / "a.safetensors"
    with pytest.raises(MissingWeightsError, match="no such file"):
        header.read(link)
    link.symlink_to(tmp_path / "blobs" / "abc")
    with pytest.raises(MissingWeightsError, match=r"link to .*abc, which is not there"):
        header.read(link)
