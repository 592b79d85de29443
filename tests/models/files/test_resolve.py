"""From what a user calls a base to its files, or to one error that says what to do."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from kaiffin.foundation.errors import MissingWeightsError
from kaiffin.models.files import resolve


@pytest.mark.parametrize("name", ["sd15", "sdxl", "someone/some-model"])
def test_a_base_that_is_not_here_says_what_to_put_where(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(MissingWeightsError, match="is not on this machine") as caught:
        resolve.locate(name)
    assert "model_index.json" in str(caught.value)
    assert f"kaiffin bases get {name}" in str(caught.value)


def test_names_that_mean_nothing() -> None:
    with pytest.raises(MissingWeightsError, match='Did you mean "sd15"'):
        resolve.locate("sd-15")
    with pytest.raises(MissingWeightsError, match="no folder, no file"):
        resolve.locate("./gone/folder/x")


@pytest.mark.parametrize("suffix", [".ckpt", ".pt", ".bin"])
def test_pickled_checkpoints_are_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"model{suffix}"
    path.write_bytes(b"anything")
    with pytest.raises(MissingWeightsError, match="pickles"):
        resolve.locate(str(path))


def test_files_that_are_no_base(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    with pytest.raises(MissingWeightsError, match="no such file"):
        resolve.locate(str(path))
    path.write_bytes(b"x" * 100)
    with pytest.raises(MissingWeightsError, match="not a readable safetensors"):
        resolve.locate(str(path))
    save_file({"lora_unet_x.alpha": torch.ones(1)}, path)
    with pytest.raises(MissingWeightsError, match="goes to --adapter"):
        resolve.locate(str(path))
    first = "model.diffusion_model.input_blocks.0.0.weight"
    save_file({first: torch.zeros(320, 9, 3, 3)}, path)
    with pytest.raises(MissingWeightsError, match="inpainting"):
        resolve.locate(str(path))
    save_file({first: torch.zeros(320, 4, 3, 3), "cond_stage_model.model.x": torch.ones(1)}, path)
    with pytest.raises(MissingWeightsError, match="text encoder is of another kind"):
        resolve.locate(str(path))


@pytest.mark.parametrize("name", ["sd1", "sdxl"])
def test_the_kept_configurations_are_the_published_sizes(name: str) -> None:
    """Weight counts of the real models: 859.5 M and 2,567 M in the UNet, 83.7 M in the VAE."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    from kaiffin.models.files.resolve import CONFIGS

    folder = CONFIGS / name
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(str(folder / "unet"))
        vae = AutoencoderKL.from_config(str(folder / "vae"))
        text = CLIPTextModel(CLIPTextConfig.from_pretrained(str(folder / "text_encoder")))
    counts = [sum(p.numel() for p in model.parameters()) for model in (unet, vae, text)]
    expected = {"sd1": 859_520_964, "sdxl": 2_567_463_684}[name]
    assert counts == [expected, 83_653_863, 123_060_480]


def pipeline_folder(folder: Path, kind: str) -> str:
    folder.mkdir(exist_ok=True)
    (folder / "model_index.json").write_text(json.dumps({"_class_name": kind}))
    return str(folder)


@pytest.mark.parametrize(
    ("kind", "family"),
    [
        ("StableDiffusionPipeline", "sd1"),
        ("StableDiffusionImg2ImgPipeline", "sd1"),
        ("StableDiffusionXLPipeline", "sdxl"),
        ("StableDiffusionXLImg2ImgPipeline", "sdxl"),
    ],
)
def test_the_family_follows_from_the_pipeline(tmp_path: Path, kind: str, family: str) -> None:
    found = resolve.locate(pipeline_folder(tmp_path, kind))
    assert (found.kind, found.family, found.configs) == ("folder", family, tmp_path)


@pytest.mark.parametrize("kind", ["FluxPipeline", "StableDiffusion3Pipeline", "DiffusionPipeline"])
def test_another_kind_of_model_is_refused_by_its_name(tmp_path: Path, kind: str) -> None:
    with pytest.raises(MissingWeightsError, match=f"is a {kind}") as caught:
        resolve.locate(pipeline_folder(tmp_path, kind))
    assert "SD 1.x and SDXL" in str(caught.value)


@pytest.mark.parametrize("text", [None, "", "{", "[]", "{}"])
def test_folders_without_a_readable_index(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "model_index.json").write_text(text)
    with pytest.raises(MissingWeightsError, match=r"no readable model_index\.json"):
        resolve.locate(str(tmp_path))


@pytest.mark.parametrize(
    ("mark", "family"),
    [
        ("cond_stage_model.transformer.text_model.x", "sd1"),
        ("conditioner.embedders.1.model.ln_final.weight", "sdxl"),
    ],
)
def test_the_family_of_a_file_follows_from_its_text_encoder(
    tmp_path: Path, mark: str, family: str
) -> None:
    file = tmp_path / "a.safetensors"
    first = "model.diffusion_model.input_blocks.0.0.weight"
    save_file({first: torch.zeros(8, 4, 3, 3), mark: torch.ones(1)}, file)
    found = resolve.locate(str(file))
    assert (found.kind, found.family) == ("file", family)
    assert found.configs == resolve.CONFIGS / family
    shutil.copytree(resolve.CONFIGS / family, tmp_path / "a.config")
    assert resolve.locate(str(file)).configs == tmp_path / "a.config"


def test_headers_are_read_without_tensors_and_never_trusted(tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    save_file({"x": torch.ones(2, 3)}, file, {"format": "pt"})
    assert resolve.header(file) == {"x": [2, 3]}
    for data in (b"", b"\xff" * 8, (2**40).to_bytes(8, "little") + b"{}", b"\2" + bytes(7) + b"[]"):
        file.write_bytes(data)
        with pytest.raises(MissingWeightsError, match="not a readable safetensors"):
            resolve.header(file)


def test_what_is_inside_is_here_and_what_is_unknown_is_not() -> None:
    assert resolve.is_here("miniature")
    assert resolve.is_here("miniature-xl")
    assert not resolve.is_here("someone/some-model-that-is-nowhere")
