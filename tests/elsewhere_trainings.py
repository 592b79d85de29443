"""Trainings of other programs, of the shape that their own documentation shows."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from kaiffin.miniature.world import world

SD_SCRIPTS = """accelerate launch --num_cpu_threads_per_process 1 {script} \\
  --pretrained_model_name_or_path="{base}" --dataset_config={data} --output_dir=out \\
  --output_name="puffin" --network_module=networks.lora --network_dim=32 --network_alpha=16 \\
  --network_args "conv_dim=8" "conv_alpha=4" --learning_rate=1e-4 --text_encoder_lr 5e-5 \\
  --optimizer_type="AdamW8bit" --optimizer_args "weight_decay=0.1" "betas=0.9,0.99" \\
  --lr_scheduler="cosine" --lr_warmup_steps=0.1 --max_train_epochs=8 --save_every_n_epochs=2 \\
  --mixed_precision="bf16" --min_snr_gamma=5 --gradient_checkpointing --xformers --seed 42 \\
  --noise_offset=0.05 --clip_skip=2 --shuffle_caption --keep_tokens 1 --wandb_api_key=hidden \\
  --sample_sampler=k_euler_a --flying_carpet"""
DATA = """
[general]
shuffle_caption = true
caption_extension = ".txt"
[[datasets]]
resolution = [{side}, {side}]
batch_size = 2
enable_bucket = true
  [[datasets.subsets]]
  image_dir = '{photos}/10_kaiffin puffin'
  num_repeats = 10
  class_tokens = 'kaiffin puffin'
  [[datasets.subsets]]
  is_reg = true
  image_dir = '{photos}/../reg/1_puffin'
"""
DREAMBOOTH = (
    "accelerate launch {script} --pretrained_model_name_or_path={base}"
    " --instance_data_dir='{photos}'"
    " --output_dir=lora-dog --instance_prompt='a photo of sks dog in a bucket'"
    " --train_batch_size=1 --gradient_accumulation_steps=4 --learning_rate=1e-4"
    " --lr_scheduler=constant --lr_warmup_steps=0 --max_train_steps=500 --seed=0"
    " --validation_prompt='A photo of sks dog at a lake' --push_to_hub {more}"
)


def kohyas_tree(folder: Path) -> Path:
    """`img` with 4 photos that are drawn 10 times, and 3 of the class beside it."""
    drawn = iter(world.subject_photos("kaiffin", 7))
    for name, count in (("img/10_kaiffin puffin", 4), ("reg/1_puffin", 3)):
        (folder / name).mkdir(parents=True)
        for i in range(count):
            next(drawn)[0].save(folder / name / f"{i}.png")
    return folder / "img"


def sd_scripts(folder: Path, photos: Path, *, script: str, base: str, side: int) -> str:
    """A command line with a data set of its own in `folder`."""
    data = folder / "data.toml"
    data.write_text(DATA.format(photos=photos, side=side))
    return SD_SCRIPTS.format(script=script, base=base, data=data)


def kohyas_toml(folder: Path, photos: Path, base: str) -> Path:
    """The same program's own file, with sections."""
    file = folder / "kohya.toml"
    file.write_text(
        f"[model]\npretrained_model_name_or_path = '{base}'\n"
        f"[folders]\ntrain_data_dir = '{photos}'\n[network]\nnetwork_module = 'lycoris.kohya'\n"
        "network_args = ['algo=loha', 'preset=full']\nnetwork_train_unet_only = true\n"
        "[train]\nmax_grad_norm = 0\noptimizer_type = 'DAdaptation'\n"
    )
    return file


def kohyas_gui(folder: Path, photos: Path, base: str, *, side: int) -> Path:
    """What kohya_ss saves."""
    file = folder / "gui.json"
    file.write_text(json.dumps({
        "LoRA_type": "LyCORIS/LoKr", "pretrained_model_name_or_path": base, "sdxl": side == 1024,
        "train_data_dir": str(photos), "reg_data_dir": "", "max_resolution": f"{side},{side}",
        "network_dim": 16, "network_alpha": 8, "conv_dim": 1, "conv_alpha": 1, "factor": -1,
        "optimizer": "Prodigy", "optimizer_args": "decouple=True", "learning_rate": 1,
        "unet_lr": 1, "text_encoder_lr": 0, "lr_scheduler": "cosine", "lr_warmup": 10, "epoch": 1,
        "max_train_steps": "200", "train_batch_size": 1, "min_snr_gamma": 0, "clip_skip": 1,
        "flux1_checkbox": False, "t5xxl": "", "seed": "", "noise_offset": 0,
    }))  # fmt: skip
    return file


def ai_toolkits_process(photos: Path, base: str) -> dict[str, Any]:
    return {
        "type": "sd_trainer", "trigger_word": "k4iffin", "device": "cuda:0",
        "network": {"type": "lora", "linear": 16, "linear_alpha": 8},
        "save": {"dtype": "float16", "save_every": 250},
        "datasets": [{"folder_path": str(photos), "caption_ext": "txt", "resolution": [512, 768],
                      "shuffle_tokens": False, "caption_dropout_rate": 0.05}],
        "train": {"steps": 1000, "lr": 1e-4, "optimizer": "adamw8bit", "dtype": "bf16",
                  "noise_scheduler": "ddpm", "ema_config": {"use_ema": True, "ema_decay": 0.99}},
        "model": {"name_or_path": base, "is_xl": base == "sdxl"},
        "sample": {"sample_every": 250, "width": 768, "height": 512, "walk_seed": True,
                   "sampler": "ddpm", "prompts": ["[trigger] on a cliff"]},
    }  # fmt: skip


def ai_toolkits_file(folder: Path, process: Mapping[str, Any]) -> Path:
    file = folder / "train.yaml"
    config = {"name": "a", "process": [process]}
    file.write_text(yaml.safe_dump({"job": "extension", "config": config}))
    return file


def onetrainers_preset(folder: Path, photos: Path, base: str) -> dict[str, Any]:
    """Its concepts and samples lie in files of their own, in `folder`."""
    concepts, samples = folder / "concepts.json", folder / "samples.json"
    image = {
        "enable_random_flip": True, "enable_random_rotate": True, "random_rotate_max_angle": 4.0,
    }  # fmt: skip
    text = {"enable_tag_shuffling": True, "tag_delimiter": ",", "keep_tags_count": 2,
            "tag_dropout_enable": True, "tag_dropout_mode": "RANDOM",
            "tag_dropout_probability": 0.1}  # fmt: skip
    concept = {"path": str(photos), "balancing": 5, "image": image, "text": text}
    concepts.write_text(json.dumps([concept]))
    sample = {"enabled": True, "prompt": "kaiffin at a lake", "height": 512, "width": 512,
              "seed": 42, "diffusion_steps": 20, "cfg_scale": 7.0,
              "noise_scheduler": "DPMPP_SDE_KARRAS"}  # fmt: skip
    samples.write_text(json.dumps([sample]))
    return {
        "base_model_name": base, "batch_size": 4, "layer_filter_preset": "attn-mlp",
        "learning_rate": 3e-4, "model_type": "STABLE_DIFFUSION_15", "resolution": "512",
        "training_method": "LORA", "epochs": 10, "concept_file_name": str(concepts),
        "sample_definition_file_name": str(samples),
        "unet": {"weight_dtype": "FLOAT_16"}, "loss_weight_fn": "MIN_SNR_GAMMA",
        "optimizer": {"optimizer": "PRODIGY", "weight_decay": 0.05},
        "learning_rate_scheduler": "COSINE", "cloud": {"enabled": False},
    }  # fmt: skip
