"""Single checkpoint files as they lie in the wild: the same weights give the same numbers."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny
import torch
from checkpoints import UNET, Tensors, rewritten, single_file_xl
from conftest import load_tiny
from hearing import Heard
from hub import SD15, Hub, Repo
from huggingface_hub import constants
from safetensors.torch import load_file

from kaiffin.foundation.config import BaseConfig
from kaiffin.foundation.errors import MissingWeightsError
from kaiffin.foundation.runtime import Runtime
from kaiffin.foundation.tell import SILENT
from kaiffin.models.base import ModelFamily, SizeFacts
from kaiffin.models.files import resolve
from kaiffin.models.files.load import load

PROMPTS = ["a photo of a dog", "ein Höhlenbär 犬 🐧"]
SIZES = [SizeFacts.whole(64, 64)] * 2
VAE, CLIP = "first_stage_model.", "cond_stage_model.transformer."


@pytest.fixture
def file(sd_path: Path, tmp_path: Path) -> Path:
    return tiny.tiny_single_file(sd_path, tmp_path / "model.safetensors")


def numbers(family: ModelFamily) -> list[torch.Tensor]:
    """What a base makes of two prompts and one noise."""
    draw = torch.Generator().manual_seed(0)
    x, t = torch.randn(2, 4, 8, 8, generator=draw), torch.tensor([3, 700])
    with torch.no_grad():
        cond = family.encode_text(PROMPTS, SIZES)
        return [*cond.values(), family.predict(x, t, cond), family.decode(x)]


def assert_same(one: ModelFamily, other: ModelFamily, tolerance: float = 1e-5) -> None:
    for a, b in zip(numbers(one), numbers(other), strict=True):
        assert torch.allclose(a, b, atol=tolerance)


def test_the_layout_of_sdxl_gives_the_numbers_of_its_folder(
    sdxl_path: Path, tmp_path: Path
) -> None:
    file = single_file_xl(sdxl_path, tmp_path / "model.safetensors")
    family = load_tiny(file)
    assert (family.name, family.remarks) == ("sdxl", ())
    assert_same(family, load_tiny(sdxl_path))


def as_kohya(tensors: Tensors) -> Tensors:
    """Without position ids, which newer programs do not write."""
    return {name: t for name, t in tensors.items() if not name.endswith("position_ids")}


def as_a1111(tensors: Tensors) -> Tensors:
    """Positions that a merge has rounded, EMA twins, the schedule's buffers, a discriminator."""
    twins = {
        f"model_ema.{n.removeprefix('model.').replace('.', '')}": torch.zeros_like(t)
        for n, t in tensors.items()
        if n.startswith(UNET)
    }
    more = {
        f"{CLIP}text_model.embeddings.position_ids": torch.arange(77)[None].half(),
        "betas": torch.zeros(1000), "first_stage_model.loss.logvar": torch.zeros(()),
    }  # fmt: skip
    return tensors | twins | more


def as_old(tensors: Tensors) -> Tensors:
    """CLIP's names of early merges, and a VAE's short prefix."""
    return {
        name.replace(f"{CLIP}text_model.", CLIP).replace(VAE, "vae."): t
        for name, t in tensors.items()
    }


@pytest.mark.parametrize("layout", [as_kohya, as_a1111, as_old])
def test_layouts_of_the_wild(
    sd_path: Path, file: Path, layout: Callable[[Tensors], Tensors]
) -> None:
    family = load_tiny(rewritten(file, layout))
    assert_same(family, load_tiny(sd_path))
    assert bool(family.remarks) == (layout is as_a1111)  # of the EMA twins


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_cast(sd_path: Path, file: Path, dtype: torch.dtype) -> None:
    rewritten(file, lambda tensors: {name: t.to(dtype) for name, t in tensors.items()})
    family = load_tiny(file)
    assert {p.dtype for tower in family.towers.values() for p in tower.parameters()} == {
        torch.float32
    }
    assert_same(family, load_tiny(sd_path), 0.1)


def test_fp8_is_cast_with_its_scales(file: Path) -> None:
    """ComfyUI keeps some layers as fp8 and a number beside each, that they are multiplied with."""
    layer = f"{UNET}input_blocks.1.1.transformer_blocks.0.attn1.to_q"
    fp8 = load_file(file)[f"{layer}.weight"].to(torch.float8_e4m3fn)

    def change(tensors: Tensors) -> Tensors:
        more = {f"{layer}.weight": fp8, f"{layer}.scale_weight": torch.tensor(3.0)}
        marks = {f"{UNET}scaled_fp8": torch.zeros(0).to(torch.float8_e4m3fn)}
        return tensors | more | marks

    family = load_tiny(rewritten(file, change))
    unet = family.modules("unet")["down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"]
    assert torch.equal(unet.weight, fp8.float() * 3.0)
    assert "fp8" in family.remarks[0]
    rewritten(file, lambda ts: {n: t for n, t in ts.items() if not n.endswith("scale_weight")})
    unet = load_tiny(file).modules("unet")[
        "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
    ]
    assert torch.equal(unet.weight, fp8.float())


@pytest.mark.parametrize("part", [f"{UNET}out.2", VAE, CLIP])
def test_a_file_that_lacks_a_weight(file: Path, part: str) -> None:
    lost = max(n for n in load_file(file) if n.startswith(part) and n.endswith(".weight"))
    rewritten(file, lambda tensors: {n: t for n, t in tensors.items() if n != lost})
    with pytest.raises(MissingWeightsError, match="missing"):
        load_tiny(file)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub, and no network."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


@pytest.mark.parametrize(("part", "start"), [("vae", VAE), ("text_encoder", CLIP)])
def test_a_part_that_a_file_lacks_has_a_published_home(
    sd_path: Path, file: Path, cache: Path, part: str, start: str
) -> None:
    rewritten(file, lambda ts: {n: t for n, t in ts.items() if not n.startswith(start)})
    with pytest.raises(MissingWeightsError, match=rf"\({part}\), and that of stable-diffusion"):
        load_tiny(file)
    home = cache / "models--stable-diffusion-v1-5--stable-diffusion-v1-5"
    (home / "refs").mkdir(parents=True)
    (home / "refs" / "main").write_text("0" * 40)
    shutil.copytree(sd_path / part, home / "snapshots" / ("0" * 40) / part)
    family = load_tiny(file)
    assert_same(family, load_tiny(sd_path))
    assert "stands in" in family.remarks[0]


def test_a_part_that_a_file_lacks_is_taken_alone_and_said(
    sd_path: Path, file: Path, hub: Hub, sd15: Repo
) -> None:
    rewritten(file, lambda ts: {n: t for n, t in ts.items() if not n.startswith(CLIP)})
    heard, base = Heard(), BaseConfig(name=str(file), device="cpu")
    assert_same(load(base, Runtime.from_config(base), heard), load_tiny(sd_path))
    assert sorted(hub.bodies()) == ["text_encoder/config.json", "text_encoder/model.safetensors"]
    assert f"taking {SD15}" in heard.notes[0]
    assert "licence" in heard.notes[0]


def test_the_vae_that_is_given_is_looked_for_nowhere_else(
    sd_path: Path, file: Path, cache: Path
) -> None:
    rewritten(file, lambda ts: {n: t for n, t in ts.items() if not n.startswith(VAE)})
    given = BaseConfig(name=str(file), vae=str(sd_path), device="cpu")
    assert_same(load(given, Runtime.from_config(given), tell=SILENT), load_tiny(sd_path))


def test_a_part_beside_the_file_stands_in(sd_path: Path, file: Path, cache: Path) -> None:
    rewritten(file, lambda ts: {n: t for n, t in ts.items() if not n.startswith(VAE)})
    shutil.copyfile(sd_path / "vae" / tiny.WEIGHTS, file.parent / "model.config/vae" / tiny.WEIGHTS)
    assert_same(load_tiny(file), load_tiny(sd_path))


def test_the_marks_of_a_file_change_its_schedule(file: Path) -> None:
    plain = load_tiny(file).schedule
    assert plain.prediction_type == "epsilon"
    family = load_tiny(rewritten(file, lambda tensors: tensors | {"v_pred": torch.zeros(0)}))
    assert family.schedule.prediction_type == "v_prediction"
    assert family.schedule.sigmas(4) == plain.sigmas(4)
    family = load_tiny(rewritten(file, lambda tensors: tensors | {"ztsnr": torch.zeros(0)}))
    assert family.schedule.sigmas(4)[0] > 1000  # no signal is left where sampling begins


def test_the_schedule_is_part_of_a_revision_where_it_is_not_stable_diffusions(
    sd_path: Path, tmp_path: Path
) -> None:
    """Else two bases that differ in nothing else would share their evaluation pictures."""
    path = shutil.copytree(sd_path, tmp_path / "copy")
    config = path / "scheduler" / "scheduler_config.json"
    plain, written = load_tiny(sd_path).revision, json.loads(config.read_text())
    for changes, same in (
        ({"_class_name": "PNDMScheduler", "clip_sample": True}, True),
        ({"prediction_type": "v_prediction"}, False),
        ({"timestep_spacing": "trailing"}, False),
    ):
        config.write_text(json.dumps(written | changes))
        assert (load_tiny(path).revision == plain) is same
    config.unlink()
    with pytest.raises(MissingWeightsError, match=r"scheduler_config\.json: cannot be used"):
        load_tiny(path)


def test_every_family_has_a_home_for_the_parts_a_file_may_lack() -> None:
    assert resolve.HOMES.keys() == resolve.VAES.keys() == {"sd1", "sdxl"}
