"""Names of layers: the published paths, kohya's spelling of them, and how others spell them.

    lora_unet_<path>    lora_te_<path> (SD 1.x)    lora_te1_<path>, lora_te2_<path> (SDXL)

with "." as "_"; kohya names SDXL's UNet by its original (SGM) blocks. Every name comes from the
paths of the published checkpoints, never from what the installed libraries call their modules.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from kaiffin.foundation.errors import AdapterError
from kaiffin.models.families.spec import SPECS

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
    spec, (tower, _, path) = SPECS[family], full.partition(".")
    if tower not in spec.towers or not path:
        raise AdapterError(f"{full}: has no name in kohya's format.")
    if spec.original_blocks and tower == spec.denoiser:
        path = sgm_path(path, layers_per_block)
    return f"{spec.towers[tower].kohya}_{path.replace('.', '_')}"


def is_kohya(key: str) -> bool:
    """Whether a key begins as kohya's do, of whichever family."""
    towers = [tower for spec in SPECS.values() for tower in spec.towers.values()]
    return key.startswith(tuple(f"{p}_" for t in towers for p in (t.kohya, *t.others)))


def sgm_path(path: str, layers_per_block: int = 2, upsampler: int = 2) -> str:
    """A diffusers UNet path in the original numbering of SDXL's blocks.

    With L layers per block, `down_blocks.b.x.j` is `input_blocks.{(L+1)b+j+1}.{0|1}` and
    `up_blocks.b.x.j` is `output_blocks.{(L+1)b+j}.{0|1}`; upsamplers come after what is there:
    at place `upsampler`, which is 1 in a block without attention.
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
        return f"output_blocks.{stride * int(match[1]) + layers_per_block}.{upsampler}.conv"
    raise AdapterError(f"{path}: has no name among the original blocks.")


def _inner(kind: str, rest: str) -> str:
    if kind == "attentions":
        return f"1.{rest}"
    name, _, more = rest.partition(".")
    return f"0.{RESNET[name]}" + (f".{more}" if more else "")


def homes(names: Collection[str], family: str, layers_per_block: int = 2) -> dict[str, str]:
    """Every known kohya spelling of `names` (`<tower>.<path>`) -> the name itself.

    Read as well: SDXL with diffusers' block names, SD 1.x with the original ones and with `te1`,
    and text encoders without `text_model`, which newer transformers made some programs write.
    """
    spec, table = SPECS[family], {}
    for name in names:
        tower, _, path = name.partition(".")
        paths = [path, path.removeprefix("text_model.")]
        if tower == spec.denoiser:
            paths = [path, *_original(path, tower, names, layers_per_block)]
        for start in (spec.towers[tower].kohya, *spec.towers[tower].others):
            for spelled in paths:
                table.setdefault(f"{start}_{spelled.replace('.', '_')}", name)
    return table


def dotted(names: Collection[str], family: str, layers_per_block: int = 2) -> dict[str, str]:
    """Every known spelling of `names` that keeps its dots -> the name itself.

    `unet.<path>`, `diffusion_model.<original path>` and the like; the denoiser's also bare, as
    diffusers' `save_attn_procs` writes them, and the text encoder's where there is one alone.
    """
    spec, table = SPECS[family], {}
    bare = {spec.denoiser, *(spec.text_towers if len(spec.text_towers) == 1 else ())}
    for name in names:
        tower, _, path = name.partition(".")
        paths = [path, path.removeprefix("text_model.")]
        if tower == spec.denoiser:
            paths = [path, *_original(path, tower, names, layers_per_block)]
        starts = [f"{start}." for start in (tower, *spec.towers[tower].dotted)]
        for start in [*starts, ""] if tower in bare else starts:
            for spelled in paths:
                table.setdefault(f"{start}{spelled}", name)
    return table


def is_misspelled(spelled: str) -> bool:
    """A text-encoder name without `text_model`: ComfyUI and A1111 ignore it without a word."""
    return re.match(r"lora_te\d?_encoder_", spelled) is not None


def _original(path: str, tower: str, names: Collection[str], layers_per_block: int) -> list[str]:
    block = path.split(".")[1] if path.startswith("up_blocks.") else ""
    has_attention = f"{tower}.up_blocks.{block}.attentions.0.proj_in" in names
    try:
        return [sgm_path(path, layers_per_block, 2 if has_attention else 1)]
    except AdapterError:
        return []
