"""Weights in their places: as the libraries' own loading puts them, in every form they come in."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import load_tiny
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from kaiffin.foundation.errors import MissingWeightsError
from kaiffin.models.families.sdxl import StableDiffusionXL
from kaiffin.models.files.weights import built, fill

CPU = torch.device("cpu")
CLASSES = StableDiffusionXL.models()  # SD 1.x's and one more


@pytest.fixture
def base(sd_path: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return shutil.copytree(sd_path, tmp_path / "base")


def weights(folder: Path) -> Path:
    (file,) = folder.glob("*.safetensors")
    return file


def state(model: nn.Module) -> dict[str, Tensor]:
    return dict([*model.named_parameters(), *model.named_buffers()])


def rewrite(file: Path, change: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> None:
    save_file(change(load_file(file)), file, {"format": "pt"})


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", CLASSES)
def test_as_the_libraries_load_them(name: str, dtype: torch.dtype, sdxl_path: Path) -> None:
    model = built(CLASSES[name], sdxl_path / name)
    assert fill(model, [weights(sdxl_path / name)], dtype, CPU)
    theirs = CLASSES[name].from_pretrained(sdxl_path / name, torch_dtype=dtype)
    assert same(state(model), state(theirs))
    # Plain settings and those that the library derives, such as the kind of attention.
    ours, other = (vars(m.config) if hasattr(m.config, "to_dict") else m.config
                   for m in (model, theirs))  # fmt: skip
    told = {"_name_or_path", "dtype", "_commit_hash", "transformers_version"}
    assert {k: v for k, v in ours.items() if k not in told} == {
        k: v for k, v in other.items() if k not in told
    }


def older_vae(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """As diffusers called a VAE's attention until 2023, and SD 1.4's files do."""
    names = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    for new, old in names.items():
        tensors = {name.replace(f".{new}.", f".{old}."): t for name, t in tensors.items()}
    return tensors


def older_text(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """As transformers called a text encoder's weights until 5.6, with a buffer that it saved."""
    made = {f"text_model.{name.removeprefix('text_model.')}": t for name, t in tensors.items()}
    return made | {"text_model.embeddings.position_ids": torch.arange(77)[None]}


def strange(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return tensors | {"of.another.program": torch.ones(2)}


@pytest.mark.parametrize(
    ("part", "change"),
    [("vae", older_vae), ("text_encoder", older_text), ("unet", strange)],
)
def test_other_names_and_more(part: str, change: Callable, base: Path) -> None:
    before = load_tiny(base)
    rewrite(weights(base / part), change)
    after = load_tiny(base)
    for one, other in zip((*before.towers.values(), before.vae),
                          (*after.towers.values(), after.vae), strict=True):  # fmt: skip
        assert same(state(one), state(other))


def shard(folder: Path, variant: str = "") -> list[Path]:
    """The weights in `folder` in two files and their index, as large models are published."""
    whole = weights(folder)
    tensors, stem = load_file(whole), whole.stem
    whole.unlink()
    place = {name: f"{stem}{variant}-0000{1 + i % 2}-of-00002.safetensors"
             for i, name in enumerate(sorted(tensors))}  # fmt: skip
    for file in set(place.values()):
        part = {name: tensor for name, tensor in tensors.items() if place[name] == file}
        save_file(part, folder / file, {"format": "pt"})
    index = {"metadata": {"total_size": 1}, "weight_map": place}
    (folder / f"{stem}.safetensors.index{variant}.json").write_text(json.dumps(index))
    return sorted(folder.glob("*.safetensors"))


@pytest.mark.parametrize(
    ("variant", "index"), [("", "index"), (".fp16", "index.fp16"), (".fp16", "fp16.index")]
)
def test_shards_are_one_model(variant: str, index: str, base: Path) -> None:
    """The index of a twin is spelled in two ways."""
    before = load_tiny(base)
    first, _ = shard(base / "unet", variant)
    (written,) = (base / "unet").glob("*.index*.json")
    written.rename(written.with_name(f"{written.name.partition('.')[0]}.safetensors.{index}.json"))
    assert same(state(load_tiny(base).towers["unet"]), state(before.towers["unet"]))
    first.unlink()
    with pytest.raises(MissingWeightsError, match=f"unet: {first.name} is missing, which"):
        load_tiny(base)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"weight_map": 3}'])
def test_a_broken_index_is_named(text: str, base: Path) -> None:
    shard(base / "unet")
    (index,) = (base / "unet").glob("*.index.json")
    index.write_text(text)
    with pytest.raises(MissingWeightsError, match=r"index\.json: is broken"):
        load_tiny(base)


def test_what_lies_beside_is_no_weight(base: Path) -> None:
    """The copy that a training goes on with, and the same in another layout: published so."""
    before = load_tiny(base).revision
    for part, name in (("unet", "diffusion_pytorch_model.non_ema"), ("vae", "sdxl_vae")):
        save_file({"other": torch.ones(1)}, base / part / f"{name}.safetensors")
    assert load_tiny(base).revision == before


def test_a_wrong_shape_is_refused(base: Path) -> None:
    rewrite(weights(base / "vae"), lambda t: t | {"encoder.conv_in.weight": torch.ones(2, 2)})
    with pytest.raises(MissingWeightsError, match=r"vae: cannot be loaded: .*size mismatch"):
        load_tiny(base)
