"""Adapters into the layouts that others read, exact in weight and strength, and their headers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from kaiffin.adapters.files import names, safe
from kaiffin.adapters.files.reading import (
    DIFFUSERS_HEADER,
    EMBEDDING,
    AdapterFile,
    Layout,
    refuse_strays,
)
from kaiffin.adapters.kinds import rank_of
from kaiffin.foundation.errors import AdapterError
from kaiffin.foundation.folder import write_bytes
from kaiffin.foundation.kinds import KINDS
from kaiffin.foundation.text import counted
from kaiffin.models.families.spec import SPECS


def write(adapter: AdapterFile, path: Path, layout: Layout, layers_per_block: int = 2) -> None:
    """Writes `adapter`: a file, or for `peft` a folder (one per tower where there are several)."""
    if layout == "kohya":
        header = {k: v for k, v in adapter.metadata.items() if k not in _OF_OTHERS}
        safe.save(path, to_kohya(adapter, layers_per_block), header)
    elif layout == "diffusers":
        safe.save(path, *to_diffusers(adapter))
    else:
        made = to_peft(adapter)
        for tower, (tensors, config) in made.items():
            folder = path / tower if len(made) > 1 else path
            safe.save(
                folder / "adapter_model.safetensors", tensors,
                adapter.metadata | _alpha_dtype(adapter),
            )  # fmt: skip
            text = json.dumps(config, indent=1) + "\n"
            write_bytes(folder / "adapter_config.json", text.encode())


_OF_OTHERS = (DIFFUSERS_HEADER, "kaiffin.alpha_dtype")


def to_kohya(adapter: AdapterFile, layers_per_block: int = 2) -> dict[str, Tensor]:
    """All tensors under kohya's names; every kind of adapter has a home there."""
    made = {f"{EMBEDDING}{name}": value for name, value in adapter.embeddings.items()}
    for name, parts in adapter.modules.items():
        spelled = names.kohya_name(name, adapter.family, layers_per_block)
        made |= {f"{spelled}.{part}": value for part, value in parts.items()}
    return made


def to_diffusers(adapter: AdapterFile) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and header of a diffusers file; its header carries ranks and alphas."""
    _only_lora(adapter, "a diffusers file")
    made: dict[str, Tensor] = {}
    config: dict[str, Any] = {}
    for tower in SPECS[adapter.family].towers:
        mine = list(_of_tower(adapter, tower))
        for path, parts in mine:
            made |= {f"{tower}.{path}.{n}": t for n, t in _peft_parts(path, parts).items()}
        if mine:
            config |= {f"{tower}.{key}": value for key, value in _lora_config(mine).items()}
    header = {DIFFUSERS_HEADER: json.dumps(config, sort_keys=True)}
    return made, adapter.metadata | header | _alpha_dtype(adapter)


def to_peft(adapter: AdapterFile) -> dict[str, tuple[dict[str, Tensor], dict[str, Any]]]:
    """For each trained tower: tensors of adapter_model.safetensors and adapter_config.json."""
    _only_lora(adapter, "a PEFT folder")
    made = {}
    for tower in SPECS[adapter.family].towers:
        mine = list(_of_tower(adapter, tower))
        if not mine:
            continue
        tensors = {
            f"base_model.model.{path}.{name}": tensor
            for path, parts in mine
            for name, tensor in _peft_parts(path, parts).items()
        }
        base = adapter.metadata.get("ss_sd_model_name")
        fixed = {
            "peft_type": "LORA", "bias": "none", "fan_in_fan_out": False, "inference_mode": True,
            "lora_dropout": 0.0, "use_rslora": False, "init_lora_weights": True,
            "base_model_name_or_path": base, "task_type": None,
        }  # fmt: skip
        made[tower] = (tensors, fixed | _lora_config(mine))
    return made


def _of_tower(adapter: AdapterFile, tower: str) -> Iterator[tuple[str, dict[str, Tensor]]]:
    for name, parts in sorted(adapter.modules.items()):
        if name.startswith(f"{tower}."):
            yield name.removeprefix(f"{tower}."), parts


def _peft_parts(path: str, parts: Mapping[str, Tensor]) -> dict[str, Tensor]:
    made = {"lora_A.weight": parts["lora_down.weight"], "lora_B.weight": parts["lora_up.weight"]}
    if "dora_scale" in parts:
        scale, out = parts["dora_scale"], parts["lora_up.weight"].shape[0]
        if scale.numel() != out or scale.shape[:1] != (out,):
            raise AdapterError(
                f"{path}: its DoRA magnitude is per input, which PEFT cannot say.",
                "Keep it in kohya's format.",
            )
        shape = (1, out, 1, 1) if parts["lora_down.weight"].dim() == 4 else (out,)
        made["lora_magnitude_vector"] = scale.reshape(shape)
    return made


def _lora_config(mine: list[tuple[str, dict[str, Tensor]]]) -> dict[str, Any]:
    """PEFT's LoraConfig: the commonest rank and alpha, and patterns for the others.

    PEFT matches the ends of module names: without `text_model.` they fit the text encoders of old
    and new transformers alike.
    """
    short = [(path.removeprefix("text_model."), parts) for path, parts in mine]
    ranks = {path: rank_of(parts) for path, parts in short}
    alphas = {path: float(parts["alpha"]) for path, parts in short}
    rank, alpha = (max(v := list(values.values()), key=v.count) for values in (ranks, alphas))
    return {
        "r": rank,
        "lora_alpha": alpha,
        "rank_pattern": {path: value for path, value in ranks.items() if value != rank},
        "alpha_pattern": {path: value for path, value in alphas.items() if value != alpha},
        "target_modules": list(ranks),
        "use_dora": any("dora_scale" in parts for _, parts in mine),
        "lora_bias": False,
    }


def _only_lora(adapter: AdapterFile, target: str) -> None:
    """What a target cannot say is an error that names it, never a silent loss."""
    for kind, count in adapter.kinds().items():
        if not KINDS[kind].peft:
            raise AdapterError(
                f"{counted(count, 'layer is', 'layers are')} {kind}, which {target} cannot hold.",
                "Convert to kohya, which can.",
            )
    plain = [n for n, parts in adapter.modules.items() if "dora_scale" not in parts]
    if plain and len(plain) < len(adapter.modules):
        raise AdapterError(
            f"{plain[0]} is plain LoRA among DoRA modules, which {target} cannot tell apart.",
            "Convert to kohya, which can.",
        )
    if adapter.embeddings:
        raise AdapterError(
            f"it bundles the token {next(iter(adapter.embeddings))!r}, which {target} cannot hold.",
            "Convert to kohya, which can.",
        )
    refuse_strays(adapter)


def _alpha_dtype(adapter: AdapterFile) -> dict[str, str]:
    """Remembered so that there and back again is bit-identical."""
    kinds = {str(parts["alpha"].dtype) for parts in adapter.modules.values()}
    return {"kaiffin.alpha_dtype": kinds.pop().removeprefix("torch.")} if len(kinds) == 1 else {}


@dataclass(frozen=True)
class TrainedOn:
    """The base of an adapter as its header tells it. side: pixels of the square trained at."""

    family: str
    name: str
    revision: str
    prediction_type: str
    side: int


def metadata(
    base: TrainedOn, *, kind: str = "lora", rank: int, alpha: float, title: str, trigger: str,
    facts: Mapping[str, object],
) -> dict[str, str]:  # fmt: skip
    """The header strings that readers need, and what a person may want to know.

    trigger: the subject's words, or those of several with commas between; facts: further `ss_*`
    values, such as {"steps": 400, "seed": 0}. Nothing here depends on the clock, so that a resumed
    training ends in the same bytes; folder names are left out.
    """
    args, said = KINDS[kind].network_args, base.prediction_type
    prediction = "v" if said == "v_prediction" else said
    ours = {
        "ss_base_model_version": SPECS[base.family].base_version,
        "ss_v2": "False",
        "ss_network_module": "lycoris.kohya" if args else "networks.lora",
        "ss_network_dim": str(rank),
        "ss_network_alpha": f"{alpha:g}",
        "ss_network_args": json.dumps(args),
        "ss_output_name": title,
        "ss_sd_model_name": base.name,
        "ss_resolution": f"({base.side}, {base.side})",
        "ss_training_comment": "trained with Kaiffin",
    }
    ours |= {f"ss_{name}": str(value) for name, value in facts.items() if value is not None}
    spec = {
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": SPECS[base.family].architecture,
        "modelspec.implementation": "diffusers",
        "modelspec.title": title,
        "modelspec.resolution": f"{base.side}x{base.side}",
        "modelspec.prediction_type": prediction,
        "modelspec.trigger_phrase": trigger,
        "modelspec.usage_hint": f"Use {trigger.replace(', ', ' or ')} in the prompt.",
        "kaiffin.base_revision": base.revision,
    }
    return ours | spec
