"""Others' trainings as configs: inputs of the shape that their own documentation shows."""

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from kaiffin.cli.main import main
from kaiffin.foundation.errors import UserError
from kaiffin.foundation.settings import fields, load
from kaiffin.foundation.trainers.importing import TABLES, Imported, imported, tables, written
from kaiffin.stories.import_training import import_training


def take(source: str, **given: Any) -> Imported:
    return imported(source, given, lambda folder: len(list(folder.glob("*.png"))) or None)


def told(made: Imported, verdict: str) -> set[str]:
    return {one.theirs.partition(" ")[0] for one in made.findings if one.verdict == verdict}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """kohya's tree: 4 photos drawn 10 times, and 3 of the class."""
    for name, count in (("img/10_kaiffin puffin", 4), ("reg/1_puffin", 3)):
        (tmp_path / name).mkdir(parents=True)
        for i in range(count):
            Image.new("RGB", (64, 64), (i, 0, 0)).save(tmp_path / name / f"{i}.png")
    return tmp_path / "img"


SD_SCRIPTS = """accelerate launch --num_cpu_threads_per_process 1 sdxl_train_network.py \\
  --pretrained_model_name_or_path="sdxl.safetensors" --dataset_config={data} --output_dir=out \\
  --output_name="puffin" --network_module=networks.lora --network_dim=32 --network_alpha=16 \\
  --network_args "conv_dim=8" "conv_alpha=4" --learning_rate=1e-4 --text_encoder_lr 5e-5 \\
  --optimizer_type="AdamW8bit" --optimizer_args "weight_decay=0.1" "betas=0.9,0.99" \\
  --lr_scheduler="cosine" --lr_warmup_steps=0.1 --max_train_epochs=8 --save_every_n_epochs=2 \\
  --mixed_precision="bf16" --min_snr_gamma=5 --gradient_checkpointing --xformers --seed 42 \\
  --noise_offset=0.05 --clip_skip=2 --shuffle_caption --keep_tokens 1 --wandb_api_key=hidden \\
  --flying_carpet"""
DATA = """
[general]
shuffle_caption = true
caption_extension = ".txt"
[[datasets]]
resolution = [1024, 1024]
batch_size = 2
enable_bucket = true
  [[datasets.subsets]]
  image_dir = '{photos}/10_kaiffin puffin'
  num_repeats = 10
  class_tokens = 'kaiffin puffin'
  [[datasets.subsets]]
  is_reg = true
  image_dir = '{reg}/1_puffin'
"""


def test_a_command_line_of_sd_scripts(photos: Path, tmp_path: Path) -> None:
    data = tmp_path / "data.toml"
    data.write_text(DATA.format(photos=photos, reg=tmp_path / "reg"))
    made = take(SD_SCRIPTS.format(data=data))
    config = made.config
    assert (config.subject.token, config.subject.noun) == ("kaiffin", "puffin")
    assert config.train.steps == 4 * 10 // 2 * 8
    assert config.train.warmup == 16
    assert config.score.candidates == 4
    assert (config.adapter.rank, config.adapter.alpha) == (32, 16)
    assert config.adapter.targets == "all-linear+conv"
    assert {(rule.rank, rule.alpha) for rule in config.adapter.rules} == {(8, 4)}
    assert config.adapter.text_encoder
    assert (config.train.lr, config.train.text_lr) == (1e-4, 5e-5)
    assert config.train.betas == (0.9, 0.99)
    assert (config.data.prior.weight, config.data.prior.num_images) == (1, 3)
    assert (config.data.crop, config.data.upscale) == ("bucket", True)
    assert config.sample.clip_skip == 1
    assert told(made, "unknown") == {"flying_carpet"}
    assert {"shuffle_caption", "keep_tokens", "wandb_api_key"} <= told(made, "none")


def test_nothing_is_dropped_in_silence(photos: Path, tmp_path: Path) -> None:
    data = tmp_path / "data.toml"
    data.write_text(DATA.format(photos=photos, reg=tmp_path / "reg"))
    spoken = {part for one in take(SD_SCRIPTS.format(data=data)).findings
              for part in one.theirs.replace(",", " ").replace("--", "").split()}  # fmt: skip
    flags = [w[2:].partition("=")[0] for w in shlex.split(SD_SCRIPTS) if w.startswith("--")]
    assert set(flags) - {"dataset_config"} <= spoken


def test_what_is_left_out_there_has_their_default(photos: Path) -> None:
    made = take(f"accelerate launch train_network.py --train_data_dir={photos}")
    config = made.config
    assert (config.adapter.rank, config.adapter.alpha) == (4, 1)  # not alpha = rank
    assert (config.train.steps, config.train.schedule) == (1600, "constant")
    assert config.train.lr == 2e-6
    assert config.adapter.text_encoder
    assert (config.subject.token, config.data.format) == ("kaiffin", "kohya")
    assert "network_alpha" in told(made, "default")


def test_a_toml_of_sd_scripts_with_sections(photos: Path, tmp_path: Path) -> None:
    file = tmp_path / "kohya.toml"
    file.write_text(
        f"[model]\npretrained_model_name_or_path = 'runwayml/stable-diffusion-v1-5'\n"
        f"[folders]\ntrain_data_dir = '{photos}'\n[network]\nnetwork_module = 'lycoris.kohya'\n"
        "network_args = ['algo=loha', 'preset=full']\nnetwork_train_unet_only = true\n"
        "[train]\nmax_grad_norm = 0\noptimizer_type = 'DAdaptation'\n"
    )
    made = take(str(file))
    assert made.config.base.name == "sd15"  # that repository is gone
    assert made.config.adapter.kind == "loha"
    assert not made.config.adapter.text_encoder
    assert {"optimizer_type", "network_args"} <= told(made, "none")


def test_the_gui_of_kohya(photos: Path, tmp_path: Path) -> None:
    file = tmp_path / "gui.json"
    file.write_text(json.dumps({
        "LoRA_type": "LyCORIS/LoKr", "pretrained_model_name_or_path": "sdxl", "sdxl": True,
        "train_data_dir": str(photos), "reg_data_dir": "", "max_resolution": "1024,1024",
        "network_dim": 16, "network_alpha": 8, "conv_dim": 1, "conv_alpha": 1, "factor": -1,
        "optimizer": "Prodigy", "optimizer_args": "decouple=True", "learning_rate": 1,
        "unet_lr": 1, "text_encoder_lr": 0, "lr_scheduler": "cosine", "lr_warmup": 10, "epoch": 1,
        "max_train_steps": "200", "train_batch_size": 1, "min_snr_gamma": 0, "clip_skip": 1,
        "flux1_checkbox": False, "t5xxl": "", "seed": "", "noise_offset": 0,
    }))  # fmt: skip
    config = take(str(file)).config
    assert config.adapter.kind == "lokr"
    assert (config.train.optimizer, config.train.lr, config.train.warmup) == ("prodigy", 1, 20)
    assert config.train.steps == 200
    assert not config.adapter.text_encoder
    assert config.train.objective.min_snr_gamma is None


DREAMBOOTH = (
    "accelerate launch {script} --pretrained_model_name_or_path={base} --instance_data_dir={photos}"
    " --output_dir=lora-dog --instance_prompt='a photo of sks dog in a bucket'"
    " --train_batch_size=1 --gradient_accumulation_steps=4 --learning_rate=1e-4"
    " --lr_scheduler=constant --lr_warmup_steps=0 --max_train_steps=500 --seed=0"
    " --validation_prompt='A photo of sks dog at a lake' --push_to_hub {more}"
)


def dreambooth(photos: Path, script: str = "train_dreambooth_lora.py", more: str = "") -> Imported:
    return take(DREAMBOOTH.format(script=script, base="miniature", photos=photos, more=more))


def test_a_command_line_of_diffusers(photos: Path) -> None:
    made = dreambooth(photos, more="--with_prior_preservation --class_prompt='a photo of dog'")
    config = made.config
    assert config.data.template == "a photo of {token} {noun} in a bucket"
    assert (config.subject.token, config.subject.noun) == ("sks", "dog")
    assert config.sample.preview_prompts == ("A photo of {token} {noun} at a lake",)
    assert (config.adapter.rank, config.adapter.alpha, config.adapter.targets) == (
        4, 4, "attention",
    )  # fmt: skip
    assert (config.data.resolution, config.train.accumulate) == (512, 4)
    assert (config.data.prior.weight, config.data.prior.num_images) == (1, 100)
    assert config.data.prior.prompt == "a photo of dog"
    assert "push_to_hub" in told(made, "none")


def test_the_advanced_script_with_pivotal_tuning(photos: Path) -> None:
    script = "train_dreambooth_lora_sdxl_advanced.py"
    more = "--train_text_encoder_ti --token_abstraction=TOK --optimizer=prodigy --use_dora"
    config = dreambooth(photos, script, more).config
    assert (config.embedding.vectors, config.subject.token) == (2, "TOK")
    assert (config.train.optimizer, config.adapter.kind) == ("prodigy", "dora")
    assert config.data.resolution == 1024


def test_ai_toolkit(photos: Path, tmp_path: Path) -> None:
    file = tmp_path / "train.yaml"
    process = {
        "type": "sd_trainer", "trigger_word": "k4iffin", "device": "cuda:0",
        "network": {"type": "lora", "linear": 16, "linear_alpha": 8},
        "save": {"dtype": "float16", "save_every": 250},
        "datasets": [{"folder_path": str(photos), "caption_ext": "txt", "resolution": [512, 768],
                      "shuffle_tokens": False, "caption_dropout_rate": 0.05}],
        "train": {"steps": 1000, "lr": 1e-4, "optimizer": "adamw8bit", "dtype": "bf16",
                  "noise_scheduler": "ddpm", "ema_config": {"use_ema": True, "ema_decay": 0.99}},
        "model": {"name_or_path": "sdxl", "is_xl": True},
        "sample": {"sample_every": 250, "width": 768, "height": 512, "walk_seed": True,
                   "prompts": ["[trigger] on a cliff"]},
    }  # fmt: skip
    file.write_text(
        yaml.safe_dump({"job": "extension", "config": {"name": "a", "process": [process]}})
    )
    made = take(str(file))
    config = made.config
    assert (config.subject.token, config.data.resolution) == ("k4iffin", 768)
    assert (config.adapter.rank, config.adapter.alpha) == (16, 8)
    assert (config.score.candidates, config.train.ema) == (4, 0.99)
    assert config.sample.preview_prompts == ("{token} on a cliff",)
    assert config.sample.size == (768, 512)
    assert "sample.walk_seed" in told(made, "none")
    process["model"] = {"name_or_path": "black-forest-labs/FLUX.1-dev", "is_flux": True}
    file.write_text(yaml.safe_dump({"config": {"process": [process]}}))
    with pytest.raises(UserError, match=r"another model .flux"):
        take(str(file))


def test_onetrainer(photos: Path, tmp_path: Path) -> None:
    concepts = tmp_path / "concepts.json"
    folder = photos / "10_kaiffin puffin"
    concepts.write_text(json.dumps([{"path": str(folder), "balancing": 5,
                                     "image": {"enable_random_flip": True}}]))  # fmt: skip
    preset: Mapping[str, Any] = {
        "base_model_name": "sd15", "batch_size": 4, "layer_filter_preset": "attn-mlp",
        "learning_rate": 3e-4, "model_type": "STABLE_DIFFUSION_15", "resolution": "512",
        "training_method": "LORA", "epochs": 10, "concept_file_name": str(concepts),
        "unet": {"weight_dtype": "FLOAT_16"}, "loss_weight_fn": "MIN_SNR_GAMMA",
        "optimizer": {"optimizer": "PRODIGY", "weight_decay": 0.05},
        "learning_rate_scheduler": "COSINE", "cloud": {"enabled": False},
    }  # fmt: skip
    file = tmp_path / "preset.json"
    file.write_text(json.dumps(preset))
    config = take(str(file), **{"subject.token": "kaiffin"}).config
    assert (config.adapter.rank, config.adapter.alpha) == (16, 1)
    assert config.train.steps == 4 * 5 // 4 * 10
    assert (config.data.flip, config.data.crop) == (True, "bucket")
    assert config.train.objective.min_snr_gamma == 5
    assert config.adapter.text_encoder
    assert config.train.optimizer == "prodigy"
    file.write_text(json.dumps({**preset, "training_method": "FINE_TUNE"}))
    with pytest.raises(UserError, match="no adapter"):
        take(str(file))


@pytest.mark.parametrize("program", TABLES)
def test_the_tables_name_settings_that_are_there(program: str) -> None:
    known = set(dict(fields())) | {"phases[].train", "data.prior"}
    for row in TABLES[program].ROWS:  # type: ignore[index]
        for word in row.ours.replace(",", " ").replace(":", " ").split():
            if "." in word and not word.startswith("."):
                assert word in known, row


def test_the_written_config_is_the_one_that_was_made(photos: Path, tmp_path: Path) -> None:
    made = dreambooth(photos)
    file = tmp_path / "made.yaml"
    file.write_text(written(made, "a command line"))
    assert load(file) == made.config
    assert "#   push_to_hub: `kaiffin publish" in file.read_text()


def test_the_command(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    text = DREAMBOOTH.format(script="train_dreambooth_lora.py", base="miniature", more="",
                             photos=photos / "10_kaiffin puffin")  # fmt: skip
    (tmp_path / "dog.sh").write_text(text + " --hub_token=hf_hidden\n")
    words = ["--steps", "20", "--data.resolution", "64", "--base.dtype", "fp32"]
    assert main(["import", "dog.sh", *words]) == 0
    shown = capsys.readouterr().out
    assert "no counterpart" in shown
    assert "kaiffin train dog.yaml --dry-run" in shown
    assert "hf_hidden" not in shown + (tmp_path / "dog.yaml").read_text()
    assert load(tmp_path / "dog.yaml").train.steps == 20
    assert main(["import", "dog.sh"]) == 2  # is there already
    with pytest.raises(UserError, match="is no file and no command line"):
        import_training("nothing.toml")


def test_the_page_of_all_settings(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["import", "--table"]) == 0
    assert capsys.readouterr().out.strip() == tables()
    assert "| `network_alpha` | `adapter.alpha` | left out there: 1.0 |" in tables()
