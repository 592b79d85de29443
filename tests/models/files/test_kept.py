"""Caches in every state: filled in part by others, truncated, without links; and mended."""

import os

import pytest
from hearing import Heard
from hub import SD15, UNET, Hub, Repo, cached, take

from kaiffin.models.files import obtain, resolve
from kaiffin.models.files.published import source_of


@pytest.mark.parametrize("left", ["twin", "configs", "no list", "file by file"])
def test_a_cache_that_another_program_filled_in_part_is_completed(
    hub: Hub, sd15: Repo, left: str
) -> None:
    from huggingface_hub import hf_hub_download, snapshot_download

    if left == "file by file":
        hf_hub_download(SD15, "model_index.json")
    else:
        wanted = ["*.json", "*.txt"] + (["*.fp16.safetensors"] if left == "twin" else [])
        snapshot_download(SD15, allow_patterns=wanted, ignore_patterns=["safety_checker/*"])
    if left == "no list":
        for path in (cached().store / "trees").iterdir():
            path.unlink()
    assert obtain.status(source_of("sd15")).state == ("half" if left == "twin" else "part")
    hub.requests.clear()
    folder = take("sd15")
    assert set(hub.bodies(".safetensors")) == {
        n for n in sd15.files if n.endswith("l.safetensors") and "safety" not in n and "/" in n
        and "non_ema" not in n
    }  # fmt: skip
    hub.requests.clear()
    assert take("sd15") == folder
    assert not hub.requests


@pytest.mark.parametrize("left", ["truncated", "nothing", "a text", "plain"])
@pytest.mark.parametrize("listed", [True, False])
def test_a_damaged_file_is_found_by_its_size_and_mended(
    hub: Hub, sd15: Repo, left: str, listed: bool
) -> None:
    folder = take("sd15")
    if not listed:  # a cache of an older client
        for path in (cached().store / "trees").iterdir():
            path.unlink()
    path, data = folder / UNET, sd15.files[UNET]
    blob = path.resolve()
    if left == "truncated":
        blob.write_bytes(data[:1000])
    elif left == "nothing":  # a link to nothing
        blob.unlink()
    else:  # a copy of the cache without links, good or half copied
        target = os.readlink(path)
        path.unlink()
        path.write_bytes(data if left == "plain" else target.encode())
    whole = left == "plain"
    assert resolve.is_here("sd15") == whole
    if not whole:
        assert UNET in "".join(obtain.status(source_of("sd15")).lacking) or not listed
    hub.requests.clear()
    heard = Heard()
    take("sd15", tell=heard)
    assert path.read_bytes() == data
    assert bool(hub.requests) != whole
    if left in ("truncated", "a text"):
        assert UNET in "".join(heard.warnings)


def test_a_damaged_configuration_is_mended_too(hub: Hub, sd15: Repo) -> None:
    path = take("sd15") / "unet/config.json"
    path.resolve().write_bytes(b"{}")
    heard = Heard()
    take("sd15", tell=heard)
    assert "unet/config.json is damaged (2 bytes of" in heard.warnings[0]
    assert path.read_bytes() == sd15.files["unet/config.json"]


def test_a_rotten_file_is_found_by_its_hash_where_that_is_asked_for(hub: Hub, sd15: Repo) -> None:
    folder = take("sd15")
    data = sd15.files[UNET]
    (folder / UNET).resolve().write_bytes(bytes(9) + data[9:])
    hub.requests.clear()
    heard = Heard()
    resolve.locate("sd15", half=False, tell=heard, check=True)
    assert "by its hash" in heard.warnings[0]
    assert (folder / UNET).read_bytes() == data
