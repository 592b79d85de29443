"""Imported adapter files: known by their headers, refused by what they are."""

import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.numpy import save_file
from served import World, lora

from kaiffin.foundation.errors import AdapterError
from kaiffin.serve.jobs import NotFound


def test_an_adapter_comes_and_goes(world: World, tmp_path: Path) -> None:
    adapters, path = world.service.adapters, tmp_path / "came"
    lora(path)
    data = path.read_bytes()
    made = adapters.add("ada", path, "mine.safetensors")
    assert made.facts == {"tensors": "1", "trigger": "kaiffin", "base_name": "miniature"}
    assert world.studio.adapter(made.id).read_bytes() == data
    assert [one.id for one in adapters.list("ada", 9)] == [made.id]
    with pytest.raises(NotFound):
        adapters.get("bob", made.id)
    adapters.delete("ada", made.id)
    assert not world.studio.adapter(made.id).exists()


def cut(path: Path) -> None:
    lora(path)
    path.write_bytes(path.read_bytes()[:-8])


BAD: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "a pickle": lambda path: path.write_bytes(b"PK\3\4" + bytes(100)),
    "an old pickle": lambda path: path.write_bytes(b"\x80\x02}q\x00." + bytes(60)),
    "cut off": cut,
    "a header without end": lambda path: path.write_bytes(struct.pack("<Q", 2**40) + b"{}"),
    "no tensors": lambda path: save_file({}, path),
    "no JSON": lambda path: path.write_bytes(struct.pack("<Q", 4) + b"[[[["),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_none(world: World, tmp_path: Path, name: str) -> None:
    path = tmp_path / "came"
    BAD[name](path)
    with pytest.raises(AdapterError) as refused:
        world.service.adapters.add("ada", path, "x")
    assert str(tmp_path) not in str(refused.value)
    assert world.service.adapters.list("ada", 9) == []
