"""Other VAEs in the place of the base's, and those of other bases refused."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import tiny
import torch
from checkpoints import SD1, SDXL, UNET, names_alone
from conftest import load_tiny
from hearing import Heard
from safetensors.torch import load_file, save_file

from kaiffin.foundation.config import BaseConfig
from kaiffin.foundation.errors import MissingWeightsError
from kaiffin.foundation.folder import file_sha256
from kaiffin.foundation.runtime import Runtime
from kaiffin.foundation.tell import SILENT, Tell
from kaiffin.models.base import ModelFamily
from kaiffin.models.files import autoencoder
from kaiffin.models.files.load import load


def with_vae(base: Path, vae: Path | str, tell: Tell = SILENT) -> ModelFamily:
    config = BaseConfig(name=str(base), vae=str(vae), device="cpu")
    return load(config, Runtime.from_config(config), tell)


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.tiny_sd(tmp_path_factory.mktemp("vae") / "other", seed=9)


def test_what_is_none_is_said_of_base_vae(sd_path: Path, tmp_path: Path) -> None:
    for name, said in (
        ("~nobody", "base.vae = '~nobody': is no folder"),
        ("~nobody/a.safetensors", "base.vae = '~nobody/a.safetensors': there is no such file"),
        (tmp_path, f"{tmp_path}: is no VAE (no config.json). Give base.vae"),
    ):
        with pytest.raises(MissingWeightsError) as refused:
            with_vae(sd_path, name)
        assert said in str(refused.value)


@pytest.mark.parametrize("place", ["", "vae"])
def test_a_folder_of_a_vae_or_of_a_pipeline(sd_path: Path, other: Path, place: str) -> None:
    family = with_vae(sd_path, other / place)
    weight = next(family.vae.parameters())
    assert torch.equal(weight, next(load_tiny(other).vae.parameters()))
    assert family.revision != load_tiny(sd_path).revision


def test_a_file_of_the_original_layout_alone_or_in_a_checkpoint(
    sd_path: Path, other: Path, tmp_path: Path
) -> None:
    start, x = "first_stage_model.", torch.randn(1, 4, 8, 8)
    checkpoint = tiny.tiny_single_file(other, tmp_path / "model.safetensors")
    tensors = {n: t for n, t in load_file(checkpoint).items() if n.startswith(start)}
    alone, lacking = tmp_path / "vae.safetensors", tmp_path / "lacking.safetensors"
    save_file({name.removeprefix(start): t for name, t in tensors.items()}, alone)
    expected = load_tiny(other).decode(x)
    for file in (checkpoint, alone):
        heard = Heard()
        assert torch.allclose(with_vae(sd_path, file, heard).decode(x), expected, atol=1e-5)
        assert "is taken as a VAE of SD 1.x: nothing in it says whose" in heard.notes[0]
    lost = f"{start}decoder.norm_out.bias"
    save_file({name: t for name, t in tensors.items() if name != lost}, lacking)
    with pytest.raises(MissingWeightsError, match="missing"):
        with_vae(sd_path, lacking)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"scaling_factor": 0.13025}, r"another kind of base \(scaling_factor 0\.13025"),
        ({"latent_channels": 16}, r"another kind of base \(latent_channels 16"),
    ],
)
def test_the_vae_of_another_base_is_refused(
    sd_path: Path, tmp_path: Path, change: dict[str, object], words: str
) -> None:
    copy = shutil.copytree(sd_path / "vae", tmp_path / "vae")
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(MissingWeightsError, match=words):
        with_vae(sd_path, copy)


def test_files_that_are_no_vae_of_this_base(sd_path: Path, tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    names_alone(file, {"decoder.conv_in.weight": (512, 16, 3, 3)})
    with pytest.raises(MissingWeightsError, match="latent_channels 16"):
        with_vae(sd_path, file)
    names_alone(file, {"lora_unet_x.alpha": ()})
    with pytest.raises(MissingWeightsError, match="is no VAE"):
        with_vae(sd_path, file)
    file.write_bytes(b"")
    with pytest.raises(MissingWeightsError, match="is empty"):
        with_vae(sd_path, file)
    pickle = tmp_path / "vae.pt"
    pickle.write_bytes(b"anything")
    with pytest.raises(MissingWeightsError, match=r"only \.safetensors files"):
        with_vae(sd_path, pickle)
    with pytest.raises(MissingWeightsError, match="nowhere"):
        with_vae(sd_path, "nowhere/at-all")


FILE = {"decoder.conv_in.weight": (512, 4, 3, 3)}
MODELSPEC = {"modelspec.architecture": "stable-diffusion-xl-v1-base/vae"}
CONFIG = {"_class_name": "AutoencoderKL", "scaling_factor": 0.13025}


@pytest.mark.parametrize("sign", ["its unet", "its header", "its hash", "a configuration"])
def test_whose_a_file_is_where_the_shapes_do_not_tell(
    sd_path: Path, tmp_path: Path, sign: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The weights of an SDXL VAE have the names and shapes of those of SD 1.x."""
    shapes = FILE | ({UNET + name: shape for name, shape in SDXL.items()} if "unet" in sign else {})
    file = names_alone(
        tmp_path / "vae.safetensors", shapes, metadata=MODELSPEC if "header" in sign else None
    )
    if "hash" in sign:
        monkeypatch.setitem(autoencoder.PUBLISHED, file_sha256(file), "sdxl")
    if "configuration" in sign:
        (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    with pytest.raises(MissingWeightsError, match="VAE of another kind of base"):
        with_vae(sd_path, file)


def test_the_vae_of_sd1_is_refused_for_sdxl(sdxl_path: Path, tmp_path: Path) -> None:
    shapes = FILE | {UNET + name: shape for name, shape in SD1.items()}
    with pytest.raises(MissingWeightsError, match=r"\(SD 1\.x, this base's is SDXL\)"):
        with_vae(sdxl_path, names_alone(tmp_path / "vae.safetensors", shapes))


@pytest.mark.parametrize("forced", [True, False])
def test_a_vae_that_overflows_in_fp16_stays_in_fp32_and_says_so(
    sd_path: Path, tmp_path: Path, forced: bool
) -> None:
    copy = shutil.copytree(sd_path / "vae", tmp_path / "vae")
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"force_upcast": forced}))
    base = BaseConfig(name=str(sd_path), vae=str(copy), device="cpu")
    half = replace(Runtime.from_config(base), base_dtype=torch.float16)  # no CPU computes in it
    family = load(base, half, tell=SILENT)
    assert next(family.towers["unet"].parameters()).dtype == torch.float16
    assert next(family.vae.parameters()).dtype == (torch.float32 if forced else torch.float16)
    assert ["force_upcast" in remark for remark in family.remarks] == [True] * forced
