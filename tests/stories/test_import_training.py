"""What is imported runs: each program's training, written as a config, is planned; one learns."""

import json
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from elsewhere_trainings import (
    DREAMBOOTH,
    ai_toolkits_file,
    ai_toolkits_process,
    kohyas_gui,
    kohyas_toml,
    kohyas_tree,
    onetrainers_preset,
    sd_scripts,
)

from kaiffin.cli.main import main
from kaiffin.foundation.run import Run

CPU = ["--train.precision", "fp32", "--base.dtype", "fp32"]  # fp16 wants a GPU
BASE = "miniature"


def _diffusers(folder: Path, photos: Path) -> str:
    more = "--with_prior_preservation --num_class_images=2 --class_prompt='a photo of dog'"
    own = photos / "10_kaiffin puffin"
    return DREAMBOOTH.format(
        script="train_dreambooth_lora.py", base=BASE, photos=own, more=f"--resolution=64 {more}"
    )


def _sd_scripts(folder: Path, photos: Path) -> str:
    return sd_scripts(folder, photos, script="train_network.py", base=BASE, side=64)


def _ai_toolkit(folder: Path, photos: Path) -> str:
    process = ai_toolkits_process(photos / "10_kaiffin puffin", BASE)
    process["datasets"][0]["resolution"] = [64]
    return str(ai_toolkits_file(folder, process))


def _onetrainer(folder: Path, photos: Path) -> str:
    preset = onetrainers_preset(folder, photos / "10_kaiffin puffin", BASE)
    file = folder / "preset.json"
    file.write_text(json.dumps({**preset, "resolution": "64"}))
    return str(file)


SOURCES: dict[str, Callable[[Path, Path], str]] = {
    "sd-scripts": _sd_scripts, "diffusers": _diffusers, "OneTrainer": _onetrainer,
    "ai-toolkit": _ai_toolkit,
    "kohya_ss": lambda folder, photos: str(kohyas_gui(folder, photos, BASE, side=64)),
    "a toml": lambda folder, photos: str(kohyas_toml(folder, photos, BASE)),
}  # fmt: skip
QUICK = ("sd-scripts",)  # the others' tables are walked by it, or learn below


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    kohyas_tree(tmp_path)
    return tmp_path


def bring(program: str, folder: Path, *more: str) -> str:
    """The config that `kaiffin import` writes."""
    source = SOURCES[program](folder, folder / "img")
    assert main(["import", source, "--out", "ours.yaml", *more]) == 0
    return "ours.yaml"


@pytest.mark.parametrize(
    "program",
    [pytest.param(one, marks=[pytest.mark.slow] * (one not in QUICK)) for one in SOURCES],
)
def test_it_can_be_planned(
    program: str, folder: Path, sd_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = bring(program, folder, "--subject", "kaiffin", "--class", "puffin")
    capsys.readouterr()
    assert main(["train", config, "--base", str(sd_path), "--dry-run", "--json", *CPU]) == 0
    planned = json.loads(capsys.readouterr().out)
    assert planned["plan"]["steps"] > 1


def test_it_learns(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As the command says that it goes on, but for one step."""
    config = bring("diffusers", folder)
    words = capsys.readouterr().out
    (told,) = [line for line in words.splitlines() if "kaiffin train ours.yaml --dry-run" in line]
    assert shlex.split(told)
    few = ["--steps", "1", "--train.accumulate", "1", "--out", "run", *CPU]
    assert main(["train", config, *few]) == 0
    learnt = Run.open(Path("run"))
    assert learnt.adapter_path.name == "sks.safetensors"
    assert learnt.config.data.template == "a photo of {token} {noun} in a bucket"
