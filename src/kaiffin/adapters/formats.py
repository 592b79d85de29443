"""Adapter files in kohya's naming, which ComfyUI, A1111 and diffusers read: pure dict to dict.

    lora_unet_<path>.lora_down.weight, .lora_up.weight, .alpha     path with "." as "_"
    lora_te_...  (SD 1.x)      lora_te1_..., lora_te2_...  (SDXL)

Every name comes from the canonical paths of the published checkpoints, never from what the
installed libraries call their modules. SDXL's UNet is named by its original (SGM) blocks.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import struct
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor

from kaiffin.errors import AdapterError, RunError

TOWERS = {
    "sd1": {"unet": "lora_unet", "text_encoder": "lora_te"},
    "sdxl": {"unet": "lora_unet", "text_encoder": "lora_te1", "text_encoder_2": "lora_te2"},
}
BASE_VERSIONS = {"sd1": "sd_v1", "sdxl": "sdxl_base_v1-0"}
ARCHITECTURES = {
    "sd1": "stable-diffusion-v1/lora",
    "sdxl": "stable-diffusion-xl-v1-base/lora",
}
PARTS = ("lora_down.weight", "lora_up.weight", "alpha")
PICKLES = {".bin", ".pt", ".pth", ".ckpt", ".pkl"}
HEADER_LIMIT = 50_000_000  # bytes; a LoRA of every SDXL layer has a header under 1 MB

# Inside a resnet: diffusers name -> original name.
RESNET = {
    "norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0", "conv2": "out_layers.3", "conv_shortcut": "skip_connection",
}  # fmt: skip
TOP = {
    "conv_in": "input_blocks.0.0", "conv_out": "out.2",
    "time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0", "add_embedding.linear_2": "label_emb.0.2",
}  # fmt: skip


def kohya_name(full: str, family: str, layers_per_block: int = 2) -> str:
    """`unet.down_blocks.0...to_q` -> `lora_unet_...`; AdapterError when it has no kohya name."""
    tower, _, path = full.partition(".")
    prefix = TOWERS[family].get(tower)
    if prefix is None or not path:
        raise AdapterError(f"{full}: has no name in kohya's format.")
    if family == "sdxl" and tower == "unet":
        path = sgm_path(path, layers_per_block)
    return f"{prefix}_{path.replace('.', '_')}"


def sgm_path(path: str, layers_per_block: int = 2) -> str:
    """A diffusers UNet path in the original numbering of SDXL's blocks.

    With L layers per block, `down_blocks.b.x.j` is `input_blocks.{(L+1)b+j+1}.{0|1}` and
    `up_blocks.b.x.j` is `output_blocks.{(L+1)b+j}.{0|1}`; upsamplers come after what is there.
    """
    if path in TOP:
        return TOP[path]
    stride = layers_per_block + 1
    if match := re.fullmatch(r"down_blocks\.(\d+)\.(resnets|attentions)\.(\d+)\.(.+)", path):
        block, kind, layer, rest = match.groups()
        number = stride * int(block) + int(layer) + 1
        return f"input_blocks.{number}.{_inner(kind, rest)}"
    if match := re.fullmatch(r"up_blocks\.(\d+)\.(resnets|attentions)\.(\d+)\.(.+)", path):
        block, kind, layer, rest = match.groups()
        return f"output_blocks.{stride * int(block) + int(layer)}.{_inner(kind, rest)}"
    if match := re.fullmatch(r"mid_block\.(resnets|attentions)\.(\d+)\.(.+)", path):
        kind, layer, rest = match.groups()
        number = 1 if kind == "attentions" else 2 * int(layer)
        inner = rest if kind == "attentions" else _inner(kind, rest).removeprefix("0.")
        return f"middle_block.{number}.{inner}"
    if match := re.fullmatch(r"down_blocks\.(\d+)\.downsamplers\.0\.conv", path):
        return f"input_blocks.{stride * (int(match[1]) + 1)}.0.op"
    if match := re.fullmatch(r"up_blocks\.(\d+)\.upsamplers\.0\.conv", path):
        # SDXL's first two up blocks have attention, so their upsampler stands third.
        return f"output_blocks.{stride * int(match[1]) + layers_per_block}.2.conv"
    raise AdapterError(f"unet.{path}: has no name in kohya's SDXL format.")


def _inner(kind: str, rest: str) -> str:
    if kind == "attentions":
        return f"1.{rest}"
    name, _, more = rest.partition(".")
    return f"0.{RESNET[name]}" + (f".{more}" if more else "")


def to_kohya(
    state: Mapping[str, Tensor], family: str, layers_per_block: int = 2
) -> dict[str, Tensor]:
    """An adapter's `state()` under kohya's names."""
    renamed = {}
    for key, value in state.items():
        name, part = _split(key)
        renamed[f"{kohya_name(name, family, layers_per_block)}.{part}"] = value
    return renamed


def from_kohya(
    tensors: Mapping[str, Tensor], family: str, names: list[str], layers_per_block: int = 2
) -> dict[str, Tensor]:
    """Kohya's (or diffusers', or PEFT's) keys back to full module names.

    names: all full module names of the base. The table kohya name -> module is made from them, so
    that "_" is never guessed at. Missing alphas become the rank. Raises `AdapterError` naming keys
    that have no home in this base.
    """
    table: dict[str, str] = {}
    for name in names:
        if family == "sdxl":  # files with diffusers block names exist as well
            tower, _, path = name.partition(".")
            table[f"{TOWERS[family][tower]}_{path.replace('.', '_')}"] = name
        try:
            table[kohya_name(name, family, layers_per_block)] = name
        except AdapterError:
            continue
        if name.startswith("text_encoder.") and family == "sd1":  # some tools write te1 for SD 1.x
            table["lora_te1_" + name.partition(".")[2].replace(".", "_")] = name
    known = set(names)
    state: dict[str, Tensor] = {}
    strays = []
    for key, value in tensors.items():
        module, part = _split(_diffusers_key(key))
        home = table.get(module, module if module in known else None)
        if home is None or part not in PARTS:
            strays.append(key)
        else:
            state[f"{home}.{part}"] = value
    if strays:
        more = f" and {len(strays) - 2} more" if len(strays) > 2 else ""
        raise AdapterError(
            f"{len(strays)} of {len(tensors)} keys have no home in this base: "
            f"{', '.join(strays[:2])}{more}.",
            "The adapter was made for another base or another kind of adapter.",
        )
    return _complete(state)


def _diffusers_key(key: str) -> str:
    """`unet.<path>.lora_A.weight` and older spellings -> `unet.<path>.lora_down.weight`."""
    key = key.removeprefix("base_model.model.")
    for theirs, ours in (
        (".lora_A.weight", ".lora_down.weight"), (".lora_B.weight", ".lora_up.weight"),
        (".lora.down.weight", ".lora_down.weight"), (".lora.up.weight", ".lora_up.weight"),
    ):  # fmt: skip
        key = key.replace(theirs, ours)
    for tower in ("text_encoder.", "text_encoder_2."):
        if key.startswith(tower) and not key.startswith(tower + "text_model."):
            key = f"{tower}text_model.{key.removeprefix(tower)}"
    return key


def _split(key: str) -> tuple[str, str]:
    for part in PARTS:
        if key.endswith(f".{part}"):
            return key.removesuffix(f".{part}"), part
    return key, ""


def _complete(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Pairs are whole and every module has its alpha."""
    modules = dict.fromkeys(_split(key)[0] for key in state)
    for name in modules:
        down, up = state.get(f"{name}.lora_down.weight"), state.get(f"{name}.lora_up.weight")
        if down is None or up is None:
            half = "lora_up" if up is None else "lora_down"
            raise AdapterError(f"{name}: {half} is missing.", "The file is incomplete.")
        if down.dim() < 2 or up.dim() < 2 or down.shape[0] < 1 or up.shape[1] != down.shape[0]:
            raise AdapterError(
                f"{name}: lora_down {tuple(down.shape)} and lora_up {tuple(up.shape)} do not match."
            )
        state.setdefault(f"{name}.alpha", torch.tensor(float(down.shape[0])))
    return state


# --- metadata ---------------------------------------------------------------------------------


def metadata(
    family: str, *, rank: int, alpha: float, title: str, trigger: str, resolution: tuple[int, int],
    prediction_type: str, base_name: str, base_revision: str, facts: Mapping[str, object],
) -> dict[str, str]:  # fmt: skip
    """The header strings that readers need, and what a person may want to know.

    facts: further `ss_*` values, such as {"steps": 400, "seed": 0}. Nothing here depends on the
    clock, so that a resumed training ends in the same bytes; folder names are left out.
    """
    ours = {
        "ss_base_model_version": BASE_VERSIONS[family],
        "ss_v2": "False",
        "ss_network_module": "networks.lora",
        "ss_network_dim": str(rank),
        "ss_network_alpha": f"{alpha:g}",
        "ss_network_args": "{}",
        "ss_output_name": title,
        "ss_sd_model_name": base_name,
        "ss_resolution": f"({resolution[0]}, {resolution[1]})",
        "ss_training_comment": "trained with Kaiffin",
    }
    ours |= {f"ss_{name}": str(value) for name, value in facts.items() if value is not None}
    spec = {
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": ARCHITECTURES[family],
        "modelspec.implementation": "diffusers",
        "modelspec.title": title,
        "modelspec.resolution": f"{resolution[0]}x{resolution[1]}",
        "modelspec.prediction_type": "v" if prediction_type == "v_prediction" else "epsilon",
        "modelspec.trigger_phrase": trigger,
        "modelspec.usage_hint": f"Use {trigger} in the prompt.",
        "kaiffin.base_revision": base_revision,
    }
    return ours | spec


def hashes(tensors: Mapping[str, Tensor], header: Mapping[str, str]) -> dict[str, str]:
    """`sshs_model_hash` and `sshs_legacy_hash` as sd-scripts computes them.

    Over the file with the ss_* metadata only: SHA-256 of the bytes after the header, and the first
    8 digits of SHA-256 over 64 KiB at offset 1 MiB.
    """
    data = to_bytes(dict(tensors), {k: v for k, v in header.items() if k.startswith("ss_")})
    (length,) = struct.unpack("<Q", data[:8])
    legacy = hashlib.sha256(data[0x100000 : 0x100000 + 0x10000]).hexdigest()[:8]
    return {
        "sshs_model_hash": hashlib.sha256(data[8 + length :]).hexdigest(),
        "sshs_legacy_hash": legacy,
    }


# --- files ------------------------------------------------------------------------------------


def save(path: Path, tensors: Mapping[str, Tensor], header: Mapping[str, str]) -> None:
    """Writes a kohya file whole or not at all; equal content gives equal bytes."""
    kept = {name: tensors[name].contiguous() for name in sorted(tensors)}
    full = dict(sorted({**header, **hashes(kept, header)}.items()))
    partial = path.with_name(f".{path.name}.part")
    try:
        with partial.open("wb") as file:
            file.write(_canonical_bytes(kept, full))
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise RunError(f"{path}: cannot be written ({error.strerror or error}).") from None


def _canonical_bytes(tensors: Mapping[str, Tensor], header: Mapping[str, str]) -> bytes:
    """The library's serialisation with the metadata in sorted order: it hashes strings in an
    order that changes from process to process."""
    data = to_bytes(dict(tensors), dict(header))
    (length,) = struct.unpack("<Q", data[:8])
    entries = json.loads(data[8 : 8 + length])
    ordered = {"__metadata__": dict(sorted(entries.pop("__metadata__").items())), **entries}
    text = json.dumps(ordered, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data[8 + length :]


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of an adapter file; every defect is an `AdapterError` in one line."""
    if path.is_dir():
        raise AdapterError(f"{path}: is a folder.", "Name the .safetensors file in it.")
    if path.suffix.lower() in PICKLES:
        raise AdapterError(
            f"{path}: {path.suffix} files are pickles, which can run code when opened.",
            "Get the .safetensors version.",
        )
    _check_header(path)
    try:
        with safe_open(path, framework="pt") as file:
            header = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, ValueError) as error:
        raise AdapterError(
            f"{path}: is no readable safetensors file ({error}).", "Copy or download it again."
        ) from None
    for name, value in tensors.items():
        if not value.is_floating_point() and not name.endswith(".alpha"):
            raise AdapterError(f"{path}: {name} holds {value.dtype}, not weights.")
        if not torch.isfinite(value.float()).all():
            raise AdapterError(f"{path}: {name} holds numbers that are not finite.")
    if not tensors:
        raise AdapterError(f"{path}: holds no tensors.")
    return tensors, header


def _check_header(path: Path) -> None:
    """Refuses what would make the reader allocate more than the file justifies."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(8)
    except OSError as error:
        raise AdapterError(f"{path}: cannot be read ({error.strerror}).") from None
    length = struct.unpack("<Q", start)[0] if len(start) == 8 else math.inf
    if length > min(size - 8, HEADER_LIMIT):
        raise AdapterError(
            f"{path}: is no safetensors file, or is cut off ({size} bytes).",
            "Copy or download it again.",
        )


def sha256(path: Path) -> str:
    """Hex digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
