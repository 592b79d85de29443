"""A base as one checkpoint file: what Kaiffin and diffusers read of it is what was written."""

import json
import shutil
from pathlib import Path
from typing import Any

import diffusers
import pytest
import tiny
import torch
from checkpoints import single_file_xl
from conftest import load_tiny
from safetensors import safe_open
from safetensors.torch import load_file

from kaiffin.adapters import single
from kaiffin.foundation.errors import UserError
from kaiffin.foundation.tell import SILENT
from kaiffin.models.base import ModelFamily, SizeFacts
from kaiffin.models.files.embedded import WEIGHTS, WEIGHTS_XL

SIZES = [SizeFacts.whole(64, 64)]


def numbers(family: ModelFamily) -> list[torch.Tensor]:
    """What a base makes of a prompt and a noise, and of a picture."""
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(1, 4, 8, 8, generator=draw)
    pixels = torch.rand(1, 3, 64, 64, generator=draw) * 2 - 1
    with torch.no_grad():
        cond = family.encode_text(["a photo of a dog"], SIZES)
        seen = family.predict(x, torch.tensor([300]), cond)
        return [*cond.values(), seen, family.decode(x), *family.encode_images(pixels)]


def assert_same(one: ModelFamily, other: ModelFamily, tolerance: float) -> None:
    for a, b in zip(numbers(one), numbers(other), strict=True):
        assert torch.allclose(a, b, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize(("dtype", "tolerance"), [("fp32", 1e-5), ("fp16", 2e-2)])
def test_kaiffin_reads_it(
    family: ModelFamily, dtype: single.Half, tolerance: float, tmp_path: Path
) -> None:
    if not hasattr(family, "vae") or family.name not in ("sd1", "sdxl"):
        pytest.skip("a family without such files")
    out = tmp_path / "whole.safetensors"
    size = single.write(family, out, dtype, {"modelspec.title": "whole"}, tell=SILENT)
    single.write_configs(family, out.with_suffix(".config"))
    assert size == out.stat().st_size
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".config"] == [out.name]
    assert_same(load_tiny(out), family, tolerance)


def test_names_are_those_of_the_published_files(
    sd: ModelFamily, sdxl: ModelFamily, sd_path: Path, sdxl_path: Path, tmp_path: Path
) -> None:
    """By the writers of the tests, which know the layouts by themselves."""
    written = {
        sd: tiny.tiny_single_file(sd_path, tmp_path / "sd.safetensors"),
        sdxl: single_file_xl(sdxl_path, tmp_path / "xl.safetensors"),
    }
    for family, file in written.items():
        theirs = load_file(file)
        if family is sd:  # the upsampler of its block without attention stands second
            theirs = {n.replace("blocks.1.2.conv", "blocks.1.1.conv"): v for n, v in theirs.items()}
        ours = {one.name: one for one in single.weights(family)}
        assert ours.keys() == {name for name in theirs if not name.endswith("position_ids")}
        for name, one in ours.items():
            assert one.make().equal(theirs[name]), name
            assert one.shape == tuple(theirs[name].shape)


@pytest.mark.parametrize(
    ("folder", "pipeline", "more"),
    [
        (WEIGHTS, diffusers.StableDiffusionPipeline, {"safety_checker": None}),
        (WEIGHTS_XL, diffusers.StableDiffusionXLPipeline, {}),
    ],
    ids=["miniature", "miniature-xl"],
)
def test_diffusers_reads_it(
    folder: Path, pipeline: Any, more: dict[str, Any], tmp_path: Path
) -> None:
    """By its own loader and converters, offline: weight by weight, of every network.

    Not the tiny bases: diffusers tells SDXL's two text encoders apart by their widths alone.
    """
    ours, out = load_tiny(folder), tmp_path / "whole.safetensors"
    single.write(ours, out, "fp32", {}, tell=SILENT)
    pipe = pipeline.from_single_file(str(out), config=str(folder), local_files_only=True, **more)
    for part, network in {**ours.encoders, "unet": ours.net, "vae": ours.vae}.items():
        theirs = getattr(pipe, part).state_dict()
        for key, value in network.state_dict().items():
            assert theirs[key].equal(value), f"{part}: {key}"


def test_a_base_that_predicts_v_is_told_by_its_marks(sd_v_path: Path, tmp_path: Path) -> None:
    family = load_tiny(sd_v_path)
    out = tmp_path / "v.safetensors"
    single.write(family, out, "fp16", {}, tell=SILENT)
    single.write_configs(family, out.with_suffix(".config"))
    shutil.copytree(sd_v_path / "scheduler", tmp_path / "plain")
    config = out.with_suffix(".config") / "scheduler" / "scheduler_config.json"
    config.write_text(
        json.dumps(json.loads(config.read_text()) | {"prediction_type": "epsilon"})
    )  # so that only the mark says it
    assert load_tiny(out).schedule.prediction_type == "v_prediction"


def test_what_fp16_cannot_hold_is_refused_and_nothing_is_left(
    sd_path: Path, tmp_path: Path
) -> None:
    family = load_tiny(sd_path)
    next(family.net.parameters()).data.fill_(1e6)
    with pytest.raises(UserError, match="cannot hold"):
        single.write(family, tmp_path / "whole.safetensors", "fp16", {}, tell=SILENT)
    assert list(tmp_path.iterdir()) == []
    single.write(family, tmp_path / "whole.safetensors", "bf16", {}, tell=SILENT)
    with safe_open(tmp_path / "whole.safetensors", framework="pt") as file:
        assert file.metadata() == {"format": "pt"}
