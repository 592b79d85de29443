"""kohya's sd-scripts: its settings by their names in command lines and TOML files. Torch-free.

Read in sd-scripts at 48d368fa (February 2026): names, defaults, what a step sees.
"""

from __future__ import annotations

import re
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

TITLE = "sd-scripts and kohya_ss"
NUMBERED = re.compile(r"([0-9]+)_(.+)")
SPEED = "speed alone; Kaiffin uses PyTorch's own attention"
LATER = "`kaiffin publish RUN --to hub:NAME` afterwards"
TAGS = "captions are learnt as they are written, but for data.shuffle_tags and data.tag_dropout"
BUCKETS = "buckets follow from data.resolution"
NOISE = "train.objective.noise_offset is what there is of this kind"


def _upscale(value: Any) -> Taken:
    return Taken({"data.upscale": not as_kind(value, bool)})


def _separator(value: Any) -> Taken:
    if value == "|||":
        return Taken({})
    raise Unlike("||| parts what stays from what is shuffled: write it in the captions")


ROWS = (
    # base
    made("pretrained_model_name_or_path", "base.name", common.base),
    same("vae", "base.vae"),
    needless("v_parameterization", "the base says itself whether it predicts v"),
    none("v2", "SD 2.x is not read; --base takes SD 1.x and SDXL"),
    none("zero_terminal_snr", "the base says itself whether its noise ends there"),
    needless("sdxl", "the base says itself what it is"),
    none("fp8_base fp8_base_unet", "base.quantize int8 or nf4 (extra 8bit)"),
    none("base_weights base_weights_multiplier",
         "`kaiffin adapter merge FILE:WEIGHT --into BASE` makes such a base"),
    # photos
    together("train_data_dir image_dir", "data.photos"),
    together("reg_data_dir is_reg", "data.prior.weight, data.prior.num_images",
             note="the base makes its class pictures itself"),
    together("prior_loss_weight", "data.prior.weight", note="where there are class pictures"),
    none("in_json metadata_file",
         "metadata.jsonl in the folder of the photos, lines of file_name and text, is read"),
    together("class_tokens", "subject.token, subject.noun"),
    made("caption_extension caption_extention", "captions beside the photos", common.extension),
    together("num_repeats dataset_repeats", "the repeats of folders such as 10_name class"),
    made("resolution", "data.resolution", common.resolution),
    made("enable_bucket", "data.crop", common.buckets, False),
    made("bucket_no_upscale", "data.upscale", _upscale, False),
    none("min_bucket_reso max_bucket_reso bucket_reso_steps", BUCKETS),
    switch("flip_aug", "data.flip"),
    none("color_aug face_crop_aug_range", "no such augmentation"),
    made("random_crop", "data.crops", common.crops),
    switch("shuffle_caption", "data.shuffle_tags"),
    number("caption_tag_dropout_rate", "data.tag_dropout"),
    together("keep_tokens", "data.keep_tags", note="where tags are shuffled or left out"),
    made("keep_tokens_separator", "||| in captions", _separator),
    none("secondary_separator caption_separator enable_wildcard token_warmup_min token_warmup_step"
         " caption_prefix caption_suffix", TAGS),
    number("caption_dropout_rate", "data.caption_dropout"),
    none("caption_dropout_every_n_epochs", "data.caption_dropout is a share of all draws"),
    made("alpha_mask masked_loss", "data.masks", common.masks),
    needless("max_token_length", "long captions are read whole, in parts of 75 tokens"),
    none("weighted_captions", TAGS),
    none("validation_split validation_seed validate_every_n_steps validate_every_n_epochs"
         " max_validation_steps", "train.validate_every with data.hold_out"),
    # adapter
    together("network_module network_args", "adapter.kind, adapter.targets"),
    whole("network_dim", "adapter.rank", 4),
    number("network_alpha", "adapter.alpha", 1.0),
    made("network_dropout", "adapter.dropout", common.dropout),
    same("network_weights", "adapter.init_from"),
    none("dim_from_weights scale_weight_norms", "no counterpart; adapter.rank says the rank"),
    together("network_train_unet_only", "adapter.text_encoder", note="the reverse"),
    none("network_train_text_encoder_only", "a phase with `train: [text_encoder]` does so"),
    # learning
    together("learning_rate unet_lr", "train.lr"),
    together("text_encoder_lr", "train.text_lr"),
    together("max_train_steps max_train_epochs", "train.steps"),
    whole("train_batch_size batch_size", "train.batch_size", 1),
    whole("gradient_accumulation_steps", "train.accumulate"),
    choice("optimizer_type", "train.optimizer", common.OPTIMIZERS, None,
           otherwise=common.NO_OPTIMIZER),
    together("use_8bit_adam", "train.optimizer", note="adamw8bit"),
    together("use_lion_optimizer", "train.optimizer", note="lion"),
    together("optimizer_args", "train.weight_decay, train.betas"),
    together("lr_scheduler lr_scheduler_num_cycles lr_scheduler_power", "train.schedule",
             "constant"),
    none("lr_scheduler_type lr_scheduler_args lr_decay_steps lr_scheduler_timescale"
         " lr_scheduler_min_lr_ratio", common.NO_SCHEDULE),
    together("lr_warmup_steps", "train.warmup"),
    made("max_grad_norm", "train.clip", common.clip),
    number("min_snr_gamma", "train.objective.min_snr_gamma"),
    number("noise_offset", "train.objective.noise_offset"),
    none("noise_offset_random_strength multires_noise_iterations multires_noise_discount"
         " ip_noise_gamma ip_noise_gamma_random_strength adaptive_noise_scale", NOISE),
    choice("loss_type", "train.objective.loss",
           {"l2": "mse", "l1": "l1", "huber": "huber", "smooth_l1": "huber"}),
    number("huber_c", "train.objective.huber_delta"),
    none("huber_schedule huber_scale", "the delta is the same at all noise levels here"),
    none("debiased_estimation_loss scale_v_pred_loss_like_noise_pred v_pred_like_loss",
         "train.objective.min_snr_gamma 5 is the weighting that there is"),
    none("min_timestep max_timestep", "all noise levels are drawn"),
    made("mixed_precision", "train.precision, base.dtype", common.precision, "no"),
    none("full_fp16 full_bf16", "the adapter itself stays in fp32"),
    switch("gradient_checkpointing", "train.gradient_checkpointing"),
    whole("seed", "train.seed", note="drawn there where it is left out"),
    made("clip_skip", "sample.clip_skip", common.clip_skip),
    # files and pictures
    together("save_every_n_steps save_every_n_epochs save_n_epoch_ratio", "score.candidates"),
    none("save_last_n_steps save_last_n_epochs", "score.candidates says how many are kept"),
    needless("save_state save_state_on_train_end save_last_n_steps_state save_last_n_epochs_state",
             "always: train.checkpoint_every, train.keep"),
    none("resume initial_step initial_epoch skip_until_initial_step",
         "`kaiffin resume RUN` goes on with a run of Kaiffin's"),
    none("save_precision", "files are written in fp32: exact, and every program reads them"),
    needless("save_model_as", "always .safetensors, which every program reads"),
    together("output_dir output_name", "--out"),
    none("training_comment no_metadata metadata_author metadata_description metadata_license"
         " metadata_tags metadata_title", "the run's README.md is the place to write"),
    together("sample_every_n_steps sample_every_n_epochs", "sample.preview_every"),
    together("sample_prompts", "sample.preview_prompts"),
    made("sample_sampler", "sample.sampler, sample.schedule", common.sampler),
    none("sample_at_first", "`kaiffin report` shows the base beside it"),
    together("log_with", "train.tensorboard"),
    needless("logging_dir log_prefix", "TensorBoard's files are in the run"),
    none("log_tracker_name log_tracker_config wandb_run_name wandb_api_key log_config",
         "TensorBoard, metrics.jsonl and `kaiffin report` are here"),
    none("huggingface_repo_id huggingface_repo_type huggingface_path_in_repo huggingface_token"
         " huggingface_repo_visibility save_state_to_huggingface resume_from_huggingface"
         " async_upload", LATER),
    # speed
    needless("xformers sdpa mem_eff_attn torch_compile dynamo_backend lowram highvram"
             " fused_backward_pass cpu_offload_checkpointing", SPEED),
    needless("cache_latents cache_latents_to_disk cache_info skip_cache_check vae_batch_size"
             " cache_text_encoder_outputs cache_text_encoder_outputs_to_disk"
             " text_encoder_batch_size", "always kept, by content"),
    needless("max_data_loader_n_workers persistent_data_loader_workers tokenizer_cache_dir"
             " disable_mmap_load_safetensors num_cpu_threads_per_process debug_dataset"
             " output_config prior_loss ddp_timeout ddp_gradient_as_bucket_view ddp_static_graph",
             "how the program runs, not what it learns"),
    none("no_half_vae", "base.vae madebyollin/sdxl-vae-fp16-fix, or base.dtype bf16"),
)  # fmt: skip


def flat(raw: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The settings of a config or of a data set's config by name, as one training has them.

    Sections of a config are only for people; `general`, `datasets` and `subsets` are not. Answers
    also with the folders of further subsets, which one folder of photos cannot be.
    """
    if "datasets" not in raw:
        given: dict[str, Any] = {}
        for name, value in raw.items():
            given |= value if isinstance(value, Mapping) else {name: value}
        return given, []
    found = dict(raw.get("general", {}))
    learnt: list[dict[str, Any]] = []
    for dataset in raw["datasets"]:
        level = {k: v for k, v in dataset.items() if k != "subsets"}
        for subset in dataset.get("subsets", []):
            whole_of_it = {**found, **level, **subset}
            if subset.get("is_reg"):
                found["reg_data_dir"] = subset.get("image_dir")
            else:
                learnt.append(whole_of_it)
    first = learnt[0] if learnt else {}
    more = [str(one.get("image_dir")) for one in learnt[1:]]
    kept = {k: v for k, v in first.items() if k != "is_reg"}
    return {**found, **kept} | {
        k: v for k, v in raw.items() if k not in ("general", "datasets")
    }, more


def finish(draft: Draft) -> None:
    """What is said by several settings together."""
    _photos(draft)
    common.kept_tags(draft, "keep_tokens")
    _network(draft)
    _text_encoder(draft)
    _optimizer(draft)
    _steps(draft)
    _prior(draft)
    _files(draft)


def _photos(draft: Draft) -> None:
    """The folder, its layout, and the subject that its names tell."""
    name, folder = _folder(draft)
    single = name == "image_dir"
    if draft.value("class_tokens"):
        draft.take("class_tokens", common.subject_of_words(draft.value("class_tokens")))
    if not folder:
        draft.miss(name, "no folder of photos is named: give data.photos")
        return
    path = Path(str(folder))
    own = NUMBERED.fullmatch(path.name)
    if own and not single:  # the numbered folder itself, instead of the one above it
        single = True
    draft.take(name, {"data.photos": str(folder)})
    if single:
        repeats = draft.value("num_repeats")
        if own and not draft.settings.get("subject.token"):
            draft.take(name, common.subject_of_words(own[2]))
        if repeats not in (None, 1):
            draft.take("num_repeats", {}, "of one folder they only count into the steps")
        return
    numbered = _numbered(path)
    if numbered:
        draft.imply({"data.format": "kohya"}, "folders such as 10_name class")
        words = common.subject_of_words(numbered[0][2])
        draft.take(name, words, f"from the folder {numbered[0][0].name}")
    elif path.is_dir():
        draft.miss("class_tokens", f"{folder} has no folders such as 10_name class: give --subject"
                   " and --class")  # fmt: skip
    else:
        draft.imply({"data.format": "kohya"}, "folders such as 10_name class")
        draft.miss("class_tokens", f"{folder} is not here to read the subject's word from: give"
                   " --subject and --class")  # fmt: skip


def _folder(draft: Draft) -> tuple[str, Any]:
    """By which setting the photos are named, and their folder."""
    name = "image_dir" if draft.value("image_dir") else "train_data_dir"
    return name, draft.ours.get("data.photos") or draft.value(name)


def _numbered(folder: Path) -> list[tuple[Path, int, str]]:
    """(folder, repeats, words) of all named `10_sks dog`."""
    found = [(path, NUMBERED.fullmatch(path.name)) for path in sorted(folder.glob("*_*"))]
    return [(path, int(match[1]), match[2]) for path, match in found if match and path.is_dir()]


def _seen(draft: Draft) -> tuple[Path | None, int]:
    """The folder whose photos are counted, and how often each is drawn in an epoch."""
    name, folder = _folder(draft)
    if not folder:
        return None, 1
    numbered = _numbered(Path(str(folder)))
    if numbered and name == "train_data_dir":
        return numbered[0][0], numbered[0][1]
    own = NUMBERED.fullmatch(Path(str(folder)).name)
    repeats = draft.value("num_repeats") or (own[1] if own else 1)
    return Path(str(folder)), as_kind(repeats, int)


_ALGORITHMS = {"lora": "lora", "locon": "lora", "loha": "loha", "lokr": "lokr", "diag-oft": "oft"}
_MODULES = {"networks.lora": "lora", "networks.lora_fa": "", "networks.dylora": "",
            "networks.oft": "oft", "networks.loha": "loha", "networks.lokr": "lokr",
            "lycoris.kohya": "lycoris"}  # fmt: skip


def _network(draft: Draft) -> None:
    """The kind of adapter and its layers."""
    module = str(draft.value("network_module", "networks.lora"))
    given = common.pairs(draft.value("network_args"))
    algorithm = given.pop("algo", "lora")
    kind = _MODULES.get(module, "")
    kind = _ALGORITHMS.get(algorithm, "") if kind == "lycoris" else kind
    if given.pop("dora_wd", "").lower() == "true" and kind == "lora":
        kind = "dora"
    settings: dict[str, Any] = {"adapter.kind": kind or "lora", "adapter.targets": "all-linear"}
    rank = given.pop("conv_dim", None)
    if rank and int(rank) > 0:
        settings |= common.convolutions(draft, int(rank), float(given.pop("conv_alpha", 1)))
    given.pop("conv_alpha", None)
    if "loraplus_lr_ratio" in given:
        settings["train.lora_plus"] = float(given.pop("loraplus_lr_ratio"))
    note = "" if kind else f"{module} {algorithm} is not here: plain LoRA"
    if kind == "oft":
        note = "adapter.rank is the size of a block here"
    draft.take("network_module, network_args", settings, note)
    for name, value in given.items():
        draft.miss(
            f"network_args {name}={value}", "no counterpart; adapter.rules sets single layers"
        )


def _text_encoder(draft: Draft) -> None:
    """Trained there unless the UNet alone is, or its rate is 0."""
    rate = draft.value("learning_rate", 2e-6)
    unet, text = draft.value("unet_lr", rate), draft.value("text_encoder_lr", rate)
    rates = [as_kind(one, float) for one in (text if isinstance(text, list) else [text])]
    draft.take("unet_lr" if draft.value("unet_lr") else "learning_rate",
               {"train.lr": as_kind(unet, float)})  # fmt: skip
    off = draft.on("network_train_unet_only") or not any(rates)
    off = off or draft.on("cache_text_encoder_outputs")
    name = "network_train_unet_only" if draft.on("network_train_unet_only") else "text_encoder_lr"
    if off:
        draft.take(name, {"adapter.text_encoder": False})
        return
    note = "one rate for both text encoders" if len(set(rates)) > 1 else ""
    draft.take(name, {"adapter.text_encoder": True, "train.text_lr": max(rates)}, note)


def _optimizer(draft: Draft) -> None:
    for name, ours in (("use_8bit_adam", "adamw8bit"), ("use_lion_optimizer", "lion")):
        if draft.on(name):
            draft.take(name, {"train.optimizer": ours})
    common.optimizer_arguments(draft, "optimizer_args", common.pairs(draft.value("optimizer_args")))
    schedule = str(draft.value("lr_scheduler", "constant")).lower()
    common.scheduler(draft, "lr_scheduler", schedule, draft.number("lr_scheduler_num_cycles"))


def _steps(draft: Draft) -> None:
    """Steps as they are, or those of the epochs; then what is counted in them."""
    folder, repeats = _seen(draft)
    if draft.number("max_train_epochs"):
        common.steps_of_epochs(draft, "max_train_epochs", folder, repeats)
    else:
        draft.take("max_train_steps", {"train.steps": int(draft.number("max_train_steps") or 1600)})
    common.warmup(draft, "lr_warmup_steps", str(draft.value("lr_scheduler")))
    count = (draft.photos(folder) if folder else 0) or 0
    batch = int(draft.settings.get("train.batch_size") or 1)
    epoch = max(1, count * repeats // batch)
    for kind, settings in (("save", common.candidates), ("sample", _preview)):
        steps, epochs = (draft.number(f"{kind}_every_n_{unit}") for unit in ("steps", "epochs"))
        if steps:
            settings(draft, f"{kind}_every_n_steps", steps)
        elif epochs and count:
            settings(draft, f"{kind}_every_n_epochs", epochs * epoch)
        elif epochs:
            draft.miss(f"{kind}_every_n_epochs", "epochs cannot be counted without the photos")


def _preview(draft: Draft, name: str, every: float) -> None:
    draft.take(name, {"sample.preview_every": int(every)})


def _prior(draft: Draft) -> None:
    """Class pictures, where there is a folder of them there."""
    folder = draft.value("reg_data_dir")
    if not folder:
        draft.imply({"data.prior.weight": 0.0}, "no class pictures without their folder")
        return
    weight = draft.number("prior_loss_weight")
    settings: dict[str, Any] = {"data.prior.weight": 1.0 if weight is None else weight}
    numbered = _numbered(Path(str(folder)))
    count = sum(draft.photos(path) or 0 for path, _, _ in numbered)
    if count := count or draft.photos(Path(str(folder))) or 0:
        settings["data.prior.num_images"] = count
    if not draft.settings.get("subject.noun") and numbered:
        settings["subject.noun"] = numbered[0][2]
    draft.take("reg_data_dir", settings, "the base makes its class pictures itself; yours are"
               " not read; there they are half of the draws, here they come on top")  # fmt: skip


def _files(draft: Draft) -> None:
    if draft.value("output_name") or draft.value("output_dir"):
        name = draft.value("output_name") or Path(str(draft.value("output_dir"))).name
        draft.take("output_name", {}, f"say `kaiffin train ... --out runs/{name}`")
    tracker = str(draft.value("log_with", ""))
    if tracker in ("wandb", "all"):
        draft.miss("log_with", "TensorBoard, metrics.jsonl and `kaiffin report` are here")
    if draft.value("sample_prompts"):
        common.prompts(draft, "sample_prompts", Path(str(draft.value("sample_prompts"))))
