"""A run as strangers get it: the folder, and the hub through its own client."""

import base64
import io
from pathlib import Path

import pytest
import torch
import yaml
from hub import Hub, serving
from made_run import judge, made_run
from PIL import Image

from kaiffin.adapters.files import safe
from kaiffin.cli.main import main
from kaiffin.foundation.errors import RunError, UserError
from kaiffin.foundation.run import Run
from kaiffin.stories.publish import Terms, publish

HEADER = {
    "ss_base_model_version": "sd_v1", "modelspec.trigger_phrase": "kaiffin bird",
    "ss_dataset_dirs": '{"10_kaiffin bird": {"n_repeats": 10}}',
    "ss_vae_name": "/home/somebody/models/vae.safetensors",
}  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = made_run(tmp_path_factory.mktemp("publish") / "run", **{"base.name": "sd15"})
    tensors = {"lora_unet_a.lora_up.weight": torch.arange(6.0).reshape(2, 3)}
    safe.save(run.adapter_path, tensors, HEADER)
    judge(run)
    safe.save(run.best_path, {name: value + 1 for name, value in tensors.items()}, HEADER)
    return run


def front(text: bytes) -> dict:
    return yaml.safe_load(text.split(b"---\n", 2)[1])


def test_a_folder(run: Run, tmp_path: Path) -> None:
    terms = Terms("consented", thumbnail=True)
    made = publish(run.path, str(tmp_path / "share"), terms, pictures=3)
    assert made.files == (
        "README.md", "images/1.png", "images/2.png", "images/3.png", "kaiffin.png",
        "kaiffin.safetensors",
    )  # fmt: skip
    text = (tmp_path / "share" / "README.md").read_bytes()
    facts = front(text)
    assert facts["base_model"] == "stable-diffusion-v1-5/stable-diffusion-v1-5"
    assert facts["license"] == "creativeml-openrail-m"
    assert facts["instance_prompt"] == "a photo of kaiffin bird"
    assert facts["widget"][2] == {
        "text": "an oil painting of kaiffin bird", "output": {"url": "images/3.png"},
    }  # fmt: skip
    assert facts["inference"]["parameters"]["num_inference_steps"] == 25
    assert b"A real person is shown and has agreed" in text
    likeness = run.read_json("choice.json")["candidates"][1]["means"]["likeness"]
    assert f"| {likeness['mean']:.3f} [{likeness['low']:.3f}".encode() in text
    assert made.left_out == ("ss_dataset_dirs", "ss_vae_name")
    assert made.model_hash == safe.model_hash(run.adapter_path)  # of the weights: they are the same


def test_what_stands_in_the_adapter(run: Run, tmp_path: Path) -> None:
    publish(run.path, str(tmp_path / "share"), Terms("none", "mit", thumbnail=True))
    tensors, header = safe.read(tmp_path / "share" / "kaiffin.safetensors")
    assert tensors.keys() == safe.read(run.adapter_path)[0].keys()
    assert header["modelspec.trigger_phrase"] == "kaiffin bird"
    assert header["modelspec.license"] == "mit"
    assert not any("somebody" in value or "10_" in value for value in header.values())
    picture = base64.b64decode(
        header["modelspec.thumbnail"].removeprefix("data:image/jpeg;base64,")
    )
    assert Image.open(io.BytesIO(picture)).format == "JPEG"


def test_no_more_than_was_asked_for(run: Run, tmp_path: Path) -> None:
    publish(run.path, str(tmp_path / "share"), pictures=0, best=True)
    tensors, header = safe.read(tmp_path / "share" / "kaiffin.safetensors")
    assert tensors["lora_unet_a.lora_up.weight"][0, 0] == 1  # of best.safetensors
    assert "modelspec.thumbnail" not in header
    assert sorted(path.name for path in (tmp_path / "share").iterdir()) == [
        "README.md", "kaiffin.safetensors",
    ]  # fmt: skip


def test_pictures_keep_nothing_of_this_machine(run: Run, tmp_path: Path) -> None:
    publish(run.path, str(tmp_path / "share"))
    picture = Image.open(tmp_path / "share" / "images" / "1.png")
    picture.load()
    assert set(picture.info) == {"parameters"}  # what galleries read, not the recipe
    assert picture.info["parameters"].startswith("a photo of kaiffin bird in the snow")


def test_refusals(run: Run, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    with pytest.raises(UserError, match="is there already"):
        publish(run.path, str(tmp_path / "there"))
    with pytest.raises(UserError, match="--person is not said"):
        publish(run.path, "hub:me/toy")
    unfinished = made_run(tmp_path / "run")
    unfinished.adapter_path.unlink()
    with pytest.raises(RunError, match="Finish the training first"):
        publish(unfinished.path, str(tmp_path / "new"))
    assert not (tmp_path / "new").exists()


# --- the hub ------------------------------------------------------------------------------------


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    with serving(monkeypatch, tmp_path / "home") as hub:
        monkeypatch.setenv("HF_TOKEN", "hf_secret")
        yield hub


def test_an_upload(run: Run, hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["publish", str(run.path), "--to", "hub:me/toy", "--person", "none", "--private"]
    assert main([*words, "--pictures", "1"]) == 0
    repo = hub.written["me/toy"]
    assert repo.private
    assert repo.message == "kaiffin bird, taught with Kaiffin"
    assert set(repo.files) == {"README.md", "images/1.png", "kaiffin.png", "kaiffin.safetensors"}
    (tmp_path / "back.safetensors").write_bytes(repo.files["kaiffin.safetensors"])
    assert safe.model_hash(tmp_path / "back.safetensors") == safe.model_hash(run.adapter_path)
    shown = capsys.readouterr()
    assert f"{hub.url}/me/toy" in shown.out
    assert "hf_secret" not in shown.out + shown.err


def test_nothing_is_uploaded_unasked(run: Run, hub: Hub, tmp_path: Path) -> None:
    publish(run.path, str(tmp_path / "share"))
    assert hub.requests == []
