"""Bases listed, taken from a hub, named; and what a training and a judge make of them."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny
from checkpoints import SD1, SDXL, names_alone, whole
from conftest import FEW, grainy_photos
from hearing import Heard
from hub import SD15, Hub, Repo, noise_file, serving, shaped

from kaiffin.adapters.files import safe
from kaiffin.cli.main import main
from kaiffin.foundation.config import BaseConfig
from kaiffin.foundation.errors import MissingWeightsError
from kaiffin.foundation.run import Run
from kaiffin.foundation.runtime import Runtime
from kaiffin.foundation.settings import build, override
from kaiffin.foundation.tell import SILENT
from kaiffin.models.files import vocabulary
from kaiffin.models.files.load import load
from kaiffin.models.files.vocabulary import Vocabulary
from kaiffin.score.judge import Scorer
from kaiffin.stories import bases, train


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, sd_path: Path) -> Iterator[Hub]:
    with serving(monkeypatch, tmp_path / "home") as served:
        served.repos[SD15] = Repo(shaped(SD15, sd_path), licence="creativeml-openrail-m")
        yield served


def load_cpu(name: str) -> str:
    base = BaseConfig(name=name, device="cpu")
    return load(base, Runtime.from_config(base), tell=SILENT).revision


def test_a_base_is_taken_trained_offline_and_pinned(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sd_path: Path
) -> None:
    from huggingface_hub import snapshot_download

    commit = hub.repos[SD15].commit
    taken = bases.get("sd15", "fp32")
    assert (taken.family, taken.commit) == ("SD 1.x", commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    hub.requests.clear()
    (tmp_path / "pics").mkdir()
    grainy_photos(tmp_path / "pics", 2)
    given = {
        "data.photos": str(tmp_path / "pics"), "base.name": "sd15", "base.device": "cpu",
        "subject.token": "kai", "subject.noun": "thing", "data.prior.weight": 0,
        "train.steps": 1, "adapter.rank": 1, "score.candidates": 1, "adapter.targets": FEW,
    }  # fmt: skip
    train.train(build(override({}, given)), tmp_path / "run")
    assert not hub.requests
    run = Run.open(tmp_path / "run")
    name = run.config.base.name
    assert name == safe.header(run.adapter_path)[1]["ss_sd_model_name"] == f"sd15@{commit}"
    assert load_cpu(name) == load_cpu(str(sd_path))
    # The hub has another version now, and another program has looked at it.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    hub.branches[SD15, "old"] = "old"
    newer = tiny.tiny_sd(tmp_path / "newer", seed=1)
    hub.repos["old"], hub.repos[SD15] = hub.repos[SD15], Repo(shaped(SD15, newer))
    snapshot_download(SD15, allow_patterns=["*.json"])
    bases.get("sd15", "fp32")
    assert load_cpu(name) == load_cpu(str(sd_path))
    assert load_cpu("sd15") == load_cpu(str(newer)) != load_cpu(name)


def test_the_list_tells_whole_from_partial_and_where(
    hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture, sd_path: Path
) -> None:
    def state(name: str) -> str:
        return {base.name: base.status.state for base in bases.bases()}[name]

    assert (state("miniature"), state("sd15")) == ("here", "absent")
    assert main(["bases", "get", "sd15", "--dtype", "fp16"]) == 0
    said = capsys.readouterr().out
    assert "licence creativeml-openrail-m" in said
    assert "sd15: SD 1.x at " in said
    assert state("sd15") == "half"
    blob = next(path for path in (tmp_path / "home/hub").rglob("unet/*fp16*")).resolve()
    blob.write_bytes(blob.read_bytes()[:99])
    assert state("sd15") == "part"
    assert main(["bases", "add", str(sd_path), "--name", "mine"]) == 0
    assert main(["bases"]) == 0
    said = capsys.readouterr().out
    assert "here in part" in said
    assert "unet/diffusion_pytorch_model" in said
    assert str(tmp_path / "home/hub") in said
    assert "13.9 GB, 6.9 GB in half precision; openrail++" in said
    assert any(line.startswith("mine ") and str(sd_path) in line for line in said.splitlines())
    assert main(["bases", "list"]) == 0
    assert main(["bases", "get", "sd-15", "--dtype", "fp32"]) == 2
    assert main(["bases", "add", str(tmp_path / "gone"), "--name", "x"]) == 2


def test_bases_of_other_programs_in_the_cache_are_listed(
    hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture, sd_path: Path
) -> None:
    """Whole and in part, a file and a folder; a judge and an adapter are none."""
    from huggingface_hub import hf_hub_download, snapshot_download

    tree, clip = hub.repos[SD15].files, tiny.tiny_clip(tmp_path / "clip")
    single = names_alone(tmp_path / "one.safetensors", whole(SDXL)).read_bytes()
    hub.repos |= {
        "org/whole": Repo(tree), "org/part": Repo(tree | {"more.txt": b"x"}),
        "org/file": Repo({"one.safetensors": single, "lora.safetensors": noise_file(9)}),
        "org/clip": Repo({path.name: path.read_bytes() for path in clip.iterdir()}),
    }  # fmt: skip
    snapshot_download("org/whole", ignore_patterns=["*.bin", "*.ckpt"])
    snapshot_download("org/part", allow_patterns=["*.json", "vae/*"])
    snapshot_download("org/clip")
    for file in ("one.safetensors", "lora.safetensors"):
        hf_hub_download("org/file", file, revision=hub.repos["org/file"].commit)
    bases.get("sd15", "fp32")
    found = {base.name: (base.source, base.status.state) for base in bases.cached()}
    assert found == {
        "org/whole": ("SD 1.x", "here"), "org/part": ("SD 1.x", "part"),
        f"org/file@{hub.repos['org/file'].commit}:one.safetensors": ("SDXL", "here"),
    }  # fmt: skip
    assert main(["bases"]) == 0
    said = capsys.readouterr().out
    assert "org/clip" not in said
    assert str(tmp_path / "home/hub/models--org--part") in said
    lacking = said.split("models--org--part")[1].splitlines()[0]
    assert "unet/diffusion_pytorch_model.safetensors" in lacking


def test_a_file_is_prepared_with_all_that_it_lacks(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its text encoder and CLIP's vocabulary, so that it opens where there is no network."""
    words = Vocabulary({"a": 0}, ("a b",))
    sums = [hashlib.sha256(data).hexdigest() for data in words.files()]
    monkeypatch.setattr(vocabulary, "PUBLISHED", tuple(sums))
    monkeypatch.setattr(vocabulary, "PACKAGES", ())
    shapes = whole(SD1) | {"first_stage_model.decoder.conv_in.weight": (8, 4, 3, 3)}
    single = names_alone(tmp_path / "one.safetensors", shapes).read_bytes()
    hub.repos["org/one"] = Repo({"one.safetensors": single})
    hub.repos[vocabulary.REPO] = Repo(dict(zip(vocabulary.FILES, words.files(), strict=True)))
    heard = Heard()
    bases.get("org/one", "fp32", tell=heard)
    assert set(hub.bodies()) == {
        "one.safetensors", "text_encoder/config.json", "text_encoder/model.safetensors",
        *vocabulary.FILES,
    }  # fmt: skip
    assert [note.split()[1] for note in heard.notes] == ["org/one", SD15, vocabulary.REPO]
    hub.requests.clear()
    bases.get("org/one", "fp32")
    assert not hub.requests


def test_what_is_no_base_gets_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAIFFIN_HOME", str(tmp_path / "home"))
    (tmp_path / "page.safetensors").write_text("<!doctype html>")
    with pytest.raises(MissingWeightsError):
        bases.add(tmp_path / "page.safetensors", "mine")
    assert bases.get("miniature").commit == ""


def test_a_judge_comes_through_the_same_door(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = tiny.tiny_clip(tmp_path / "clip")
    files = {path.name: path.read_bytes() for path in clip.iterdir()}
    hub.repos["org/clip"] = Repo(files | {"pytorch_model.bin": b"x", "tf_model.h5": b"x"})
    heard = Heard()
    there = Scorer("org/clip", tell=heard)
    assert there.key == Scorer(str(clip), tell=SILENT).key
    assert set(hub.bodies()) == set(files)
    assert "org/clip" in heard.notes[0]
    hub.requests.clear()
    assert bases.get("org/clip").family == bases.MODEL
    assert not hub.requests
    with pytest.raises(MissingWeightsError, match="is one model, no base"):
        load_cpu("org/clip")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    Scorer("org/clip", tell=SILENT)
    with pytest.raises(MissingWeightsError, match="kaiffin bases get org/other"):
        Scorer("org/other", tell=SILENT)


def test_a_mirror_a_home_and_offline_by_the_environment(hub: Hub, tmp_path: Path) -> None:
    """In processes of their own, as the client reads these when it is imported."""
    given = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "other"), "HF_HUB_OFFLINE": "0"}
    call = [sys.executable, "-m", "kaiffin", "bases", "get", "sd15", "--dtype", "bf16"]

    def run(**more: str) -> subprocess.CompletedProcess[str]:
        env = os.environ | given | more
        return subprocess.run(call, capture_output=True, text=True, env=env, check=False)

    first = run()
    assert (first.returncode, first.stderr) == (0, "")
    assert f"from {hub.url}" in first.stdout
    hub.requests.clear()
    second = run(HF_HUB_OFFLINE="1")
    assert (second.returncode, second.stderr) == (0, "")
    assert not hub.requests
