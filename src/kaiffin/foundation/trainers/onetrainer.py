"""OneTrainer: its JSON by dotted names, as in `unet.learning_rate`. Torch-free.

Read in OneTrainer at 23df3832 (August 2026): names and defaults alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kaiffin.foundation.trainers import common
from kaiffin.foundation.trainers.rows import (
    Draft,
    Taken,
    Unlike,
    as_kind,
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

TITLE = "OneTrainer"
HOW = "how the program runs, not what it learns"
MODELS = ("STABLE_DIFFUSION_15", "STABLE_DIFFUSION_XL_10_BASE")
FILTERS = {"full": "all-linear+conv", "attn-mlp": "attention+ff", "attn-only": "attention"}


def _layers(value: Any) -> Taken:
    word = str(value).lower()
    if word not in FILTERS:
        raise Unlike("adapter.targets takes a preset or patterns such as *.attn2.to_k")
    return Taken({"adapter.targets": FILTERS[word]})


def _weighting(value: Any) -> Taken:
    if str(value).upper() in ("CONSTANT", "MIN_SNR_GAMMA"):
        return Taken({})
    raise Unlike("train.objective.min_snr_gamma 5 is the weighting that there is")


ROWS = (
    made("base_model_name", "base.name", common.base),
    same("vae.model_name", "base.vae"),
    needless("model_type training_method", "SD 1.5 or SDXL, LoRA or embedding; others are refused"),
    together("concepts concept_file_name", "data.photos, data.template, data.flip"),
    made("resolution", "data.resolution", common.resolution, "512"),
    made("aspect_ratio_bucketing", "data.crop", common.buckets, True),
    needless("latent_caching clear_cache_before_training", "always kept, by content"),
    together("masked_training", "data.masks folder", note="masks are <photo>-masklabel.png"),
    none("unmasked_probability unmasked_weight normalize_masked_area_loss"
         " masked_prior_preservation_weight", "what the mask leaves out weighs nothing here"),
    together("peft_type lora_decompose", "adapter.kind"),
    whole("lora_rank", "adapter.rank", 16),
    number("lora_alpha", "adapter.alpha", 1.0),
    same("lora_model_name", "adapter.init_from"),
    made("layer_filter_preset", "adapter.targets", _layers, "full"),
    together("layer_filter layer_filter_regex", "adapter.targets, as patterns"),
    made("dropout_probability", "adapter.dropout", common.dropout),
    none("lora_weight_dtype lora_decompose_norm_epsilon lora_decompose_output_axis",
         "the adapter itself is fp32"),
    none("oft_block_size oft_block_share oft_scaled lokr_dim lokr_decompose_both"
         " lokr_decompose_factor lokr_use_tucker lokr_weight_decompose lokr_full_matrix"
         " lokr_vec_trick lokr_dora_on_output", "adapter.kind with adapter.rank is what there is"),
    number("learning_rate", "train.lr", 3e-6),
    number("unet.learning_rate", "train.lr"),
    together("text_encoder.train text_encoder.learning_rate text_encoder_2.train"
             " text_encoder_2.learning_rate", "adapter.text_encoder, train.text_lr", True),
    none("text_encoder.stop_training_after text_encoder_2.stop_training_after"
         " unet.stop_training_after text_encoder.stop_training_after_unit"
         " text_encoder_2.stop_training_after_unit unet.stop_training_after_unit",
         "phases end a part's training: phases[].train"),
    none("unet.train", "phases say what is trained: phases[].train"),
    together("epochs", "train.steps", 100),
    whole("batch_size", "train.batch_size", 1),
    whole("gradient_accumulation_steps", "train.accumulate"),
    none("learning_rate_scaler", "multiply --train.lr yourself"),
    choice("optimizer.optimizer", "train.optimizer", common.OPTIMIZERS, "adamw",
           otherwise=common.NO_OPTIMIZER),
    number("optimizer.weight_decay", "train.weight_decay"),
    together("optimizer.beta1 optimizer.beta2", "train.betas"),
    choice("learning_rate_scheduler", "train.schedule", common.SCHEDULES, "constant",
           otherwise=common.NO_SCHEDULE),
    together("learning_rate_warmup_steps", "train.warmup", 200),
    none("learning_rate_cycles learning_rate_min_factor custom_learning_rate_scheduler"
         " scheduler_params", common.NO_SCHEDULE),
    made("clip_grad_norm", "train.clip", common.clip),
    made("loss_weight_fn", "train.objective.min_snr_gamma", _weighting),
    together("loss_weight_strength", "train.objective.min_snr_gamma", 5.0),
    together("mse_strength mae_strength huber_strength log_cosh_strength", "train.objective.loss"),
    number("huber_delta", "train.objective.huber_delta"),
    needless("vb_loss_strength loss_scaler", "of other models"),
    number("offset_noise_weight", "train.objective.noise_offset"),
    none("perturbation_noise_weight generalized_offset_noise min_noising_strength"
         " max_noising_strength timestep_distribution noising_weight noising_bias timestep_shift"
         " dynamic_timestep_shifting", "all noise levels are drawn alike, noise is plain"),
    none("rescale_noise_scheduler_to_zero_terminal_snr force_v_prediction"
         " force_epsilon_prediction", "the base says itself what it predicts"),
    together("ema ema_decay ema_update_step_interval", "train.ema"),
    made("train_dtype", "train.precision, base.dtype", common.precision, "FLOAT_16"),
    none("unet.weight_dtype text_encoder.weight_dtype text_encoder_2.weight_dtype"
         " vae.weight_dtype", "base.dtype is one for all; base.quantize int8 or nf4"),
    switch("unet.gradient_checkpointing gradient_checkpointing", "train.gradient_checkpointing",
           True),
    none("text_encoder_layer_skip text_encoder_2_layer_skip",
         "trainings read the last layer (SDXL: the penultimate)"),
    together("embedding.placeholder embedding.token_count embedding.initial_embedding_text",
             "subject.token, embedding.vectors, embedding.init"),
    number("embedding_learning_rate", "embedding.lr"),
    none("additional_embeddings preserve_embedding_norm", "one token is learnt"),
    together("samples sample_definition_file_name", "sample.preview_prompts"),
    together("sample_after sample_after_unit", "sample.preview_every"),
    together("save_every save_every_unit", "score.candidates"),
    together("backup_after backup_after_unit", "train.checkpoint_every"),
    whole("rolling_backup_count", "train.keep"),
    needless("rolling_backup backup_before_save continue_last_backup", "`kaiffin resume RUN`"),
    none("output_dtype", "files are written in fp32: exact, and every program reads them"),
    needless("output_model_format", "kohya's layout in .safetensors"),
    together("output_model_destination", "--out"),
    none("validation validate_after validate_after_unit",
         "train.validate_every with data.hold_out"),
    switch("tensorboard", "train.tensorboard"),
    needless("__version debug_mode debug_dir workspace_dir cache_dir tensorboard_expose"
             " tensorboard_port tensorboard_always_on include_train_config prevent_overwrites"
             " train_device temp_device fallback_train_dtype enable_autocast_cache only_cache"
             " dataloader_threads attention_mechanism compile async_offloading"
             " layer_offload_fraction sample_skip_first sample_image_format sample_video_format"
             " sample_audio_format samples_to_tensorboard non_ema_sampling save_skip_first"
             " save_filename_prefix force_circular_padding bundle_additional_embeddings"
             " embedding_weight_dtype weight_dtype frames multi_gpu device_indexes", HOW),
)  # fmt: skip

# Whole sections of other models, of the cloud and of each optimizer's own defaults.
LEFT = ("prior.", "transformer.", "unconditional_transformer.", "text_encoder_3", "text_encoder_4",
        "effnet_encoder.", "decoder", "cloud.", "secrets.", "optimizer_defaults", "quantization.",
        "unet.", "text_encoder", "vae.", "embedding.", "gradient_reduce", "fused_gradient",
        "async_gradient", "huggingface_cache", "offline_mode", "custom_conditioning")  # fmt: skip


def flat(raw: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """By dotted names; raises for a training of another model or method."""
    model = str(raw.get("model_type", MODELS[0]))
    method = str(raw.get("training_method", "FINE_TUNE"))
    if model not in MODELS:
        raise common.refuse(f"for another model ({model})", TITLE)
    if method not in ("LORA", "EMBEDDING"):
        raise common.refuse(f"no adapter ({method})", TITLE)
    given: dict[str, Any] = {}
    for name, value in raw.items():
        nested = isinstance(value, Mapping)
        given |= {f"{name}.{k}": v for k, v in value.items()} if nested else {name: value}
    known = {name for row in ROWS for name in row.names}
    kept = {k: v for k, v in given.items() if k in known or not k.startswith(LEFT)}
    concepts = _concepts(kept)
    return kept, [str(one.get("path")) for one in concepts[1:]]


def _listed(given: Mapping[str, Any], name: str, file: str) -> list[dict[str, Any]] | None:
    """What stands in the file itself or in another one beside it; None where that is not here."""
    if given.get(name):
        return list(given[name])
    path = Path(str(given.get(file) or ""))
    if not path.is_file():
        return None
    return list(json.loads(path.read_text(encoding="utf-8")))


def _concepts(given: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Those that are learnt."""
    found = _listed(given, "concepts", "concept_file_name") or []
    wanted = [one for one in found if one.get("enabled", True)]
    return [one for one in wanted if one.get("type", "STANDARD") == "STANDARD"]


def finish(draft: Draft) -> None:
    """What is said by several settings together."""
    draft.imply({"data.prior.weight": 0.0, "data.upscale": True}, "small photos are enlarged")
    _kind(draft)
    _concept(draft)
    _text_encoder(draft)
    _learning(draft)
    _steps(draft)
    _pictures(draft)


def _kind(draft: Draft) -> None:
    kinds = {"LORA": "lora", "LOHA": "loha", "LOKR": "lokr", "OFT_2": "oft", "OFT": "oft"}
    name = str(draft.value("peft_type", "LORA"))
    kind = "dora" if draft.on("lora_decompose") and name == "LORA" else kinds.get(name, "lora")
    draft.take("peft_type, lora_decompose", {"adapter.kind": kind})
    patterns = [part.strip() for part in str(draft.value("layer_filter", "")).split(",")]
    patterns = [part for part in patterns if part]
    if patterns and not draft.on("layer_filter_regex"):
        draft.take("layer_filter", {"adapter.targets": ",".join(f"*{one}*" for one in patterns)})
    elif patterns:
        draft.miss("layer_filter", "a regular expression: write glob patterns in adapter.targets")
    if str(draft.value("training_method")) == "EMBEDDING":
        word = draft.value("embedding.placeholder", "<embedding>")
        draft.take("embedding.placeholder", {
            "subject.token": word,
            "embedding.vectors": int(draft.number("embedding.token_count") or 1),
            "embedding.init": str(draft.value("embedding.initial_embedding_text", "*")),
            "embedding.train": "alone",
        })  # fmt: skip


def _concept(draft: Draft) -> None:
    concepts = _concepts(draft.given)
    if not concepts and draft.ours.get("data.photos"):
        draft.take("concept_file_name", {"data.photos": str(draft.ours["data.photos"])})
        return
    if not concepts:
        file = draft.value("concept_file_name", "concepts")
        draft.miss("concept_file_name", f"{file} is not here: give data.photos, --subject, --class")
        return
    first = concepts[0]
    text, image = first.get("text") or {}, first.get("image") or {}
    settings: dict[str, Any] = {"data.photos": str(first.get("path"))}
    notes = []
    if image.get("enable_random_flip"):
        settings["data.flip"] = True
    source = text.get("prompt_source", "sample")
    prompt = Path(str(text.get("prompt_path") or ""))
    if source == "concept" and prompt.is_file():
        lines = prompt.read_text(encoding="utf-8").splitlines()
        settings |= common.subject_of_prompt(lines[0] if lines else "")
        settings["data.ignore_captions"] = True
        notes.append("the first prompt of its file is the template")
    elif source != "sample":
        notes.append(f"prompts come from {source}: here from files beside the photos")
    settings |= _tags(text, notes)
    if image.get("enable_random_rotate"):
        settings["data.rotate"] = min(45.0, float(image.get("random_rotate_max_angle") or 0))
    augmented = [n for n, on in image.items() if on is True and n.startswith("enable_")]
    augmented = [n for n in augmented if n not in _AUGMENTED]
    if augmented:
        notes.append(f"no counterpart of {', '.join(augmented)}")
    if not settings.get("subject.token") and not draft.settings.get("subject.token"):
        notes.append("the subject's word is not told: give --subject and --class")
    draft.take("concepts", settings, "; ".join(notes))
    if draft.on("masked_training"):
        draft.take("masked_training", {"data.masks": "folder"})


_AUGMENTED = ("enable_random_flip", "enable_crop_jitter", "enable_random_rotate")


def _tags(text: Mapping[str, Any], notes: list[str]) -> dict[str, Any]:
    """What a concept says of the tags of its captions."""
    found: dict[str, Any] = {}
    if text.get("enable_tag_shuffling"):
        found["data.shuffle_tags"] = True
    if text.get("tag_dropout_enable"):
        if text.get("tag_dropout_mode", "FULL") == "RANDOM":
            found["data.tag_dropout"] = float(text.get("tag_dropout_probability") or 0)
        else:
            notes.append("all tags at once are dropped there: data.caption_dropout")
    if found:
        found["data.keep_tags"] = int(text.get("keep_tags_count", 1))
    if found and str(text.get("tag_delimiter", ",")).strip() != ",":
        notes.append("tags are parted by commas here")
    return found


def _text_encoder(draft: Draft) -> None:
    """Trained there unless it is switched off, with the UNet's rate unless it has its own."""
    parts = ["text_encoder", "text_encoder_2"]
    if str(draft.value("model_type", MODELS[0])) == MODELS[0]:
        parts.pop()
    trained = [one for one in parts if as_kind(draft.given.get(f"{one}.train", True), bool)]
    if not trained or str(draft.value("training_method")) == "EMBEDDING":
        draft.take("text_encoder.train", {"adapter.text_encoder": False})
        return
    rate = draft.number(f"{trained[0]}.learning_rate") or draft.settings["train.lr"]
    note = "" if len(trained) == len(parts) else "both text encoders are trained"
    draft.take("text_encoder.train", {"adapter.text_encoder": True, "train.text_lr": rate}, note)


def _learning(draft: Draft) -> None:
    betas = [draft.number(name) for name in ("optimizer.beta1", "optimizer.beta2")]
    if any(betas):
        pair = [betas[0] or 0.9, betas[1] or 0.999]
        draft.take("optimizer.beta1, optimizer.beta2", {"train.betas": pair})
    if str(draft.value("loss_weight_fn")).upper() == "MIN_SNR_GAMMA":
        gamma = {"train.objective.min_snr_gamma": draft.number("loss_weight_strength")}
        draft.take("loss_weight_strength", gamma)
    weights = {"mse": draft.number("mse_strength"), "l1": draft.number("mae_strength"),
               "huber": draft.number("huber_strength")}  # fmt: skip
    used = [name for name, weight in weights.items() if weight]
    if used:
        note = "one distance, not a mixture" if len(used) > 1 else ""
        draft.take("mse_strength, mae_strength, huber_strength",
                   {"train.objective.loss": used[0]}, note)  # fmt: skip
    if str(draft.value("ema", "OFF")) != "OFF":
        draft.take("ema, ema_decay", {"train.ema": draft.number("ema_decay") or 0.999})


def _steps(draft: Draft) -> None:
    folder = draft.settings.get("data.photos")
    concept = next(iter(_concepts(draft.given)), {})
    repeats = max(1, round(float(concept.get("balancing", 1))))
    common.steps_of_epochs(draft, "epochs", Path(folder) if folder else None, repeats)
    schedule = str(draft.value("learning_rate_scheduler", "CONSTANT")).lower()
    warm = draft.number("learning_rate_warmup_steps")
    steps = draft.settings.get("train.steps")
    if warm and steps and warm < steps:
        draft.take("learning_rate_warmup_steps", {"train.warmup": int(warm)})
    elif warm:
        draft.miss(
            "learning_rate_warmup_steps", f"{warm:g} of {steps or 'unknown'} steps: {schedule}"
        )
    for kind, ours in (("sample_after", "sample.preview_every"),
                       ("backup_after", "train.checkpoint_every")):  # fmt: skip
        every = _in_steps(draft, kind)
        if every:
            draft.take(kind, {ours: every})
        elif draft.given.get(kind):
            draft.miss(kind, f"counted in {draft.value(f'{kind}_unit', 'MINUTE')} there: {ours}")
    common.candidates(draft, "save_every", _in_steps(draft, "save_every"))


def _in_steps(draft: Draft, name: str) -> int | None:
    """How many steps an interval is; None where it is one of time, or none."""
    value, unit = draft.number(name), str(draft.value(f"{name}_unit", "MINUTE"))
    steps, epochs = draft.settings.get("train.steps"), draft.number("epochs")
    if value and unit == "STEP":
        return int(value)
    if value and unit == "EPOCH" and steps and epochs:
        return max(1, round(value * steps / epochs))
    return None


def _pictures(draft: Draft) -> None:
    if draft.value("output_model_destination"):
        name = Path(str(draft.value("output_model_destination"))).stem
        draft.take("output_model_destination", {}, f"say `kaiffin train ... --out runs/{name}`")
    samples = _listed(draft.given, "samples", "sample_definition_file_name")
    if not samples:
        return
    shown = [one for one in samples if one.get("enabled", True) and one.get("prompt")]
    if shown:
        prompts = [common.with_marks(str(one["prompt"]), draft) for one in shown]
        first = shown[0]
        settings: dict[str, Any] = {"sample.preview_prompts": prompts}
        for theirs, ours, kind in (
            ("negative_prompt", "sample.negative", str), ("seed", "sample.preview_seed", int),
            ("cfg_scale", "sample.guidance", float), ("diffusion_steps", "sample.steps", int),
        ):  # fmt: skip
            if first.get(theirs) is not None:
                settings[ours] = kind(first[theirs])
        if first.get("width") and first.get("height"):
            settings["sample.size"] = [int(first["width"]), int(first["height"])]
        settings |= common.sampler_of(draft, "samples", first.get("noise_scheduler"))
        draft.take("samples", settings, "settings of the first count for all")
