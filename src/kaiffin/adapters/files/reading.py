"""What adapter files hold, in every layout that people share, as one thing: `AdapterFile`.

| layout | keys | alpha |
|---|---|---|
| kohya | `lora_unet_<path>.lora_down.weight`, LyCORIS' and DoRA's parts as well | tensor |
| diffusers | `unet.<path>.lora_A.weight` (older: `lora.down`, `..._lora.down`) | header, or rank |
| peft | folder of `base_model.model.<path>.lora_A.weight` and a config | config |

Alphas are kept as tensors `alpha`, so that reading is the same for all; see names.py for paths.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from kaiffin.adapters.files import names, safe
from kaiffin.adapters.files.tables import Table
from kaiffin.adapters.kinds import by_module, kind_of, kohya_split, rank_of
from kaiffin.foundation.errors import AdapterError
from kaiffin.foundation.kinds import KINDS, PARTS
from kaiffin.models.families.spec import SPECS, TEXT

Layout = Literal["kohya", "diffusers", "peft"]
EMBEDDING = "bundle_emb."
DIFFUSERS_HEADER = "lora_adapter_metadata"

# Other spellings of the two factors and of DoRA's magnitude -> kohya's.
_ENDINGS = {
    ".lora_A.weight": "lora_down.weight", ".lora_B.weight": "lora_up.weight",
    ".lora.down.weight": "lora_down.weight", ".lora.up.weight": "lora_up.weight",
    "_lora.down.weight": "lora_down.weight", "_lora.up.weight": "lora_up.weight",
    ".lora_linear_layer.down.weight": "lora_down.weight",
    ".lora_linear_layer.up.weight": "lora_up.weight",
    ".lora_down.weight": "lora_down.weight", ".lora_up.weight": "lora_up.weight",
    ".lora_magnitude_vector.weight": "dora_scale", ".lora_magnitude_vector": "dora_scale",
    ".dora_scale": "dora_scale", ".alpha": "alpha",
}  # fmt: skip


@dataclass
class AdapterFile:
    """One adapter. modules: canonical name -> part -> tensor; strays: keys without a home.

    misspelled: keys that were read but that ComfyUI and A1111 ignore; embeddings: custom tokens.
    """

    layout: Layout
    family: str
    modules: dict[str, dict[str, Tensor]]
    metadata: dict[str, str] = field(default_factory=dict)
    embeddings: dict[str, Tensor] = field(default_factory=dict)
    strays: list[str] = field(default_factory=list)
    misspelled: list[str] = field(default_factory=list)

    def kinds(self) -> dict[str, int]:
        """Number of modules of each kind: lora, dora, tucker, loha, lokr, oft."""
        found: dict[str, int] = {}
        for parts in self.modules.values():
            kind = kind_of(parts)
            found[kind] = found.get(kind, 0) + 1
        return found

    def state(self) -> dict[str, Tensor]:
        """Flat: `<module>.<part>` -> tensor, as `Lora.state` gives it."""
        return {f"{n}.{part}": t for n, parts in self.modules.items() for part, t in parts.items()}


def from_state(
    state: Mapping[str, Tensor], family: str, metadata: Mapping[str, str] | None = None
) -> AdapterFile:
    """An adapter's `state()` as a file to be written."""
    return AdapterFile("kohya", family, by_module(state), dict(metadata or {}))


# --- reading ----------------------------------------------------------------------------------


def read(path: Path, table: Table) -> AdapterFile:
    """Reads a file or PEFT folder against the layers of a base.

    What has no home in the table is listed in `strays`; what is broken is an `AdapterError`.
    """
    if path.is_dir():
        return _read_peft(path, table)
    tensors, metadata = safe.read(path)
    if any(key.startswith("base_model.model.") for key in tensors):
        return _read_peft(path.parent, table)
    if any(names.is_kohya(key) or key.startswith(EMBEDDING) for key in tensors):
        return _read_kohya(tensors, metadata, table)
    return _read_diffusers(tensors, metadata, table)


def refuse_strays(found: AdapterFile) -> None:
    """`AdapterError` naming keys without a home."""
    if found.strays:
        more = f" and {len(found.strays) - 2} more" if len(found.strays) > 2 else ""
        raise AdapterError(
            f"{len(found.strays)} keys have no home in {SPECS[found.family].title}: "
            f"{', '.join(found.strays[:2])}{more}.",
            "The adapter was made for another base or another kind of adapter.",
        )


def _read_kohya(
    tensors: Mapping[str, Tensor], metadata: dict[str, str], table: Table
) -> AdapterFile:
    homes = names.homes(table.layers, table.family, table.layers_per_block)
    found = AdapterFile("kohya", table.family, {}, metadata)
    for key, value in tensors.items():
        spelled, part = kohya_split(key)
        home = homes.get(spelled)
        if key.startswith(EMBEDDING):
            found.embeddings[key.removeprefix(EMBEDDING)] = value
        elif home is None or part not in PARTS:
            found.strays.append(key)
        else:
            if part in found.modules.get(home, {}):
                raise AdapterError(f"{home}: {part} is there twice, under two spellings.")
            found.modules.setdefault(home, {})[part] = value
            if names.is_misspelled(spelled):
                found.misspelled.append(key)
    _complete(found)
    return found


def _read_diffusers(
    tensors: Mapping[str, Tensor], metadata: dict[str, str], table: Table
) -> AdapterFile:
    found = AdapterFile("diffusers", table.family, {}, metadata)
    for key, value in tensors.items():
        name, part = _diffusers_split(key)
        if part is None or name not in table.layers:
            found.strays.append(key)
        else:
            found.modules.setdefault(name, {})[part] = _kohya_shape(part, value)
    configs = _json(metadata.get(DIFFUSERS_HEADER, "{}"), DIFFUSERS_HEADER)
    for tower in SPECS[table.family].towers:
        config = {
            key.removeprefix(f"{tower}."): value
            for key, value in configs.items()
            if key.startswith(f"{tower}.")
        }
        _set_alphas(found, tower, config)
    _complete(found)
    return found


def _read_peft(folder: Path, table: Table) -> AdapterFile:
    """A PEFT folder, or a folder of them named after the towers."""
    found = AdapterFile("peft", table.family, {})
    inner = [folder / tower for tower in SPECS[table.family].towers]
    parts = [path for path in inner if (path / "adapter_config.json").is_file()] or [folder]
    for part in parts:
        _read_one_peft(found, part, table, part.name if part in inner else "")
    _complete(found)
    return found


def _read_one_peft(found: AdapterFile, folder: Path, table: Table, tower: str) -> None:
    path = folder / "adapter_config.json"
    try:
        config = _json(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError):
        raise AdapterError(
            f"{folder}: holds no readable adapter_config.json.",
            "Name a .safetensors file, or a PEFT folder.",
        ) from None
    if config.get("peft_type") != "LORA":
        raise AdapterError(f"{path}: is a {config.get('peft_type')!r}, not a LoRA.")
    tensors, metadata = safe.read(folder / "adapter_model.safetensors")
    found.metadata |= metadata
    fits = tower or _tower_of(tensors, table)
    for key, value in tensors.items():
        name, part = _diffusers_split(f"{fits}.{key.removeprefix('base_model.model.')}")
        if part is None or name not in table.layers:
            found.strays.append(key)
        else:
            found.modules.setdefault(name, {})[part] = _kohya_shape(part, value)
    _set_alphas(found, fits, config)


def _tower_of(tensors: Mapping[str, Tensor], table: Table) -> str:
    """A PEFT folder does not say which model it is of: text encoders have `encoder.layers`, and
    are told apart by their widths."""
    spec = SPECS[table.family]
    if not any(".encoder.layers." in f".{key}" for key in tensors):
        return spec.denoiser
    widths = {value.shape[-1] for key, value in tensors.items() if "k_proj.lora_A" in key}
    return next((t for t in spec.text_towers if table.text_widths[t] in widths), TEXT)


def _set_alphas(found: AdapterFile, tower: str, config: Mapping[str, Any]) -> None:
    """`alpha` tensors from a LoraConfig: patterns override, rsLoRA scales by sqrt(rank)."""
    if "lora_alpha" not in config:
        return
    patterns = _alpha_patterns(config)
    dtype = getattr(torch, str(found.metadata.get("kaiffin.alpha_dtype", "")), None)
    for name, parts in found.modules.items():
        if not name.startswith(f"{tower}.") or "lora_down.weight" not in parts:
            continue
        path = name.removeprefix(f"{tower}.")
        given = (value for pattern, value in patterns if pattern.fullmatch(path))
        alpha = next(given, _number(config["lora_alpha"], "lora_alpha"))
        if config.get("use_rslora"):
            alpha *= rank_of(parts) ** 0.5
        kind = dtype if isinstance(dtype, torch.dtype) else parts["lora_down.weight"].dtype
        parts["alpha"] = torch.tensor(alpha, dtype=kind)


def _alpha_patterns(config: Mapping[str, Any]) -> list[tuple[re.Pattern[str], float]]:
    """PEFT reads each key as the end of a module's name. Other expressions are not run: a
    stranger's could take for ever."""
    given = config.get("alpha_pattern") or {}
    if not isinstance(given, Mapping):
        raise AdapterError(f"alpha_pattern = {given!r} is no table of layers and alphas.")
    strange = [key for key in given if not re.fullmatch(r"\^?[\w.]+\$?", key)]
    if strange:
        raise AdapterError(f"alpha_pattern holds {strange[0][:60]!r}, which is no layer's name.")
    return [
        (re.compile(rf"(.*\.)?{key.strip('^$')}"), _number(value, f"alpha_pattern of {key}"))
        for key, value in given.items()
    ]


def _number(value: object, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise AdapterError(f"{what} = {value!r} is no number.", "The configuration is broken.")
    return float(value)


def _kohya_shape(part: str, value: Tensor) -> Tensor:
    """DoRA's magnitude is (out) or (1, out, 1, 1) in PEFT, and (out, 1) or (out, 1, 1, 1) here."""
    if part != "dora_scale" or value.dim() not in (1, 4):
        return value
    return value.reshape(-1, 1) if value.dim() == 1 else value.reshape(-1, 1, 1, 1)


def _diffusers_split(key: str) -> tuple[str, str | None]:
    """Canonical module name and part; part None where the key is no known one."""
    key = key.replace(".default.weight", ".weight")
    for ending, part in _ENDINGS.items():
        if not key.endswith(ending):
            continue
        name = key.removesuffix(ending)
        if ending.startswith("_lora"):  # the oldest: attn1.processor.to_q_lora.down.weight
            name = name.replace(".processor.", ".")
            name = re.sub(r"\.to_out$", ".to_out.0", name)
        return re.sub(rf"^({TEXT}\w*)\.(text_model\.)?", r"\1.text_model.", name), part
    return key, None


def _complete(found: AdapterFile) -> None:
    """Factors come in pairs that fit, ranks are positive, and every module has its alpha."""
    for name, parts in found.modules.items():
        if not _fits_together(parts):
            shapes = ", ".join(f"{part} {tuple(t.shape)}" for part, t in sorted(parts.items()))
            raise AdapterError(
                f"{name}: its parts do not fit together: {shapes}.", "The file is incomplete."
            )
        down, up = parts.get("lora_down.weight"), parts.get("lora_up.weight")
        if down is None and up is None:
            rank = rank_of(parts)
            if kind_of(parts) == "oft":
                rank = 0  # its alpha is a constraint, which is off
            if KINDS[kind_of(parts)].up:
                raise AdapterError(f"{name}: has no weights.", "The file is incomplete.")
        elif down is None or up is None:
            half = "lora_up" if up is None else "lora_down"
            raise AdapterError(f"{name}: {half} is missing.", "The file is incomplete.")
        elif down.dim() < 2 or up.dim() < 2 or not down.shape[0] or up.shape[1] != down.shape[0]:
            raise AdapterError(
                f"{name}: lora_down {tuple(down.shape)} and lora_up {tuple(up.shape)} do not match."
            )
        else:
            rank = down.shape[0]
        parts.setdefault("alpha", torch.tensor(float(rank)))


def _fits_together(parts: Mapping[str, Tensor]) -> bool:
    """Whether LyCORIS' parts are all there and multiply; plain LoRA is looked at by `_complete`."""
    kind = kind_of(parts)
    if parts.get("alpha", torch.tensor(0.0)).numel() != 1:
        return False
    weights = [value for part, value in parts.items() if part not in ("alpha", "dora_scale")]
    if kind != "lora" and any(value.dim() < 2 or not value.numel() for value in weights):
        return False
    if kind == "oft":
        shape = parts["oft_blocks"].shape
        return len(shape) == 3 and shape[1] == shape[2] and shape.numel() > 0
    if kind == "loha":
        tucker = "hada_t1" in parts
        return tucker or all(_multiply(parts, f"hada_w{i}_a", f"hada_w{i}_b") for i in (1, 2))
    if kind == "lokr":
        return "lokr_t2" in parts or all(
            _multiply(parts, f"lokr_w{i}_a", f"lokr_w{i}_b")
            if f"lokr_w{i}" not in parts
            else parts[f"lokr_w{i}"].dim() in (2, 2 * i) and parts[f"lokr_w{i}"].numel() > 0
            for i in (1, 2)
        )
    return True


def _multiply(parts: Mapping[str, Tensor], left: str, right: str) -> bool:
    """Whether both are there, are matrices, and can be multiplied."""
    a, b = parts.get(left), parts.get(right)
    if a is None or b is None or a.dim() != 2 or b.dim() != 2:
        return False
    return a.shape[1] == b.shape[0] and a.numel() > 0 and b.numel() > 0


def _json(text: str, source: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise AdapterError(f"{source}: is not valid JSON ({error}).") from None
    if not isinstance(value, dict):
        raise AdapterError(f"{source}: holds no settings.")
    return value
