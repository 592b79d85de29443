"""The five recipes, each as its one command, on the miniature in place of the real base."""

import json
from pathlib import Path

import pytest
import torch
import yaml
from conftest import REPO
from diffusers import StableDiffusionPipeline
from peft import PeftModel
from safetensors.torch import load_file
from test_demo import the_card_works

from kaiffin.adapters.files import safe
from kaiffin.cli.main import main
from kaiffin.experiments.sweep.trials import read
from kaiffin.foundation.run import Run
from kaiffin.foundation.settings import build, dump, override, read_yaml
from kaiffin.miniature.world import world
from kaiffin.models.files.embedded import WEIGHTS

EXAMPLES = REPO / "examples"
# The only things that are not as the recipe says: the base, what follows from it, and the lengths.
SMALL = {
    "base.name": "miniature", "base.vae": None, "base.dtype": "auto", "data.resolution": 64,
    "data.prior.num_images": 2, "data.prior.steps": 2, "train.tensorboard": False,
    "sample.steps": 4,
}  # fmt: skip


def photos(folder: Path, count: int = 3, captions: bool = False) -> Path:
    folder.mkdir(parents=True)
    for i, (image, _) in enumerate(world.subject_photos("plush", count, size=64)):
        image.save(folder / f"{i}.png")
        if captions:
            (folder / f"{i}.txt").write_text("a photo of <cheburashka> in the meadow")
    return folder


def trained(recipe: str, tmp_path: Path, **changes: object) -> Run:
    """`kaiffin train recipe.yaml`, with the recipe's text changed as little as said above."""
    data = override(read_yaml(EXAMPLES / recipe), SMALL | changes)
    (tmp_path / recipe).write_text(dump(build(data)))
    assert main(["train", str(tmp_path / recipe), "--out", str(tmp_path / "run")]) == 0
    run = Run.open(tmp_path / "run")
    assert json.loads((run.path / "proof.json").read_text())["holds"]
    return run


def test_viking_puffin(tmp_path: Path) -> None:
    run = trained("viking-puffin-sdxl.yaml", tmp_path, **{
        "data.photos": photos(tmp_path / "photos"), "train.steps": 4, "train.checkpoint_every": 2,
        "sample.preview_every": 2,
    })  # fmt: skip
    assert run.config.train.optimizer == "adamw8bit"
    assert run.config.train.gradient_checkpointing
    assert [step for step, _ in run.restart_points()] == [2, 4]
    previews = sorted(path.name for path in (run.path / "previews").iterdir())
    assert previews == [f"step-{step:08d}.png" for step in (0, 2, 4)]


def test_flickr30k(tmp_path: Path) -> None:
    top = tmp_path / "flickr30k"
    images = photos(top / "flickr30k_images", 4)
    lines = ["image_name| comment_number| comment"]
    for path in sorted(images.iterdir()):
        lines += [f"{path.name}| {i}| A toy in place {i} ." for i in range(5)]
    (top / "results.csv").write_text("\n".join(lines))
    run = trained("flickr30k-sd14.yaml", tmp_path, **{"data.photos": top, "train.steps": 3})
    manifest = json.loads((run.path / "data" / "manifest.json").read_text())
    assert len(manifest["photos"]) == 4
    folder = run.path / "peft"
    config = json.loads((folder / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"], config["peft_type"]) == (4, 4, "LORA")
    pipe = StableDiffusionPipeline.from_pretrained(WEIGHTS)
    opened = PeftModel.from_pretrained(pipe.unet, str(folder))
    ours = load_file(run.adapter_path)
    theirs = {n: p for n, p in opened.named_parameters() if "lora_B" in n}
    assert len(theirs) == sum("lora_up" in name for name in ours) == len(config["target_modules"])
    other = StableDiffusionPipeline.from_pretrained(WEIGHTS).unet
    other.load_lora_adapter(
        str(folder), weight_name="adapter_model.safetensors", prefix="base_model.model"
    )
    attached = {n: p for n, p in other.named_parameters() if "lora_B" in n}
    assert len(attached) == len(theirs)
    for name, value in theirs.items():
        mine = name.removeprefix("base_model.model.").replace(".default.", ".default_0.")
        assert torch.equal(attached[mine], value)


def test_cheburashka(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = trained("cheburashka-sd15.yaml", tmp_path, **{
        "data.photos": photos(tmp_path / "photos", captions=True), "train.steps": 3,
    })  # fmt: skip
    tensors, header = safe.read(run.adapter_path)
    assert run.adapter_path.name == "cheburashka.safetensors"
    assert "bundle_emb.<cheburashka>.string_to_param.*" in tensors
    assert header["ss_network_dim"] == "128"
    assert header["ss_min_snr_gamma"] == "5.0"
    assert run.config.sample.guidance == 5.0
    out = tmp_path / "out"
    assert main(["generate", str(run.path), "<cheburashka> in the snow", "--steps", "2", "--out",
                 str(out)]) == 0  # fmt: skip
    assert len(list(out.glob("*.png"))) == 2
    the_card_works(run.path, monkeypatch)  # with the token, by diffusers


def test_intro_and_its_rerank(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    folder = photos(tmp_path / "photos", 10)
    run = trained("intro-sd15.yaml", tmp_path, **{"data.photos": folder, "train.steps": 3})
    call = ["generate", str(run.path), "a photo of kaiffin dog in the snow", "-n", "4", "--best",
            "2", "--like", str(folder), "--steps", "4"]  # fmt: skip
    assert main(call) == 0
    assert "best" in capsys.readouterr().out


def test_realistic_vision_in_two_phases(tmp_path: Path) -> None:
    recipe = "realistic-vision-two-phase.yaml"
    phases = read_yaml(EXAMPLES / recipe)["phases"]
    assert [phase["name"] for phase in phases] == ["face", "body"]
    phases[1] |= {"photos": str(photos(tmp_path / "body", 4)), "steps": 3}
    run = trained(recipe, tmp_path, **{
        "data.photos": photos(tmp_path / "face"), "train.steps": 3, "phases": phases,
    })  # fmt: skip
    parts = [run.part_path(name) for name in ("face", "body")]
    assert all(path.is_file() for path in parts)
    face = load_file(parts[0])
    assert any(name.startswith("lora_te_") for name in face)
    assert any("_ff_net_" in name for name in face)
    out = tmp_path / "out"
    assert main(["generate", str(run.path), "a photo of sks man", "--blend", "0,0.5,1", "--steps",
                 "2", "--out", str(out)]) == 0  # fmt: skip
    assert len(list(out.glob("a-photo*.png"))) == 3


def test_the_study_asks_what_the_sweep_of_the_real_base_asks() -> None:
    """The same trials in the same proportions, with three trainings each."""
    real = {t.name: t.config for t in read(EXAMPLES / "cheburashka-sweep.yaml")[1]}
    file, trials = read(EXAMPLES / "cheburashka-study" / "study.yaml")
    assert file.seeds == [0, 1, 2]
    small = {t.name: t.config for t in trials}
    pairs = {"lr-half": "lr-1e-5"} | {n: n for n in small if n != "lr-half"}
    assert {pairs[name] for name in small} == set(real)
    for name, config in small.items():
        other = real[pairs[name]]
        assert config.train.steps == other.train.steps
        assert config.train.objective == other.train.objective
        assert config.sample.guidance == other.sample.guidance
        share = config.train.lr / small["baseline"].train.lr
        assert share == pytest.approx(other.train.lr / real["baseline"].train.lr)


def test_the_recipes_say_what_the_projects_did() -> None:
    """The numbers of the five projects, so that nobody changes them by accident."""
    read = {path.stem: yaml.safe_load(path.read_text()) for path in EXAMPLES.glob("*.yaml")}
    assert len(read) == 7
    puffin = build(read["viking-puffin-sdxl"])
    assert (puffin.base.name, puffin.data.resolution, puffin.train.batch_size) == ("sdxl", 1024, 2)
    assert (puffin.train.steps, puffin.train.checkpoint_every) == (1000, 500)
    flickr = build(read["flickr30k-sd14"])
    assert (flickr.adapter.rank, flickr.adapter.alpha, flickr.adapter.dropout) == (4, 4, 0.01)
    toy = build(read["cheburashka-sd15"])
    assert (toy.adapter.rank, toy.train.steps, toy.train.lr) == (128, 2000, 2e-5)
    assert (toy.train.objective.min_snr_gamma, toy.sample.guidance) == (5, 5.0)
    assert 100 <= build(read["intro-sd15"]).train.steps <= 200
    man = build(read["realistic-vision-two-phase"])
    assert man.adapter.text_encoder
    assert man.base.vae
    assert man.data.prior.weight
