"""Bases, judges and VAEs from a hub to this machine: what is taken of each, and what is not.

The hub is our own (tests/hub.py), the client is the real one.
"""

from pathlib import Path

import pytest
from conftest import REPO
from hearing import Heard
from hub import HALF_UNET, SD15, UNET, Hub, Repo, noise_file, shaped, take
from made_adapters import written

from kaiffin.cli.main import main
from kaiffin.foundation.errors import MissingWeightsError
from kaiffin.foundation.tell import SILENT
from kaiffin.models.base import ModelFamily
from kaiffin.models.files import obtain, resolve
from kaiffin.models.files.published import source_of


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


def files(*names: str) -> dict[str, bytes]:
    return {name: noise_file(5000 + n) for n, name in enumerate(names)}


def test_a_repository_of_one_checkpoint_gives_it_and_of_several_a_choice(hub: Hub) -> None:
    hub.repos["org/one"] = Repo(files("only.safetensors") | {"README.md": b"#"})
    hub.repos["org/two"] = Repo(files("a.safetensors", "b.safetensors"))
    path = obtain.base(source_of("org/one"), False, tell=SILENT)
    assert path.read_bytes() == hub.repos["org/one"].files["only.safetensors"]
    with pytest.raises(MissingWeightsError, match=r"--base org/two:a\.safetensors") as caught:
        obtain.base(source_of("org/two"), False, tell=SILENT)
    assert "b.safetensors" in str(caught.value)
    chosen = obtain.base(source_of("org/two:b.safetensors"), False, tell=SILENT)
    assert chosen.name == "b.safetensors"
    assert hub.bodies() == ["only.safetensors", "b.safetensors"]
    hub.requests.clear()
    assert obtain.base(source_of("org/one"), True, tell=SILENT) == path
    assert obtain.base(source_of("org/two:b.safetensors"), True, tell=SILENT) == chosen
    assert not hub.requests
    with pytest.raises(MissingWeightsError, match=r'Did you mean "b\.safetensors"'):
        obtain.base(source_of("org/two:bb.safetensors"), False, tell=SILENT)


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


def test_a_revision_is_what_it_was(hub: Hub, sd15: Repo) -> None:
    hub.repos["older"] = Repo(sd15.files | {UNET: noise_file(2)})
    hub.branches[SD15, "v1"] = "older"
    folders = {take(f"sd15@{name}") for name in ("v1", "main", hub.repos["older"].commit)}
    assert len(folders) == 2
    assert resolve.pinned("sd15@v1") == f"sd15@{hub.repos['older'].commit}"
    assert resolve.pinned("sd15") == f"sd15@{sd15.commit}"
    assert resolve.pinned("miniature") == "miniature"


def test_a_vae_alone_in_a_pipeline_and_as_a_file(hub: Hub, sd15: Repo, sd_path: Path) -> None:
    flat = {path.name: path.read_bytes() for path in (sd_path / "vae").iterdir()}
    hub.repos["org/vae"] = Repo(flat | {"other.safetensors": b"noise", "x.bin": b"noise"})
    assert obtain.vae(source_of("org/vae"), tell=SILENT).is_dir()
    assert set(hub.bodies()) == set(flat)
    hub.requests.clear()
    assert resolve.locate_vae("sd15", tell=SILENT).name == "vae"
    assert set(hub.bodies()) == {"vae/config.json", "vae/diffusion_pytorch_model.safetensors"}
    assert resolve.locate_vae("org/vae:other.safetensors", tell=SILENT).read_bytes() == b"noise"


@pytest.mark.parametrize("room", ["models", "adapters", "train"])
def test_nothing_that_may_take_from_the_hub_is_silent_by_default(room: str) -> None:
    """Who calls it says who listens. Stories alone, for notebooks, may be called without."""
    modules = (REPO / "src" / "kaiffin" / room).rglob("*.py")
    assert not [path.name for path in modules if "SILENT" in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize("command", ["inspect", "convert", "diff", "merge", "resize"])
def test_commands_of_adapters_say_what_they_take_for_their_base(
    hub: Hub, sd15: Repo, sd: ModelFamily, tmp_path: Path, command: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    made = written(sd, tmp_path / "a.safetensors") and str(tmp_path / "a.safetensors")
    out = str(tmp_path / "b.safetensors")
    words = {
        "inspect": [made], "convert": [made, str(tmp_path / "b"), "--to", "peft"],
        "diff": [made, made], "merge": [f"{made}:1", "--out", out],
        "resize": [made, out, "--rank", "1"],
    }[command]  # fmt: skip
    assert main(["adapter", command, *words, "--base", SD15]) == 0
    said = capsys.readouterr().out
    assert f"taking {SD15}" in said
    assert "licence creativeml-openrail-m" in said
    assert not hub.bodies(".safetensors")
