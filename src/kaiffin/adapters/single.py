"""A base, as its weights are now, as one checkpoint file: the layout that A1111 and ComfyUI read.

The original code's names (LDM for SD 1.x, SGM for SDXL), by the tables that adapters' names are
made from. Tensors are written one by one, so that the file is never in memory.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import safe_open
from torch import Tensor

from kaiffin.adapters.files.names import sgm_path
from kaiffin.foundation.errors import AdapterError, UserError
from kaiffin.foundation.folder import explained
from kaiffin.foundation.tell import Tell
from kaiffin.models import parts
from kaiffin.models.families.spec import SPECS, UNET, tokenizer_of

Half = Literal["fp16", "bf16", "fp32"]
DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}
SPELLED = {torch.float16: "F16", torch.bfloat16: "BF16", torch.float32: "F32"}
VAE = "first_stage_model."
# Inside the VAE: diffusers' name -> the original one.
_VAE_PARTS = (
    (r"conv_norm_out", "norm_out"), (r"conv_shortcut", "nin_shortcut"),
    (r"mid_block\.resnets\.0", "mid.block_1"), (r"mid_block\.resnets\.1", "mid.block_2"),
    (r"mid_block\.attentions\.0\.group_norm", "mid.attn_1.norm"),
    (r"mid_block\.attentions\.0\.to_out\.0", "mid.attn_1.proj_out"),
    (r"mid_block\.attentions\.0\.to_([qkv])", r"mid.attn_1.\1"),
    (r"down_blocks\.(\d+)\.resnets", r"down.\1.block"),
    (r"down_blocks\.(\d+)\.downsamplers\.0", r"down.\1.downsample"),
)  # fmt: skip
# Inside OpenCLIP's text tower: transformers' name -> the original one.
_OPENCLIP = (
    ("embeddings.token_embedding", "token_embedding"),
    ("embeddings.position_embedding.weight", "positional_embedding"),
    ("final_layer_norm", "ln_final"), ("encoder.layers", "transformer.resblocks"),
    ("self_attn.out_proj", "attn.out_proj"), ("layer_norm1", "ln_1"), ("layer_norm2", "ln_2"),
    ("mlp.fc1", "mlp.c_fc"), ("mlp.fc2", "mlp.c_proj"),
)  # fmt: skip


@dataclass(frozen=True)
class Weight:
    """One tensor of the file. make: it, in the dtype that the base has here."""

    name: str
    shape: tuple[int, ...]
    make: Callable[[], Tensor]


def weights(family: Any) -> Iterator[Weight]:
    """Every weight of a base under its original name: denoiser, VAE, text encoders.

    family: a latent diffusion base (SD 1.x or SDXL), with its adapters merged. Raises AdapterError
    for a family without such files.
    """
    spec = SPECS[family.name]
    if not all(tower.original for tower in spec.towers.values()):
        raise AdapterError(f"{spec.title} has no checkpoint files of one piece.")
    yield from _unet(family.net, family.layers_per_block)
    yield from _vae(family.vae)
    for tower in spec.text_towers:
        start, state = spec.towers[tower].original, family.encoders[tower].state_dict()
        yield from (_openclip if start.endswith(".model.") else _clip)(start, state)
    # Empty tensors by which A1111, ComfyUI and Kaiffin know a base that predicts v.
    config = family.schedule.config
    if family.schedule.prediction_type == "v_prediction":
        yield Weight("v_pred", (0,), lambda: torch.zeros(0))
        if config.get("rescale_betas_zero_snr"):
            yield Weight("ztsnr", (0,), lambda: torch.zeros(0))


def _plain(name: str, value: Tensor) -> Weight:
    return Weight(name, tuple(value.shape), lambda: value)


def _unet(net: Any, layers_per_block: int) -> Iterator[Weight]:
    state = net.state_dict()
    with_attention = {name.split(".")[1] for name in state
                      if name.startswith("up_blocks.") and ".attentions." in name}  # fmt: skip
    for name, value in state.items():
        path, _, part = name.rpartition(".")
        if path == "conv_norm_out":
            original = "out.0"
        else:
            block = path.split(".")[1] if path.startswith("up_blocks.") else ""
            original = sgm_path(path, layers_per_block, 2 if block in with_attention else 1)
        yield _plain(f"{UNET}{original}.{part}", value)


def _vae(vae: Any) -> Iterator[Weight]:
    levels = len(vae.config.block_out_channels)

    def up(match: re.Match[str]) -> str:
        inner = f"block.{match[3]}" if match[2] == "resnets" else "upsample"
        return f"up.{levels - 1 - int(match[1])}.{inner}"

    for name, value in vae.state_dict().items():
        original = re.sub(r"up_blocks\.(\d+)\.(resnets|upsamplers)\.(\d+)", up, name)
        for ours, theirs in _VAE_PARTS:
            original = re.sub(ours, theirs, original)
        # Its attention has 1x1 convolutions there.
        is_projection = re.search(r"attn_1\.(q|k|v|proj_out)\.weight$", original) is not None
        shape = value[..., None, None] if is_projection and value.dim() == 2 else value
        yield _plain(f"{VAE}{original}", shape)


def _clip(start: str, state: Mapping[str, Tensor]) -> Iterator[Weight]:
    """transformers since 5.6 calls CLIP's layers without `text_model.`; files have it."""
    for name, value in state.items():
        if not name.endswith("position_ids"):
            yield _plain(f"{start}text_model.{name.removeprefix('text_model.')}", value)


def _openclip(start: str, state: Mapping[str, Tensor]) -> Iterator[Weight]:
    """Query, key and value are one matrix there, and the projection is turned."""
    for name, value in state.items():
        path = name.removeprefix("text_model.")
        if path == "text_projection.weight":
            yield _plain(f"{start}text_projection", value.T)
        elif "self_attn.q_proj" in path:
            three = [state[name.replace("q_proj", f"{x}_proj")] for x in "qkv"]
            inner = path.replace("self_attn.q_proj.", "attn.in_proj_")
            shape = (3 * value.shape[0], *value.shape[1:])
            yield Weight(f"{start}{_renamed(inner)}", shape, lambda three=three: torch.cat(three))
        elif "k_proj" not in path and "v_proj" not in path and not path.endswith("position_ids"):
            yield _plain(f"{start}{_renamed(path)}", value)


def _renamed(path: str) -> str:
    for ours, theirs in _OPENCLIP:
        path = path.replace(ours, theirs)
    return path


# --- the file ---------------------------------------------------------------------------------


def write(family: Any, out: Path, dtype: Half, metadata: Mapping[str, str], *, tell: Tell) -> int:
    """Writes the base as one file, whole or not at all, and reads it back; answers with its bytes.

    dtype: of every weight. Raises UserError where a weight is too large for it, where the disk
    refuses, and where what was written is not what was meant.
    """
    made, kind = list(weights(family)), DTYPES[dtype]
    entries: dict[str, Any] = {"__metadata__": {"format": "pt", **metadata}}
    end = 0
    for one in made:
        first, end = end, end + _count(one.shape) * kind.itemsize
        entries[one.name] = {
            "dtype": SPELLED[kind], "shape": list(one.shape), "data_offsets": [first, end],
        }  # fmt: skip
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    part = out.with_name(f".{out.name}.{os.getpid()}.part")
    with explained(out), _aside(part, out), tell.progress("written", len(made)) as progress:
        with part.open("wb") as file:
            file.write(struct.pack("<Q", len(text)) + text)
            for one in made:
                file.write(_bytes(one, kind, dtype))
                progress.advance()
            file.flush()
            os.fsync(file.fileno())
        _prove(part, made, kind)
    return out.stat().st_size


@contextlib.contextmanager
def _aside(part: Path, out: Path) -> Iterator[None]:
    """The part takes its name when all is well, and is gone where it is not."""
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield
        os.replace(part, out)
    finally:
        part.unlink(missing_ok=True)


def _count(shape: tuple[int, ...]) -> int:
    return int(torch.Size(shape).numel())


def _rounded(one: Weight, kind: torch.dtype) -> Tensor:
    return one.make().detach().cpu().to(kind).contiguous()


def _bytes(one: Weight, kind: torch.dtype, dtype: Half) -> bytes:
    value = _rounded(one, kind)
    if not torch.isfinite(value).all():
        raise UserError(
            f"{one.name}: has numbers that {dtype} cannot hold.", "Write it with --dtype bf16."
        )
    return value.view(torch.uint8).numpy().tobytes() if value.numel() else b""


def _prove(path: Path, made: list[Weight], kind: torch.dtype) -> None:
    """Every tensor of the file is the base's, rounded: read one by one."""
    with safe_open(path, framework="pt") as file:
        names = set(file.keys())
        for one in made:
            if one.name not in names or not file.get_tensor(one.name).equal(_rounded(one, kind)):
                raise UserError(f"{path}: {one.name} does not read back.", "Is the disk sound?")


def write_configs(family: Any, folder: Path) -> None:
    """The configurations of a base of unusual shape, which cannot be told from its weights."""
    with parts.quiet():
        family.net.save_config(str(folder / "unet"))
        family.vae.save_config(str(folder / "vae"))
        for tower, encoder in family.encoders.items():
            encoder.config.save_pretrained(str(folder / tower))
        for tower, tokenizer in family.tokenizers.items():
            own = folder / tokenizer_of(tower)
            tokenizer.save_pretrained(str(own))
            tokenizer.backend_tokenizer.model.save(str(own))  # vocab.json, merges.txt
    config = {"_class_name": "DDIMScheduler", **family.schedule.config}
    place = folder / "scheduler"
    place.mkdir(parents=True, exist_ok=True)
    (place / "scheduler_config.json").write_text(json.dumps(config, indent=1, default=str))


def is_published_shape(family: Any) -> bool:
    """Whether programs tell its configuration from its weights alone."""
    return family.net.config.cross_attention_dim == SPECS[family.name].context
