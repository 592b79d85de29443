"""kohya_ss, the GUI over sd-scripts: its JSON file as sd-scripts' settings. Torch-free.

Read in kohya_ss at 45088f04 (July 2026).
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from kaiffin.foundation.trainers.common import refuse
from kaiffin.foundation.trainers.rows import as_kind

NAMES = {
    "max_resolution": "resolution", "optimizer": "optimizer_type", "epoch": "max_train_epochs",
    "lora_network_weights": "network_weights", "sdxl_no_half_vae": "no_half_vae",
    "sdxl_cache_text_encoder_outputs": "cache_text_encoder_outputs", "logging_dir": "logging_dir",
}  # fmt: skip
MODULES = {
    "Standard": ("networks.lora", ""), "Kohya LoCon": ("networks.lora", ""),
    "Kohya DyLoRA": ("networks.dylora", ""), "LoCon": ("lycoris.kohya", "locon"),
    "LoRA-FA": ("networks.lora_fa", ""), "Kohya LoHa": ("networks.loha", ""),
    "Kohya LoKr": ("networks.lokr", ""),
}  # fmt: skip
# Of its fields these say something with some kinds only, and the rest is of other models.
ARGUMENTS = ("conv_dim", "conv_alpha", "factor", "use_tucker", "use_scalar", "rank_dropout",
             "module_dropout", "dora_wd", "train_norm", "rank_dropout_scale", "decompose_both",
             "bypass_mode", "rescaled", "constrain", "use_cp", "train_on_input", "unit",
             "block_dims", "block_alphas", "conv_block_dims", "conv_block_alphas",
             "down_lr_weight", "mid_lr_weight", "up_lr_weight", "block_lr_zero_threshold",
             "loraplus_lr_ratio", "loraplus_unet_lr_ratio",
             "loraplus_text_encoder_lr_ratio")  # fmt: skip
OF_EVERY_KIND = ("loraplus_lr_ratio", "rank_dropout", "module_dropout", "block_dims",
                 "down_lr_weight", "mid_lr_weight", "up_lr_weight")  # fmt: skip
DEFAULTS = {"factor": "-1", "unit": "1", "train_on_input": "True"}  # which say nothing
OTHER_MODELS = ("flux1_", "sd3_", "hunyuan_", "anima_", "lumina_", "t5", "clip_g", "clip_l", "ae",
                "train_lora_ggpo", "ggpo_", "img_", "txt_", "single_", "double_", "train_double",
                "train_single", "train_t5", "pos_emb", "save_clip", "save_t5", "logit_", "mode_",
                "weighting_scheme", "model_prediction_type", "timestep_sampling", "discrete_flow",
                "split_", "train_blocks", "apply_t5", "mem_eff_save", "enable_all_linear",
                "guidance_scale", "show_timesteps", "in_dims", "model_type",
                "blocks_to_swap", "block_size")  # fmt: skip
OF_THE_WINDOW = ("LoRA_type", "LyCORIS_preset", "additional_parameters", "model_list",
                 "save_as_bool", "num_processes", "num_machines", "multi_gpu", "gpu_ids",
                 "main_process_port", "dynamo_mode", "dynamo_use_fullgraph", "dynamo_use_dynamic",
                 "extra_accelerate_launch_args", "noise_offset_type", "no_token_padding", "lowvram",
                 "stop_text_encoder_training_pct", "stop_text_encoder_training",
                 "lr_warmup")  # fmt: skip


def flat(raw: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Its fields as sd-scripts' settings; raises for a training of another model."""
    for name in ("flux1_checkbox", "sd3_checkbox", "hunyuan_image_checkbox", "anima_checkbox",
                 "lumina_checkbox"):  # fmt: skip
        if as_kind(raw.get(name), bool):
            raise refuse(f"for another model ({name.removesuffix('_checkbox')})", "kohya_ss")
    given = {
        NAMES.get(name, name): value
        for name, value in raw.items()
        if name not in (*ARGUMENTS, *OF_THE_WINDOW) and not name.startswith(OTHER_MODELS)
    }
    if raw.get("max_train_epochs") not in (None, "", 0, "0"):
        given["max_train_epochs"] = raw["max_train_epochs"]
    elif raw.get("max_train_steps") not in (None, "", 0, "0"):
        given.pop("max_train_epochs", None)
    zero_is_off = ("min_snr_gamma", "noise_offset", "save_every_n_steps", "sample_every_n_steps",
                   "max_token_length", "network_dropout", "v_pred_like_loss")  # fmt: skip
    given = {k: v for k, v in given.items() if not (k in zero_is_off and not _number(v))}
    given |= _network(raw)
    share, steps = _number(raw.get("lr_warmup")), _number(raw.get("lr_warmup_steps"))
    if share and not steps:  # per cent of all steps
        given["lr_warmup_steps"] = share / 100
    for flag in shlex.split(str(raw.get("additional_parameters") or "")):
        given[flag.lstrip("-").partition("=")[0]] = flag.partition("=")[2] or True
    if _number(raw.get("text_encoder_lr")) == 0 and "text_encoder_lr" in raw:
        given["network_train_unet_only"] = True
    return given, []


def _network(raw: Mapping[str, Any]) -> dict[str, Any]:
    kind = str(raw.get("LoRA_type") or "Standard")
    if kind in MODULES:
        module, algorithm = MODULES[kind]
    else:
        module, algorithm = "lycoris.kohya", kind.rpartition("/")[2].lower()
    plain = kind in ("Standard", "LoRA-FA")
    names = OF_EVERY_KIND if plain else ARGUMENTS
    said = {name: raw[name] for name in names if raw.get(name) not in (None, "", 0, "0", False)}
    said = {k: v for k, v in said.items() if str(v) != DEFAULTS.get(k)}
    preset = str(raw.get("LyCORIS_preset") or "full")
    if algorithm:
        said = {"algo": algorithm, **({"preset": preset} if preset != "full" else {}), **said}
    return {"network_module": module, "network_args": [f"{k}={v}" for k, v in said.items()]}


def _number(value: Any) -> float:
    try:
        return float(value or 0)
    except (TypeError, ValueError):
        return 0.0
