"""diffusers' example scripts for LoRA: their flags. Torch-free.

Read in diffusers at 58eb52c (August 2026): train_dreambooth_lora, its SDXL and advanced variants,
train_text_to_image_lora and its SDXL variant. Where their defaults differ, the script decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kaiffin.foundation.trainers import common
from kaiffin.foundation.trainers.rows import (
    Draft,
    choice,
    made,
    needless,
    none,
    number,
    same,
    switch,
    together,
    whole,
)

TITLE = "diffusers' scripts"
TABLES = "a folder with metadata.jsonl, lines of file_name and text, is read; data sets of the hub"
HOW = "how the program runs, not what it learns"

ROWS = (
    made("pretrained_model_name_or_path", "base.name", common.base),
    same("pretrained_vae_model_name_or_path", "base.vae"),
    together("revision", "base.name, as ORG/NAME@REVISION"),
    needless("variant", "the smaller files are taken for half precision"),
    together("instance_data_dir train_data_dir", "data.photos"),
    none("dataset_name dataset_config_name", f"{TABLES} are not"),
    none("image_column caption_column", f"{TABLES} are not; columns file_name and text"),
    together("instance_prompt", "subject.token, subject.noun, data.template"),
    together("class_prompt", "data.prior.prompt"),
    together("with_prior_preservation", "data.prior.weight"),
    together("class_data_dir", "data.prior.weight", note="the base makes the pictures itself"),
    together("prior_loss_weight", "data.prior.weight", 1.0),
    together("num_class_images", "data.prior.num_images", 100),
    needless("sample_batch_size prior_generation_precision", HOW),
    together("repeats", "counted into the steps"),
    none("max_train_samples", "put the photos that are meant into a folder of their own"),
    together("resolution", "data.resolution", note="512; SDXL's scripts: 1024"),
    together("center_crop", "data.crops", note="fixed with it, random without"),
    switch("random_flip", "data.flip"),
    needless("image_interpolation_mode", "Lanczos"),
    whole("rank", "adapter.rank", 4, "adapter.alpha is the same there"),
    made("lora_dropout", "adapter.dropout", common.dropout),
    together("use_dora", "adapter.kind dora"),
    none("use_blora lora_unet_blocks", "adapter.targets takes patterns over names of layers"),
    together("train_text_encoder", "adapter.text_encoder"),
    together("text_encoder_lr", "train.text_lr", note="5e-6 there, with AdamW as with Prodigy"),
    none("train_text_encoder_frac train_text_encoder_ti_frac",
         "phases end a part's training: phases[].train"),
    together("train_text_encoder_ti num_new_tokens_per_abstraction token_abstraction",
             "embedding.vectors, subject.token"),
    number("learning_rate", "train.lr", 1e-4, "1e-4; train_dreambooth_lora: 5e-4"),
    together("max_train_steps num_train_epochs", "train.steps"),
    together("train_batch_size", "train.batch_size", note="4; train_text_to_image_lora: 16"),
    whole("gradient_accumulation_steps", "train.accumulate"),
    none("scale_lr", "multiply --train.lr by batch, accumulation and devices yourself"),
    choice("optimizer", "train.optimizer", common.OPTIMIZERS, otherwise=common.NO_OPTIMIZER),
    together("use_8bit_adam", "train.optimizer adamw8bit"),
    together("adam_beta1 adam_beta2 prodigy_beta3", "train.betas"),
    number("adam_weight_decay", "train.weight_decay", None, "1e-4 or 0.01 there, by the script"),
    none("adam_weight_decay_text_encoder", "train.weight_decay is one for all"),
    none("adam_epsilon", "1e-8, as PyTorch has it"),
    none("prodigy_decouple prodigy_use_bias_correction prodigy_safeguard_warmup",
         "decoupled and safeguarded, as there by default; without bias correction"),
    together("lr_scheduler lr_num_cycles lr_power", "train.schedule", "constant"),
    together("lr_warmup_steps", "train.warmup", 500),
    made("max_grad_norm", "train.clip", common.clip),
    number("snr_gamma", "train.objective.min_snr_gamma"),
    number("noise_offset", "train.objective.noise_offset"),
    needless("prediction_type", "the base says itself what it predicts"),
    none("do_edm_style_training", "the base's own noise is trained on"),
    made("mixed_precision", "train.precision, base.dtype", common.precision),
    switch("gradient_checkpointing", "train.gradient_checkpointing"),
    whole("seed", "train.seed", note="drawn there where it is left out"),
    made("clip_skip", "sample.clip_skip", lambda value: common.clip_skip(float(value) + 1)),
    none("class_labels_conditioning tokenizer_max_length tokenizer_name"
         " text_encoder_use_attention_mask", "SD 1.x and SDXL have no such thing"),
    whole("checkpointing_steps", "train.checkpoint_every", 500),
    whole("checkpoints_total_limit", "train.keep"),
    none("resume_from_checkpoint", "`kaiffin resume RUN` goes on with a run of Kaiffin's"),
    together("validation_prompt", "sample.preview_prompts"),
    together("validation_epochs", "sample.preview_every", 50),
    needless("num_validation_images validation_images", "a preview has a picture of each prompt"),
    together("output_dir", "--out"),
    needless("output_kohya_format", "always: <token>.safetensors is kohya's layout"),
    none("push_to_hub hub_model_id hub_token", "`kaiffin publish RUN --to hub:NAME` afterwards"),
    together("report_to", "train.tensorboard"),
    needless("logging_dir cache_dir local_rank dataloader_num_workers allow_tf32 cache_latents"
             " enable_xformers_memory_efficient_attention enable_npu_flash_attention debug_loss"
             " pre_compute_text_embeddings", HOW),
)  # fmt: skip


def flat(raw: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    return dict(raw), []


def finish(draft: Draft, script: str = "") -> None:
    """What is said by several flags together. script: its name, since defaults go by it."""
    settings = draft.settings
    alpha = float(settings.get("adapter.rank") or 4)
    draft.imply({"adapter.targets": "attention", "adapter.alpha": alpha}, "alpha is the rank")
    draft.imply({"data.upscale": True}, "small photos are enlarged")
    if draft.on("use_dora"):
        draft.take("use_dora", {"adapter.kind": "dora"})
    size = draft.value("resolution", 1024 if "sdxl" in script else 512)
    taken = common.resolution(size)
    draft.take("resolution", taken.settings, taken.note)
    batch = draft.value("train_batch_size", 16 if "text_to_image" in script else 4)
    draft.take("train_batch_size", {"train.batch_size": int(batch)})
    if script == "train_dreambooth_lora.py" and draft.given.get("learning_rate") is None:
        draft.take("learning_rate", {"train.lr": 5e-4})
    if draft.value("revision"):
        name = f"{settings.get('base.name')}@{draft.value('revision')}"
        draft.take("revision", {"base.name": name})
    if not draft.on("center_crop"):
        note = "random crops there, too; data.variants of a photo, up to 1.25 times nearer"
        draft.take("center_crop", {"data.crop": "square", "data.crops": "random"}, note)
    _subject(draft)
    _photos(draft)
    _text(draft)
    _learning(draft)
    _pictures(draft)


def _subject(draft: Draft) -> None:
    prompt, plain = draft.value("instance_prompt"), draft.value("class_prompt", "")
    if not prompt:
        draft.miss("instance_prompt", "the subject's word is not told: give --subject and --class")
        return
    found = common.subject_of_prompt(str(prompt), str(plain))
    word = f"{found['subject.token']!r} is taken for the subject's word"
    sure = common.RARE.fullmatch(found["subject.token"]) or plain
    draft.take("instance_prompt", found, "" if sure else f"{word}; else give --subject, --class")
    if draft.given.get("dataset_name") is None and not draft.value("caption_column"):
        draft.imply({"data.ignore_captions": True}, "one prompt for every photo")
    if draft.on("with_prior_preservation"):
        draft.take("with_prior_preservation", {
            "data.prior.weight": draft.number("prior_loss_weight"),
            "data.prior.num_images": int(draft.number("num_class_images") or 100),
        }, "the base makes its class pictures itself")  # fmt: skip
        draft.take("class_prompt", {"data.prior.prompt": str(plain)} if plain else {})
    else:
        draft.imply({"data.prior.weight": 0.0}, "no class pictures without that flag")


def _photos(draft: Draft) -> None:
    name = "instance_data_dir" if draft.value("instance_data_dir") else "train_data_dir"
    folder = draft.ours.get("data.photos") or draft.value(name)
    if not folder:
        draft.miss(name, "no folder of photos is named: give data.photos")
        return
    draft.take(name, {"data.photos": str(folder)})


def _text(draft: Draft) -> None:
    if draft.on("train_text_encoder_ti"):
        number = draft.value("num_new_tokens_per_abstraction", 2)
        token = str(draft.value("token_abstraction", "TOK"))
        settings = {"embedding.vectors": int(number), "subject.token": token}
        if not draft.settings.get("subject.noun"):
            settings["embedding.init"] = "thing"
        draft.take("train_text_encoder_ti", settings, "it starts from the words of the noun")
    if draft.on("train_text_encoder"):
        rate = draft.number("text_encoder_lr") or 5e-6
        if draft.value("text_encoder_lr") is None and draft.value("optimizer") is None:
            rate = draft.settings.get("train.lr", rate)  # train_dreambooth_lora has one for both
        draft.take("train_text_encoder", {"adapter.text_encoder": True, "train.text_lr": rate})


def _learning(draft: Draft) -> None:
    if draft.on("use_8bit_adam") and draft.settings.get("train.optimizer", "adamw") == "adamw":
        draft.take("use_8bit_adam", {"train.optimizer": "adamw8bit"})
    betas = [draft.number(name) for name in ("adam_beta1", "adam_beta2")]
    if any(betas):
        draft.take("adam_beta1, adam_beta2", {"train.betas": [betas[0] or 0.9, betas[1] or 0.999]})
    if draft.value("prodigy_beta3") is not None:
        draft.miss("prodigy_beta3", "the root of the second beta, as there by default")
    folder = draft.settings.get("data.photos")
    if draft.number("max_train_steps"):
        draft.take("max_train_steps", {"train.steps": int(draft.number("max_train_steps") or 0)})
    else:
        repeats = int(draft.number("repeats") or 1)
        common.steps_of_epochs(draft, "num_train_epochs", Path(folder) if folder else None, repeats)
    name = str(draft.value("lr_scheduler", "constant")).lower()
    common.scheduler(draft, "lr_scheduler", name, draft.number("lr_num_cycles"))
    if draft.given.get("lr_warmup_steps") is not None or name != "constant":
        common.warmup(draft, "lr_warmup_steps", name)


def _pictures(draft: Draft) -> None:
    if draft.value("validation_prompt"):
        prompt = common.with_marks(str(draft.value("validation_prompt")), draft)
        draft.take("validation_prompt", {"sample.preview_prompts": [prompt]})
        every = draft.settings.get("train.checkpoint_every", 500)
        draft.take("validation_epochs", {"sample.preview_every": every}, "at every checkpoint")
    if draft.value("output_dir"):
        name = Path(str(draft.value("output_dir"))).name
        draft.take("output_dir", {}, f"say `kaiffin train ... --out runs/{name}`")
    if str(draft.value("report_to", "tensorboard")) not in ("tensorboard", "all"):
        draft.miss("report_to", "TensorBoard, metrics.jsonl and `kaiffin report` are here")
