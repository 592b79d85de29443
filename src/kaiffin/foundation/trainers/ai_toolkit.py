"""ai-toolkit: its YAML by dotted names, as in `train.lr`. Torch-free.

Read in ai-toolkit at 27a03a91 (August 2026). Its schedules and defaults for other models (flow
matching) are not asked for here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kaiffin.foundation.trainers import common
from kaiffin.foundation.trainers.rows import (
    Draft,
    Taken,
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

TITLE = "ai-toolkit"
HOW = "how the program runs, not what it learns"
OTHERS = ("is_v2", "is_v3", "is_pixart", "is_pixart_sigma", "is_auraflow", "is_flux", "is_lumina2",
          "is_ssd", "is_vega")  # fmt: skip


def _resolution(value: Any) -> Taken:
    several = value if isinstance(value, list) else [value]
    taken = common.resolution(max(several))
    note = "the largest: a training has one resolution" if len(several) > 1 else taken.note
    return Taken(taken.settings, note)


def _only(name: str, value: Any) -> Taken:
    """One of the two precisions."""
    return Taken({name: common.precision(value).settings[name]})


ROWS = (
    made("model.name_or_path", "base.name", common.base),
    same("model.vae_path", "base.vae"),
    needless("model.is_xl model.is_v_pred model.arch", "the base says itself what it is"),
    none("model.quantize model.quantize_te model.qtype model.qtype_te model.low_vram"
         " model.layer_offloading", "base.quantize int8 or nf4, base.text_device cpu"),
    made("model.dtype", "base.dtype",
         lambda value: _only("base.dtype", value)),
    none("model.lora_path", "`kaiffin adapter merge FILE --into BASE` makes such a base"),
    together("trigger_word", "subject.token"),
    together("datasets.folder_path", "data.photos"),
    made("datasets.caption_ext", "captions beside the photos", common.extension),
    together("datasets.default_caption", "data.template"),
    number("datasets.caption_dropout_rate", "data.caption_dropout"),
    switch("datasets.shuffle_tokens", "data.shuffle_tags"),
    number("datasets.token_dropout_rate", "data.tag_dropout"),
    together("datasets.keep_tokens", "data.keep_tags", note="where tags are shuffled or left out"),
    none("datasets.random_triggers", "captions are learnt as they are written"),
    made("datasets.resolution", "data.resolution", _resolution, 512),
    made("datasets.buckets", "data.crop", common.buckets, True),
    switch("datasets.flip_x", "data.flip"),
    made("datasets.random_crop", "data.crops", common.crops),
    none("datasets.flip_y datasets.random_scale datasets.augments"
         " datasets.augmentations datasets.scale", "no such augmentation"),
    together("datasets.num_repeats", "repeats of one folder count for nothing where steps are"),
    made("datasets.alpha_mask", "data.masks alpha",
         common.masks),
    none("datasets.mask_path datasets.invert_mask datasets.mask_min_value",
         "data.masks folder reads masks/<name>.png in the folder of the photos"),
    none("datasets.is_reg datasets.prior_reg datasets.loss_multiplier datasets.network_weight",
         "data.prior.weight: the base makes its class pictures itself"),
    choice("network.type", "adapter.kind", {"lora": "lora", "locon": "lora", "lokr": "lokr"},
           otherwise="plain LoRA is taken"),
    together("network.linear network.rank", "adapter.rank", 4),
    together("network.linear_alpha network.alpha", "adapter.alpha", 1.0),
    together("network.conv network.conv_alpha", "adapter.targets all-linear+conv, adapter.rules"),
    made("network.dropout", "adapter.dropout", common.dropout),
    same("network.pretrained_lora_path", "adapter.init_from"),
    none("network.network_kwargs network.lokr_full_rank network.lokr_factor"
         " network.transformer_only network.all_layers",
         "adapter.targets and adapter.rules choose the layers"),
    whole("train.steps", "train.steps", 1000),
    whole("train.batch_size", "train.batch_size", 1),
    whole("train.gradient_accumulation_steps train.gradient_accumulation", "train.accumulate"),
    number("train.lr train.unet_lr", "train.lr", 1e-6),
    together("train.train_text_encoder train.text_encoder_lr", "adapter.text_encoder"),
    none("train.embedding_lr", "embedding.lr, where embedding.vectors is set"),
    choice("train.optimizer", "train.optimizer", common.OPTIMIZERS, "adamw",
           otherwise=common.NO_OPTIMIZER),
    together("train.optimizer_params", "train.weight_decay, train.betas"),
    choice("train.lr_scheduler", "train.schedule", common.SCHEDULES, "constant",
           otherwise=common.NO_SCHEDULE),
    together("train.lr_scheduler_params", "train.warmup"),
    made("train.max_grad_norm", "train.clip", common.clip),
    number("train.min_snr_gamma train.snr_gamma", "train.objective.min_snr_gamma"),
    number("train.noise_offset", "train.objective.noise_offset"),
    choice("train.loss_type", "train.objective.loss",
           {"mse": "mse", "mae": "l1", "pseudo_huber": "huber"}, otherwise="mse, l1, huber"),
    made("train.dtype", "train.precision",
         lambda value: _only("train.precision", value)),
    switch("train.gradient_checkpointing", "train.gradient_checkpointing", True),
    together("train.ema_config.use_ema train.ema_config.ema_decay", "train.ema"),
    needless("train.noise_scheduler", "the base's own"),
    none("train.timestep_type train.content_or_style train.min_denoising_steps"
         " train.max_denoising_steps", "all noise levels are drawn alike"),
    together("train.diff_output_preservation train.diff_output_preservation_multiplier"
             " train.diff_output_preservation_class",
             "train.objective.keep, train.objective.keep_share, subject.noun",
             note="here half of the captions are further wordings of the class"),
    none("train.blank_prompt_preservation train.reg_weight",
         "train.objective.keep or data.prior.weight keeps the class"),
    needless("train.train_unet", "the UNet is trained unless a phase says else"),
    needless("train.disable_sampling train.skip_first_sample train.force_first_sample"
             " train.unload_text_encoder train.cache_text_embeddings train.xformers train.sdp"
             " train.attention_backend", HOW),
    none("train.merge_network_on_save", "`kaiffin adapter merge FILE --into BASE` afterwards"),
    together("save.save_every", "score.candidates", 1000),
    none("save.max_step_saves_to_keep", "score.candidates says how many are kept"),
    none("save.dtype save.save_format", "kohya's layout in fp32; adapter.layouts adds others"),
    none("save.push_to_hub save.hf_repo_id save.hf_private",
         "`kaiffin publish RUN --to hub:NAME` afterwards"),
    whole("sample.sample_every", "sample.preview_every"),
    together("sample.prompts sample.samples", "sample.preview_prompts"),
    together("sample.width sample.height", "sample.size"),
    same("sample.neg", "sample.negative"),
    whole("sample.seed", "sample.preview_seed"),
    number("sample.guidance_scale", "sample.guidance"),
    whole("sample.sample_steps", "sample.steps"),
    made("sample.sampler", "sample.sampler, sample.schedule", common.sampler),
    none("sample.walk_seed", "every preview has the same seed: the training shows, not the seed"),
    needless("sample.format sample.sample_start_step", "PNG"),
    needless("type device performance_log_every training_folder sqlite_db_path"
             " datasets.cache_latents datasets.cache_latents_to_disk datasets.control_path"
             " datasets.num_frames datasets.bucket_tolerance logging.log_every logging.verbose"
             " logging.use_ui_logger logging.project_name logging.run_name", HOW),
    none("logging.use_wandb", "TensorBoard, metrics.jsonl and `kaiffin report` are here"),
    together("name", "--out"),
)  # fmt: skip


def flat(raw: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The first process by dotted names; raises for a training of another model."""
    config = raw.get("config", {})
    processes = config.get("process") or [{}]
    process = dict(processes[0])
    datasets = process.pop("datasets", []) or []
    learnt = [one for one in datasets if not one.get("is_reg")]
    given = {"name": config.get("name"), **_dotted(process)}
    given |= _dotted({"datasets": learnt[0]}) if learnt else {}
    if len(learnt) < len(datasets):
        given["datasets.is_reg"] = True
    arch = str(given.get("model.arch") or "sd1").partition(":")[0]
    other = next((name for name in OTHERS if as_kind(given.get(f"model.{name}"), bool)), "")
    if other or arch not in ("sd1", "sdxl", "sd15"):
        raise common.refuse(f"for another model ({other.removeprefix('is_') or arch})", TITLE)
    return given, [str(one.get("folder_path")) for one in learnt[1:]]


def _dotted(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in data.items():
        whole_name = f"{prefix}{name}"
        is_open = isinstance(value, Mapping) and not whole_name.endswith(("_params", "_kwargs"))
        found |= _dotted(value, f"{whole_name}.") if is_open else {whole_name: value}
    return found


def finish(draft: Draft) -> None:
    """What is said by several settings together."""
    _subject(draft)
    _kept(draft)
    common.kept_tags(draft, "datasets.keep_tokens")
    _network(draft)
    _learning(draft)
    _pictures(draft)
    if draft.value("name"):
        draft.take("name", {}, f"say `kaiffin train ... --out runs/{draft.value('name')}`")


def _subject(draft: Draft) -> None:
    folder = draft.ours.get("data.photos") or draft.value("datasets.folder_path")
    word = draft.ours.get("subject.token") or draft.value("trigger_word")
    caption = draft.value("datasets.default_caption")
    draft.imply({"data.prior.weight": 0.0, "data.upscale": True}, "small photos are enlarged")
    if word:
        draft.take("trigger_word", {"subject.token": str(word)})
    else:
        draft.miss("trigger_word", "the subject's word is not told: give --subject and --class")
    if caption:
        template = common.with_marks(str(caption).replace("[trigger]", "{token}"), draft)
        draft.take("datasets.default_caption", {"data.template": template})
    elif word:
        draft.imply({"data.template": "{token}"}, "the trigger alone, where there is no caption")
    if folder:
        draft.take("datasets.folder_path", {"data.photos": str(folder)})
    else:
        draft.miss("datasets.folder_path", "no folder of photos is named: give data.photos")
    if draft.value("datasets.num_repeats", 1) != 1:
        draft.take("datasets.num_repeats", {}, "of one folder they change nothing")


def _kept(draft: Draft) -> None:
    """Their differential output preservation, in every step."""
    kept = "train.diff_output_preservation"
    noun = draft.value(f"{kept}_class") or draft.ours.get("subject.noun")
    if not draft.on(kept):
        return
    if not noun:
        draft.miss(kept, "the class is not told: with --class, say --train.objective.keep 1, too")
        return
    weight = draft.number(f"{kept}_multiplier")
    settings = {
        "train.objective.keep": 1.0 if weight is None else weight,
        "train.objective.keep_share": 1.0, "subject.noun": str(noun),
    }  # fmt: skip
    note = "half of the captions are further wordings of the class; a share of 0.25 takes less time"
    draft.take(kept, settings, note)


def _network(draft: Draft) -> None:
    rank = draft.value("network.rank") or draft.value("network.linear")
    rank = draft.given.get("network.rank") or rank
    alpha = draft.value("network.linear_alpha") or draft.value("network.alpha", 1.0)
    sizes = {"adapter.rank": int(rank), "adapter.alpha": float(alpha),
             "adapter.targets": "all-linear"}  # fmt: skip
    draft.take("network.linear, network.linear_alpha", sizes)
    conv = draft.value("network.conv")
    if conv:
        own = float(draft.value("network.conv_alpha", conv))
        draft.take("network.conv", common.convolutions(draft, int(conv), own))


def _learning(draft: Draft) -> None:
    if draft.on("train.train_text_encoder"):
        rate = draft.number("train.text_encoder_lr") or draft.settings["train.lr"]
        draft.take("train.train_text_encoder",
                   {"adapter.text_encoder": True, "train.text_lr": rate})  # fmt: skip
    for name, value in (draft.value("train.optimizer_params") or {}).items():
        if name in ("weight_decay", "betas"):
            draft.take("train.optimizer_params", {f"train.{name}": value})
        else:
            draft.miss(f"train.optimizer_params {name}={value}",
                       "train.weight_decay and train.betas can be set")  # fmt: skip
    for name, value in (draft.value("train.lr_scheduler_params") or {}).items():
        if name in ("warmup_steps", "num_warmup_steps"):
            draft.take("train.lr_scheduler_params", {"train.warmup": int(value)})
        else:
            draft.miss(f"train.lr_scheduler_params {name}={value}", "train.warmup can be set")
    if draft.on("train.ema_config.use_ema"):
        decay = draft.number("train.ema_config.ema_decay") or 0.999
        draft.take("train.ema_config.use_ema", {"train.ema": decay})
    common.candidates(draft, "save.save_every", draft.number("save.save_every"))


def _pictures(draft: Draft) -> None:
    samples = draft.value("sample.samples") or []
    prompts = draft.value("sample.prompts") or [one.get("prompt") for one in samples]
    shown = [
        common.with_marks(str(prompt).replace("[trigger]", "{token}"), draft)
        for prompt in prompts
        if prompt
    ]
    if shown:
        name = "sample.prompts" if draft.value("sample.prompts") else "sample.samples"
        draft.take(name, {"sample.preview_prompts": shown})
    width, height = draft.number("sample.width"), draft.number("sample.height")
    if width and height:
        draft.take("sample.width, sample.height", {"sample.size": [int(width), int(height)]})
