"""A single checkpoint file opened: the layout of A1111, ComfyUI and kohya, part by part.

The names are diffusers' to translate (diffusers.loaders.single_file_utils); here is what lies in
the wild around them: twins, casts, old names, and parts that are not there.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from kaiffin.foundation.errors import MissingWeightsError
from kaiffin.foundation.tell import Progress
from kaiffin.models.families.shared import LatentDiffusion
from kaiffin.models.families.spec import SPECS
from kaiffin.models.files import header
from kaiffin.models.files.embedded import EMBEDDED
from kaiffin.models.files.faults import BROKEN, refuse_missing, unloadable
from kaiffin.models.files.header import Header
from kaiffin.models.files.recognise import FP8, lacking, starts_of
from kaiffin.models.files.resolve import Located

TEXT_MODEL = "text_model."
# What stands for a weight of fp8 is its number times a scale beside it, by two programs' names.
SCALES = ("scale_weight", "weight_scale")
# What of a schedule changes pictures or training, as Stable Diffusion has it.
PLAIN = {
    "prediction_type": "epsilon", "beta_schedule": "scaled_linear", "beta_start": 0.00085,
    "beta_end": 0.012, "num_train_timesteps": 1000, "rescale_betas_zero_snr": False,
    "timestep_spacing": "leading", "steps_offset": 1,
}  # fmt: skip


@dataclass(frozen=True)
class Checkpoint:
    """The models in a file, by component, and the components that it should have and lacks."""

    models: Mapping[str, Any]
    missing: tuple[str, ...]


def open_models(
    located: Located, family: type[LatentDiffusion], dtype: torch.dtype, *,
    wanted: Collection[str], wait: Progress,
) -> Checkpoint:  # fmt: skip
    """The models of a checkpoint file that are wanted, by component.

    Raises MissingWeightsError for a part that is there in part, or broken.
    """
    found = header.read(located.path)
    models: dict[str, Any] = {}
    missing = lacking(found, located.family)
    for name, cls in family.models().items():
        if name in missing or name not in wanted:
            continue
        weights = _weights(located.path, found, starts_of(located.family)[name], dtype)
        models[name] = _opened(cls, weights, located, name, dtype)
        wait.advance()
    return Checkpoint(models, tuple(name for name in missing if name in wanted))


def _weights(
    path: Path, found: Header, starts: tuple[str, ...], dtype: torch.dtype
) -> dict[str, Tensor]:
    """The tensors whose names begin so, under the names that diffusers knows."""
    names = [name for name in found.shapes if name.startswith(starts) and _is_weight(name)]
    try:
        with safe_open(path, framework="pt") as file:
            return dict(_read(file, found, names, dtype))
    except BROKEN as error:
        raise unloadable(path, error) from None


def _read(
    file: Any, found: Header, names: list[str], dtype: torch.dtype
) -> Iterator[tuple[str, Tensor]]:
    for name in names:
        value = file.get_tensor(name)
        if found.dtypes[name] in FP8:
            scales = [f"{name.rpartition('.')[0]}.{scale}" for scale in SCALES]
            scale = next((file.get_tensor(s) for s in scales if s in found.shapes), None)
            value = value.to(dtype) if scale is None else (value.float() * scale.float()).to(dtype)
        yield _as_published(name), value


def _is_weight(name: str) -> bool:
    """Not what programs keep beside them: positions that are counted anyway, and fp8's scales."""
    last = name.rpartition(".")[2]
    return last not in {"position_ids", "scale_input", "input_scale", "scaled_fp8", *SCALES}


def _as_published(name: str) -> str:
    """transformers before 4.3 had no `text_model.` in CLIP's names; old merges still have none."""
    for spec in SPECS.values():
        for tower in spec.text_towers:
            start = spec.towers[tower].original
            rest = name.removeprefix(start)
            if start.endswith("transformer.") and rest != name and not rest.startswith(TEXT_MODEL):
                return f"{start}{TEXT_MODEL}{rest}"
    return name


def _opened(
    cls: Any, weights: dict[str, Tensor], located: Located, name: str, dtype: torch.dtype
) -> Any:
    """One component by its class, with every weight it should have."""
    from diffusers.loaders.single_file_utils import create_diffusers_clip_model_from_ldm

    options = {
        "config": str(located.configs), "subfolder": name, "torch_dtype": dtype,
        "local_files_only": True,
    }  # fmt: skip
    try:
        if hasattr(cls, "from_single_file"):
            model = cls.from_single_file(weights, **options)
        else:
            model = create_diffusers_clip_model_from_ldm(cls, weights, **options)
    except BROKEN as error:
        raise unloadable(located.path, error) from None
    refuse_missing([n for n, p in model.named_parameters() if p.is_meta], located.path)
    return model


def schedule_config(located: Located) -> dict[str, Any]:
    """The scheduler's configuration, with what a file's marks change of it."""
    return _scheduler(located) | dict(located.schedule)


def schedule_mark(located: Located) -> str:
    """What of the schedule is not Stable Diffusion's own, as a part of a base's revision: two
    bases of the same weights make other pictures where it differs. Empty for most.

    A file's marks are in the file, and the bases inside Kaiffin have one schedule each.
    """
    if located.path in EMBEDDED.values():
        return ""
    written = _scheduler(located)
    changed = {name: written[name] for name, own in PLAIN.items() if written.get(name, own) != own}
    return json.dumps(changed, sort_keys=True) if changed else ""


def _scheduler(located: Located) -> dict[str, Any]:
    """Of the base's folder, or of the published base that a file is of."""
    path = located.configs / "scheduler" / "scheduler_config.json"
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise MissingWeightsError(f"{path}: cannot be used: {error}.", header.AGAIN) from None
