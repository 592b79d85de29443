"""Bases from a hub to this machine: what is taken, what goes on, what is completed and mended.

The hub is our own (tests/hub.py), the client is the real one.
"""

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hearing import Heard
from hub import Hub, Repo, noise_file, serving, shaped
from huggingface_hub.utils import WeakFileLock

from kaiffin.foundation.errors import MissingWeightsError
from kaiffin.models.files import kept, obtain, resolve
from kaiffin.models.files.published import source_of

SD15 = "stable-diffusion-v1-5/stable-diffusion-v1-5"
UNET = "unet/diffusion_pytorch_model.safetensors"
HALF_UNET = "unet/diffusion_pytorch_model.fp16.safetensors"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    with serving(monkeypatch, tmp_path / "home") as served:
        yield served


@pytest.fixture(scope="module")
def tree(sd_path: Path) -> dict[str, bytes]:
    return shaped(SD15, sd_path)


@pytest.fixture
def sd15(hub: Hub, tree: dict[str, bytes]) -> Repo:
    hub.repos[SD15] = Repo(dict(tree), licence="creativeml-openrail-m")
    return hub.repos[SD15]


def take(name: str, half: bool | None = False, tell: Heard | None = None) -> Path:
    return resolve.locate(name, half=half, tell=tell or Heard()).path


def cached(name: str = SD15) -> kept.Kept:
    found = kept.find(source_of(name))
    assert found
    return found


@pytest.mark.parametrize("half", [False, True])
def test_only_what_is_needed_is_taken_and_said_before(hub: Hub, sd15: Repo, half: bool) -> None:
    heard = Heard()
    folder = take("sd15", half, heard)
    weights = set(hub.bodies(".safetensors"))
    assert len(weights) == 3
    assert all((".fp16." in name) == half for name in weights)
    assert not any("safety" in name or "non_ema" in name for name in hub.bodies())
    said = "\n".join(heard.notes)
    for word in (SD15, sd15.commit[:10], hub.url, "creativeml-openrail-m", "free in", HALF_UNET
                 if half else UNET):  # fmt: skip
        assert word in said
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*.*") if path.is_file()
            } == set(hub.bodies())  # fmt: skip
    for name in hub.bodies():
        assert (folder / name).read_bytes() == sd15.files[name]


def test_what_is_here_is_used_without_a_request(hub: Hub, sd15: Repo) -> None:
    first = take("sd15")
    hub.requests.clear()
    assert take("sd15") == first
    assert take("sd15", True) == first  # the plain files will do for half precision
    assert take(f"{SD15}@{sd15.commit}") == first
    assert not hub.requests
    assert resolve.is_here("sd15")
    assert obtain.status(source_of("sd15")).state == "here"


def test_configurations_alone_then_the_rest(hub: Hub, sd15: Repo) -> None:
    take("sd15", None)
    assert not hub.bodies(".safetensors")
    assert obtain.status(source_of("sd15")).state == "part"
    hub.requests.clear()
    take("sd15", True)
    assert hub.bodies() == hub.bodies(".safetensors")
    assert obtain.status(source_of("sd15")).state == "half"


@pytest.mark.parametrize("repo", ["RunDiffusion/Juggernaut-XL-v9", "SG161222/RealVisXL_V5.0"])
def test_twins_without_plain_files_and_shards(hub: Hub, sdxl_path: Path, repo: str) -> None:
    hub.repos[repo] = Repo(shaped(repo, sdxl_path))
    take(repo)
    unet = [name for name in hub.bodies() if name.startswith("unet/")]
    assert len(unet) == (4 if "RealVis" in repo else 2)
    assert all(".fp16." in n or "-of-" in n or n.endswith(".json") for n in unet)
    hub.requests.clear()
    take(repo)
    assert not hub.requests


# --- one file -----------------------------------------------------------------------------------


def files(*names: str) -> dict[str, bytes]:
    return {name: noise_file(5000 + n) for n, name in enumerate(names)}


def test_a_repository_of_one_checkpoint_gives_it_and_of_several_a_choice(hub: Hub) -> None:
    hub.repos["org/one"] = Repo(files("only.safetensors") | {"README.md": b"#"})
    hub.repos["org/two"] = Repo(files("a.safetensors", "b.safetensors"))
    path = obtain.base(source_of("org/one"), False)
    assert path.read_bytes() == hub.repos["org/one"].files["only.safetensors"]
    with pytest.raises(MissingWeightsError, match=r"--base org/two:a\.safetensors") as caught:
        obtain.base(source_of("org/two"), False)
    assert "b.safetensors" in str(caught.value)
    chosen = obtain.base(source_of("org/two:b.safetensors"), False)
    assert chosen.name == "b.safetensors"
    assert hub.bodies() == ["only.safetensors", "b.safetensors"]
    hub.requests.clear()
    assert obtain.base(source_of("org/one"), True) == path
    assert obtain.base(source_of("org/two:b.safetensors"), True) == chosen
    assert not hub.requests
    with pytest.raises(MissingWeightsError, match=r'Did you mean "b\.safetensors"'):
        obtain.base(source_of("org/two:bb.safetensors"), False)


def test_what_holds_no_base_is_named(hub: Hub, sd15: Repo) -> None:
    lora = files("lora.safetensors")
    hub.repos |= {
        "org/lora": Repo(lora, tags=("lora",)),
        "org/pickles": Repo({"model.ckpt": b"x"}),
        "org/half": Repo({n: d for n, d in sd15.files.items() if "vae/" not in n or ".bin" in n}),
    }
    for repo, words in [
        ("lora", "is an adapter, no base. .*--adapter"),
        ("pickles", "only pickles such as model.ckpt"),
        ("half", "no whole .safetensors weights for vae, only pickles"),
    ]:
        with pytest.raises(MissingWeightsError, match=words):
            take(f"org/{repo}")
    assert not hub.bodies(".safetensors")


def test_a_pipeline_of_another_kind_is_refused_before_its_weights(hub: Hub, sd15: Repo) -> None:
    sd15.files["model_index.json"] = b'{"_class_name": "FluxPipeline"}'
    with pytest.raises(MissingWeightsError, match="is a FluxPipeline"):
        take("sd15")
    assert not hub.bodies(".safetensors")


# --- interrupted, partial, damaged --------------------------------------------------------------


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


# --- where nothing can be asked -----------------------------------------------------------------


def test_offline_what_is_whole_is_used_and_what_is_missing_named(
    hub: Hub, sd15: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    take("sd15", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    hub.requests.clear()
    take("sd15", True)
    heard = Heard()
    take("sd15", False, heard)  # better than nothing
    assert HALF_UNET in heard.warnings[0]
    kept.remove(cached().folder / HALF_UNET)
    with pytest.raises(MissingWeightsError, match="HF_HUB_OFFLINE is set") as caught:
        take("sd15", True)
    assert HALF_UNET in str(caught.value)
    assert "kaiffin bases get sd15" in str(caught.value)
    with pytest.raises(MissingWeightsError, match=r"'org/other' is not on this machine"):
        take("org/other")
    assert not hub.requests


def test_a_hub_that_cannot_be_reached(
    hub: Hub, sd15: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    take("sd15", True)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    take("sd15", True)
    heard = Heard()
    take("sd15", False, heard)
    assert heard.warnings
    with pytest.raises(MissingWeightsError, match=r"127.0.0.1:9 cannot be reached"):
        take("org/other")


# --- refused ------------------------------------------------------------------------------------


def test_gated_private_unknown_and_missing_revisions_have_sentences_of_their_own(
    hub: Hub, sd15: Repo
) -> None:
    sd15.gated = True
    hub.datasets.add("org/pictures")
    hub.faults["/org/closed"] = ["403"] * 9
    hub.faults["/org/busy"] = ["429"] * 9
    hub.faults["/org/broken"] = ["500"] * 9
    for name, words in {
        SD15: rf"is gated.* Accept them on {hub.url}/{SD15}, then run `hf auth login`",
        f"{SD15}@nowhere": "has no revision 'nowhere'.*leave @nowhere out",
        "org/pictures": "org/pictures is a dataset",
        "org/unknown": "has no model org/unknown, or hides it.*hf auth login",
        SD15.replace("stable-diffusion-v1-5/s", "stable-difusion-v1-5/s"): f'Did you mean "{SD15}"',
        "runwayml/stable-diffusion-v1-5": f"is gone. Its weights are published as {SD15}",
        "org/closed": "answers 403",
        "org/busy": "Too many requests",
        "org/broken": "answers 500",
    }.items():
        with pytest.raises(MissingWeightsError, match=words):
            take(name)


def test_a_mirror_needs_no_headers_for_weights_and_is_named_where_it_lacks_them(
    hub: Hub, sd15: Repo
) -> None:
    hub.faults[UNET] = ["bare"] * 9
    take("sd15")
    hub.repos["org/other"] = Repo(sd15.files | {"model_index.json": b"{}"})
    hub.faults["model_index.json"] = ["bare"] * 9
    with pytest.raises(MissingWeightsError, match=r"answers what cannot be used.*HF_ENDPOINT"):
        take("org/other")


def test_a_gated_repository_opens_with_a_token(
    hub: Hub, sd15: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    sd15.gated = True
    monkeypatch.setenv("HF_TOKEN", "hf_x")
    heard = Heard()
    take("sd15", tell=heard)
    assert "gated" in "".join(heard.notes)


def test_a_renamed_repository_is_taken_and_said(hub: Hub, sd15: Repo) -> None:
    hub.moved["old/name"] = SD15
    heard = Heard()
    first = take("old/name", True, heard)
    assert f"old/name is called {SD15} now" in heard.notes[0]
    hub.requests.clear()
    assert take("old/name", True) == first
    assert not hub.requests


def test_a_revision_is_what_it_was(hub: Hub, sd15: Repo) -> None:
    hub.repos["older"] = Repo(sd15.files | {UNET: sd15.files["unet/diffusion_pytorch_model.non_ema"
                              ".safetensors"]})  # fmt: skip
    hub.branches[SD15, "v1"] = "older"
    folders = {take(f"sd15@{name}") for name in ("v1", "main", hub.repos["older"].commit)}
    assert len(folders) == 2
    assert resolve.pinned("sd15@v1") == f"sd15@{hub.repos['older'].commit}"
    assert resolve.pinned("sd15") == f"sd15@{sd15.commit}"
    assert resolve.pinned("miniature") == "miniature"


def test_a_disk_that_is_too_small_is_found_before(
    hub: Hub, sd15: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kaiffin.models.files.fetch.free_bytes", lambda folder: 1000)
    with pytest.raises(MissingWeightsError, match=r"needs .* has 0 MB free.*HF_HOME"):
        take("sd15")
    assert not hub.bodies(".safetensors")


# --- judges and VAEs ----------------------------------------------------------------------------


def test_a_vae_alone_in_a_pipeline_and_as_a_file(hub: Hub, sd15: Repo, sd_path: Path) -> None:
    flat = {path.name: path.read_bytes() for path in (sd_path / "vae").iterdir()}
    hub.repos["org/vae"] = Repo(flat | {"other.safetensors": b"noise", "x.bin": b"noise"})
    assert obtain.vae(source_of("org/vae")).is_dir()
    assert set(hub.bodies()) == set(flat)
    hub.requests.clear()
    assert resolve.locate_vae("sd15").name == "vae"
    assert set(hub.bodies()) == {"vae/config.json", "vae/diffusion_pytorch_model.safetensors"}
    assert resolve.locate_vae("org/vae:other.safetensors").read_bytes() == b"noise"
