"""An adapter file opened by others' code: diffusers' loader, PEFT for its own folders, LyCORIS for
its own kinds.

What they attach goes onto the family's own modules, so no second copy of the base is needed, and
is taken off again afterwards.
"""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from kaiffin.adapters.elsewhere.proof import NoReader
from kaiffin.adapters.files import names, reading, safe
from kaiffin.adapters.files.reading import EMBEDDING
from kaiffin.adapters.files.spelling import OF_PEFT
from kaiffin.adapters.load import table_of
from kaiffin.adapters.stack import full_modules
from kaiffin.foundation.errors import AdapterError
from kaiffin.foundation.extras import needs
from kaiffin.foundation.kinds import KINDS
from kaiffin.models import parts
from kaiffin.models.base import ModelFamily
from kaiffin.models.files.pipeline import NoPipeline, as_pipeline

# diffusers 0.42.1 knows LoRA only; of a kohya file's DoRA it drops the magnitudes without an error.
OF_LYCORIS = tuple(f".{mark}" for kind in KINDS.values() if not kind.plain for mark in kind.marks)

# What their code raises of a file whose names or shapes they did not think of.
CODE_OF_OTHERS = (ValueError, RuntimeError, LookupError, TypeError, AttributeError, OSError)


@contextlib.contextmanager
def opened_by_others(family: ModelFamily, path: Path) -> Iterator[dict[str, int]]:
    """Inside, `family` runs with the adapter as an independent reader attached it.

    Yields the number of layers that it matched in each tower. Raises AdapterError where it
    refuses the file, NoReader where LyCORIS is wanted and not installed.
    """
    if not path.is_dir() and any(key.endswith(OF_LYCORIS) for key in safe.header(path)[0]):
        reader = _by_lycoris
    elif path.is_dir() or any(key.startswith(OF_PEFT) for key in safe.header(path)[0]):
        reader = _by_peft
    else:
        reader = _by_diffusers
    with warnings.catch_warnings(action="ignore"), parts.quiet(), reader(family, path) as matched:
        yield matched


@contextlib.contextmanager
def _by_diffusers(family: Any, path: Path) -> Iterator[dict[str, int]]:
    try:
        pipeline = as_pipeline(family)
    except NoPipeline as error:
        raise NoReader(error.message) from None
    try:
        if any(key.startswith(EMBEDDING) for key in safe.header(path)[0]):
            # diffusers takes tokens from embedding files only, and trips over bundled ones.
            tensors = safe.read(path)[0]
            kept = {key: value for key, value in tensors.items() if not key.startswith(EMBEDDING)}
            pipeline.load_lora_weights(kept)
        else:
            pipeline.load_lora_weights(str(path.parent), weight_name=path.name)
        yield {tower: _count(module) for tower, module in family.towers.items()}
    except CODE_OF_OTHERS as error:
        raise AdapterError(f"{path}: diffusers cannot open it: {error}.") from None
    finally:
        pipeline.unload_lora_weights()


@contextlib.contextmanager
def _by_peft(family: ModelFamily, path: Path) -> Iterator[dict[str, int]]:
    """A PEFT folder, one for each tower below it, or a file of one.

    Layers that the configuration names and the file does not hold are idle, and not counted.
    """
    from peft import LoraConfig, PeftModel, set_peft_model_state_dict

    models: list[Any] = []
    matched = dict.fromkeys(family.towers, 0)
    try:
        for tower, file in reading.files_of_peft(path, table_of(family)).items():
            module: Any = family.towers[tower]
            tensors = safe.read(file)[0]
            if not hasattr(module, "text_model"):  # transformers has dropped it since 5.6
                tensors = {key.replace(".text_model.", "."): t for key, t in tensors.items()}
            models.append(PeftModel(module, LoraConfig.from_pretrained(str(file.parent))))
            strange = set_peft_model_state_dict(models[-1], tensors).unexpected_keys
            if strange:
                raise AdapterError(f"{file}: PEFT has no place for {strange[0]}.")
            matched[tower] = len({key.rpartition(".lora_")[0] for key in tensors})
        yield matched
    except CODE_OF_OTHERS as error:
        raise AdapterError(f"{path}: PEFT cannot open it: {error}.") from None
    finally:
        for model in models:
            model.unload()


@contextlib.contextmanager
def _by_lycoris(family: ModelFamily, path: Path) -> Iterator[dict[str, int]]:
    """LyCORIS' own classes recognise each layer's kind and make its merged weight."""
    with needs("lycoris", "reading DoRA, LoHa, LoKr or OFT by LyCORIS", NoReader):
        logging.getLogger("LyCORIS").setLevel(logging.ERROR)
        import lycoris.modules  # noqa: F401
    tensors, modules = safe.read(path)[0], full_modules(family)
    homes = names.homes(modules, family.name, family.layers_per_block)
    given = (key for key in tensors if not key.startswith(EMBEDDING))
    spelled = dict.fromkeys(key.partition(".")[0] for key in given)
    matched = dict.fromkeys(family.towers, 0)
    before: list[tuple[Any, torch.Tensor]] = []
    try:
        for name in spelled:
            if name not in homes:
                raise AdapterError(f"{path}: LyCORIS has no layer {name}.")
            target: Any = modules[homes[name]]
            weight = weight_by_lycoris(tensors, name, target)
            if weight is None:
                raise AdapterError(f"{path}: LyCORIS knows no kind of {name}.")
            before.append((target, target.weight.data))
            target.weight.data = weight.to(target.weight)
            matched[homes[name].partition(".")[0]] += 1
        yield matched
    except CODE_OF_OTHERS as error:
        raise AdapterError(f"{path}: LyCORIS cannot open it: {error}.") from None
    finally:
        for target, weight in before:
            target.weight.data = weight


@torch.no_grad()
def weight_by_lycoris(
    tensors: Mapping[str, torch.Tensor], name: str, target: Any
) -> torch.Tensor | None:
    """The weight of `target`, fp32, as LyCORIS changes it; None where it knows no such kind.

    Not by its modules' `get_diff_weight`, which in 4.1.3 multiplies LoHa and LoKr by alpha / rank
    twice, where ComfyUI and PEFT do so once. Nor are magnitudes given to modules, which made of
    tensors take them for those of the outputs.
    """
    from lycoris.functional.general import weight_decompose
    from lycoris.modules import LokrModule, get_module, make_module

    kind, weights = get_module(tensors, name)
    if kind is None:
        return None
    parts = dict(zip(kind.weight_list, weights, strict=True))
    magnitude = parts.pop("dora_scale", None)
    shape, base = target.weight.shape, target.weight.float()
    if kind is LokrModule:
        moved = base + _kronecker(parts).view(shape)
    else:
        plain = [parts.get(part) for part in kind.weight_list]
        made: Any = make_module(kind, plain, name, target)
        if made is None:
            return None
        if made.name in ("diag-oft", "locon"):
            moved = made.get_merged_weight(shape=shape)[0].float().view(shape)
        else:
            moved = base + made.get_weight(shape).view(shape)
    if magnitude is None:
        return moved
    return weight_decompose(moved, magnitude, 1, len(magnitude) == len(base))


def _kronecker(parts: Mapping[str, torch.Tensor | None]) -> torch.Tensor:
    """A LoKr's update by LyCORIS' functions, from the tensors as they are.

    Not by its module, which in 4.1.3 guesses the factors of the layer's widths anew and finds
    others for a convolution of 1920 to 640 channels.
    """
    from lycoris.functional.lokr import diff_weight

    names = ("w1", "w1_a", "w1_b", "w2", "w2_a", "w2_b", "t2")
    weights = [parts[f"lokr_{name}"] for name in names]
    thin = [w for w in (parts["lokr_w1_b"], parts["lokr_w2_b"]) if w is not None]
    alpha = parts["alpha"]
    given = float(thin[-1].shape[0] if alpha is None else alpha) if thin else 1.0
    return diff_weight(*weights, gamma=given)  # whole factors have no alpha


def _count(module: Any) -> int:
    from peft.tuners.tuners_utils import BaseTunerLayer

    return sum(isinstance(inner, BaseTunerLayer) for inner in module.modules())
