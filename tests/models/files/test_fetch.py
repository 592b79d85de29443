"""Downloads that break, in every way, and go on: on a hub of our own (tests/hub.py)."""

import resource
import threading
import time

import pytest
from hearing import Heard
from hub import HALF_UNET, SD15, UNET, Hub, Repo, cached, take
from huggingface_hub.utils import WeakFileLock

from kaiffin.foundation.errors import MissingWeightsError
from kaiffin.models.files import kept


@pytest.mark.parametrize("fault", ["cut", "reset", "short"])
def test_a_connection_that_breaks_is_taken_up_where_it_broke(
    hub: Hub, sd15: Repo, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    hub.faults[UNET] = [fault]
    folder = take("sd15")
    assert (folder / UNET).read_bytes() == sd15.files[UNET]
    sent = [request for request in hub.requests if UNET in request and request.startswith("GET")]
    assert len(sent) == 2
    if fault != "reset":  # of which nothing may have arrived
        assert "bytes=" in sent[1]


def test_a_line_that_is_dead_is_said_and_the_next_call_goes_on(
    hub: Hub, sd15: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    hub.faults[UNET] = ["cut"] + ["reset"] * 50
    with pytest.raises(MissingWeightsError, match=r"was cut .* goes on with what is here"):
        take("sd15")
    hub.faults.clear()
    begun = next((cached().store / "blobs").glob("*.incomplete")).stat().st_size
    assert begun >= len(sd15.files[UNET]) // 2
    hub.requests.clear()
    folder = take("sd15")
    assert (folder / UNET).read_bytes() == sd15.files[UNET]
    assert f"GET /{SD15}/resolve/{sd15.commit}/{UNET} bytes={begun}-" in hub.requests
    assert not list((cached().store / "blobs").glob("*.incomplete"))


def test_what_a_killed_client_left_behind_is_used_and_what_is_wrong_in_it_found(
    hub: Hub, sd15: Repo
) -> None:
    take("sd15", None)
    blobs = cached().store / "blobs"
    for name, start in ((UNET, sd15.files[UNET][:900]), ("vae/" + UNET[5:], bytes(700))):
        sha256 = cached().listing[name].sha256
        (blobs / f"{sha256}.12345678.incomplete").write_bytes(start)
        (blobs / f"{sha256}.aaaaaaaa.incomplete").write_bytes(start[:10])
    hub.requests.clear()
    folder = take("sd15")
    assert f"GET /{SD15}/resolve/{sd15.commit}/{UNET} bytes=900-" in hub.requests
    for name in (UNET, "vae/" + UNET[5:]):
        assert (folder / name).read_bytes() == sd15.files[name]
    assert not list(blobs.glob("*.incomplete"))


def test_a_file_that_another_process_is_taking_is_waited_for(hub: Hub, sd15: Repo) -> None:
    take("sd15", None)
    store, heard = cached().store, Heard()
    lock = store.parent / ".locks" / store.name / f"{cached().listing[UNET].sha256}.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    thread = threading.Thread(target=take, args=("sd15", False, heard))
    with WeakFileLock(lock):
        thread.start()
        while not any("waiting for another process" in note for note in heard.notes):
            time.sleep(0.01)
        assert UNET not in hub.bodies()
    thread.join()
    assert (cached().folder / UNET).read_bytes() == sd15.files[UNET]


def test_what_comes_damaged_is_not_kept(hub: Hub, sd15: Repo) -> None:
    hub.faults[UNET] = ["wrong"]
    folder = take("sd15")
    assert (folder / UNET).read_bytes() == sd15.files[UNET]
    hub.faults[HALF_UNET] = ["wrong"] * 2
    kept.remove(folder / UNET)
    with pytest.raises(MissingWeightsError, match="comes damaged"):
        take("sd15", True)
    assert not (folder / HALF_UNET).exists()


def test_a_disk_that_is_too_small_is_found_before(
    hub: Hub, sd15: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kaiffin.models.files.fetch.free_bytes", lambda folder: 1000)
    with pytest.raises(MissingWeightsError, match=r"needs .* has 1 kB free.*HF_HOME"):
        take("sd15")
    assert not hub.bodies(".safetensors")


def test_where_there_are_no_links_the_file_itself_stands_in_the_snapshot(
    hub: Hub, sd15: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on Windows without developer mode: nothing lies twice on the disk."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_SYMLINKS", True)
    hub.faults[UNET] = ["reset"]
    folder = take("sd15")
    assert (folder / UNET).read_bytes() == sd15.files[UNET]
    assert not any(path.is_symlink() for path in folder.rglob("*"))
    large = len(sd15.files[UNET])
    assert not [p for p in (cached().store / "blobs").iterdir() if p.stat().st_size == large]
    hub.requests.clear()
    take("sd15")
    assert not hub.requests


def test_a_disk_that_fills_up_meanwhile(hub: Hub, sd15: Repo) -> None:
    """/dev/full in the place of the file: the system's own answer to a write."""
    take("sd15", None)
    part = cached().store / "blobs" / f"{cached().listing[UNET].sha256}.incomplete"
    part.symlink_to("/dev/full")
    with pytest.raises(MissingWeightsError, match=r"the disk is full.*HF_HOME.*whole is kept"):
        take("sd15")
    part.unlink()
    assert (take("sd15") / UNET).read_bytes() == sd15.files[UNET]


def test_a_disk_that_takes_no_large_files(hub: Hub, sd15: Repo) -> None:
    """As FAT32 does from 4 GB on."""
    take("sd15", None)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(sd15.files[UNET]) // 2, before[1]))
    try:
        with pytest.raises(MissingWeightsError, match=r"no files so large.*HF_HOME"):
            take("sd15")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (take("sd15") / UNET).read_bytes() == sd15.files[UNET]
