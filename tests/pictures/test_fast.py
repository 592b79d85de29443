"""Few-step adapters: told by name and header, said, and made as their kind wants."""

from pathlib import Path

import pytest
import torch
from conftest import FEW, grainy_photos
from hearing import Heard
from made_adapters import varied

from kaiffin.adapters.files import safe, writing
from kaiffin.cli.main import main
from kaiffin.foundation.errors import AdapterError, ConfigError
from kaiffin.miniature.world.vocabulary import SIDE
from kaiffin.models.base import ModelFamily
from kaiffin.pictures import fast
from kaiffin.pictures.recipe import read_recipe
from kaiffin.stories.generate import Order, generate, remake


def named(path: Path, title: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    safe.save(path, {"x": torch.zeros(1)}, {"modelspec.title": title} if title else {})
    return path


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("lcm-lora-sdv1-5/pytorch_lora_weights", "LCM: 4 steps, guidance 1, lcm, trailing"),
        ("LCM_LoRA_Weights_SD15", "LCM: 4 steps, guidance 1, lcm, trailing"),
        ("Hyper-SD15-8steps-lora", "Hyper-SD: 8 steps, guidance 1, ddim, trailing"),
        ("Hyper-SDXL-12steps-CFG-lora", "Hyper-SD: 12 steps, guidance 5, ddim, trailing"),
        ("sdxl_lightning_2step_lora", "Lightning: 2 steps, guidance 1, euler, trailing"),
        ("dmd2_sdxl_4step_lora_fp16", "DMD2: 4 steps, guidance 1, lcm, trailing"),
        ("sd_xl_turbo_lora_v1", "Turbo: 4 steps, guidance 1, euler-a, trailing"),
    ],
)
def test_published_names(tmp_path: Path, name: str, kind: str) -> None:
    assert str(fast.kind_of(named(tmp_path / f"{name}.safetensors"))) == kind


def test_a_title_says_it_where_the_name_does_not(tmp_path: Path) -> None:
    path = named(tmp_path / "quick.safetensors", "SDXL Lightning, 8 steps")
    assert str(fast.kind_of(path)) == "Lightning: 8 steps, guidance 1, euler, trailing"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("my-dog", "it says not which"), ("falcm", "it says not which"),
        ("turbo/my-dog", "it says not which"), ("lcm-turbo-mix", "it may be LCM or Turbo"),
    ],
)  # fmt: skip
def test_what_is_not_plain_is_not_guessed(tmp_path: Path, name: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        fast.kind_of(named(tmp_path / f"{name}.safetensors"))


def test_a_base_without_one_says_so(sd_path: Path, tmp_path: Path) -> None:
    order = Order(str(sd_path), ["a dog"], out=tmp_path)
    with pytest.raises(ConfigError, match="brings no few-step adapter along"):
        generate(order, changes={"sample.fast": "own"})
    assert not list(tmp_path.iterdir())


def test_its_settings_hold_but_for_those_that_are_given(
    sd: ModelFamily, sd_path: Path, tmp_path: Path
) -> None:
    path = tmp_path / "my-lcm-lora.safetensors"
    writing.write(varied(sd), path, "kohya", sd.layers_per_block)
    heard = Heard()
    order = Order(str(sd_path), ["a dog"], out=tmp_path / "out")
    changes = {"sample.steps": 2, "sample.fast": f"{path}:0.5"}
    (made,) = generate(order, changes=changes, tell=heard).pictures
    asked = made.request
    assert (asked.steps, asked.guidance, asked.sampler) == (2, 1.0, "lcm")
    assert asked.schedule == "trailing"
    (said,) = [note for note in heard.notes if "my-lcm-lora" in note]
    assert said.endswith("is LCM: 4 steps, guidance 1, lcm, trailing; as given instead: steps")
    (worn,) = read_recipe(made.path)["adapters"]
    assert (worn["path"], worn["weight"]) == (str(path), 0.5)
    again = remake(made.path, tmp_path / "again")
    assert again.path.read_bytes() == made.path.read_bytes()


def test_one_of_another_family_is_refused(sdxl: ModelFamily, sd_path: Path, tmp_path: Path) -> None:
    path = tmp_path / "sdxl_lightning_4step_lora.safetensors"
    writing.write(varied(sdxl), path, "kohya", sdxl.layers_per_block)
    with pytest.raises(AdapterError, match="made for another base"):
        generate(Order(str(sd_path), ["a dog"], out=tmp_path), changes={"sample.fast": str(path)})


@pytest.mark.parametrize("where", ["before", "after"])
def test_a_prompt_behind_the_flag_is_no_file(
    sd_path: Path, where: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--fast", "a photo of a dog"] if where == "before" else ["a photo of a dog", "--fast"]
    call = ["generate", str(sd_path), *words, "--out", str(tmp_path)]
    assert main(call) == 2
    assert "brings no few-step adapter along" in capsys.readouterr().err


def test_a_file_behind_the_flag_is_one(
    sd_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = named(tmp_path / "my-dog.safetensors")
    call = ["generate", str(sd_path), "--fast", str(path), "a dog", "--out", str(tmp_path)]
    assert main(call) == 2
    assert "my-dog.safetensors: is no few-step adapter that can be told" in capsys.readouterr().err


def test_a_run_on_the_miniature_takes_its_base_s_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The run's adapter is lifted, the recipe holds both, and no place on this machine."""
    photos = tmp_path / "photos"
    photos.mkdir()
    grainy_photos(photos, side=SIDE)
    few = ["--data.prior.weight", "0", "--train.tensorboard", "false", "--adapter.targets", FEW]
    call = ["train", str(photos), "--class", "penguin", "--steps", "1", *few]
    assert main([*call, "--out", str(tmp_path / "run")]) == 0
    call = ["generate", str(tmp_path / "run"), "a {token} {noun}", "--fast"]
    assert main([*call, "--out", str(tmp_path / "out")]) == 0
    said = "its own few-step adapter is few steps: 4 steps, guidance 1, euler, trailing, a run's"
    assert said in capsys.readouterr().out
    first = tmp_path / "out" / "a-kaiffin-penguin-seed0.png"
    recipe = read_recipe(first)
    own, few_steps = recipe["adapters"]
    assert (own["weight"], few_steps["weight"]) == (fast.OURS.lift, 1.0)
    assert few_steps["path"] == "fast.safetensors"
    assert recipe["request"]["steps"] == 4
    again = remake(first, tmp_path / "again")
    assert again.path.read_bytes() == first.read_bytes()
