"""From what a user calls a base to its files, or to one error that says what to do."""

import shutil
from pathlib import Path

import pytest
import tiny
import torch

from kaiffin.foundation.errors import MissingWeightsError
from kaiffin.foundation.tell import SILENT
from kaiffin.models.files import resolve


@pytest.mark.parametrize("name", ["sd15", "sdxl", "someone/some-model"])
def test_a_base_that_is_not_here_says_what_to_put_where(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(MissingWeightsError, match="is not on this machine") as caught:
        resolve.locate(name, tell=SILENT)
    assert "model_index.json" in str(caught.value)
    assert f"kaiffin bases get {name}" in str(caught.value)


def test_names_that_mean_nothing() -> None:
    with pytest.raises(MissingWeightsError, match='Did you mean "sd15"'):
        resolve.locate("sd-15", tell=SILENT)
    with pytest.raises(MissingWeightsError, match="no folder, no file"):
        resolve.locate("./gone/folder/x", tell=SILENT)


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


def test_the_configurations_of_a_file_are_the_published_ones_or_its_own(
    sd_path: Path, tmp_path: Path
) -> None:
    located = resolve.locate(str(sd_path), tell=SILENT)
    assert (located.kind, located.family, located.configs) == ("folder", "sd1", sd_path)
    file = tiny.tiny_single_file(sd_path, tmp_path / "a.safetensors")
    located = resolve.locate(str(file), tell=SILENT)
    assert (located.kind, located.family) == ("file", "sd1")
    assert located.configs == tmp_path / "a.config"
    shutil.rmtree(tmp_path / "a.config")
    assert resolve.locate(str(file), tell=SILENT).configs == resolve.CONFIGS / "sd1"


def test_what_is_inside_is_here_and_what_is_unknown_is_not() -> None:
    assert resolve.is_here("miniature")
    assert resolve.is_here("miniature-xl")
    assert not resolve.is_here("someone/some-model-that-is-nowhere")
