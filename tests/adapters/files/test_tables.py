"""Our tables of layers against the libraries' own modules, and against the published counts."""

import json
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModelWithProjection

from kaiffin.adapters.files import tables
from kaiffin.foundation.errors import MissingWeightsError
from kaiffin.models.base import ModelFamily
from kaiffin.models.families.spec import SPECS
from kaiffin.models.files.embedded import WEIGHTS
from kaiffin.models.files.resolve import CONFIGS


def real_shapes(folder: Path, tower: str) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        if tower == "unet":
            model: nn.Module = UNet2DConditionModel.from_config(str(folder / tower))
        else:
            config = CLIPTextConfig(**json.loads((folder / tower / "config.json").read_text()))
            model = CLIPTextModelWithProjection(config)  # the one that kept the published names
    kinds = (nn.Linear, nn.Conv2d)
    return {n: tuple(m.weight.shape) for n, m in model.named_modules() if isinstance(m, kinds)}


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_the_published_bases(family: str) -> None:
    table = tables.published(family).layers
    for tower in SPECS[family].towers:
        real = real_shapes(CONFIGS / family, tower)
        real.pop("text_projection", None)  # no kohya file has it
        mine = {n.partition(".")[2]: s for n, s in table.items() if n.partition(".")[0] == tower}
        assert mine == real


def test_the_miniature() -> None:
    table = tables.of_folder(WEIGHTS, "sd1").layers
    real = {f"unet.{name}": shape for name, shape in real_shapes(WEIGHTS, "unet").items()}
    assert {n: s for n, s in table.items() if n.startswith("unet.")} == real


def test_a_loaded_family_has_the_same_names(family: ModelFamily) -> None:
    table = tables.of_folder(Path(family.base), family.name).layers
    mine = {f"{tower}.{path}" for tower in family.towers for path in family.modules(tower)}
    assert mine - set(table) <= {"text_encoder_2.text_projection"}
    assert set(table) <= mine


def test_widths_of_tokens() -> None:
    assert tables.published("sd1").text_widths == {"text_encoder": 768}
    assert tables.published("sdxl").text_widths == {"text_encoder": 768, "text_encoder_2": 1280}


@pytest.mark.parametrize("content", [None, "{", "[]", "{}"])
def test_a_broken_configuration_is_named(content: str | None, tmp_path: Path) -> None:
    if content is not None:
        for tower in ("unet", "text_encoder"):
            (tmp_path / tower).mkdir()
            (tmp_path / tower / "config.json").write_text(content)
    with pytest.raises(MissingWeightsError, match="its configuration is broken"):
        tables.of_folder(tmp_path, "sd1")
