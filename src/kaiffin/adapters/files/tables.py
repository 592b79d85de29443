"""Every layer that an adapter can have, by canonical name and weight shape, from configurations.

The names are the published ones, written out here block by block: never taken from what the
installed libraries happen to call their modules. Works without weights, so that a file can be
judged where its base is not at hand.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kaiffin.foundation.errors import MissingWeightsError
from kaiffin.models.families.spec import SPECS
from kaiffin.models.files.resolve import CONFIGS

Shape = tuple[int, ...]  # of the weight: (out, in), or (out, in, kernel, kernel)
Entry = tuple[str, Shape]


@dataclass(frozen=True)
class Table:
    """The layers of one base. layers: `<tower>.<path>` -> shape of the weight.

    layers_per_block: resnets in a UNet's block, on which the original numbers of blocks depend.
    """

    family: str
    layers: Mapping[str, Shape]
    layers_per_block: int = 2

    @property
    def text_widths(self) -> dict[str, int]:
        """Width of a token's vector in each text tower."""
        end = ".text_model.encoder.layers.0.mlp.fc1"
        towers = SPECS[self.family].text_towers
        return {tower: self.layers[tower + end][1] for tower in towers}


@functools.cache
def published(family: str) -> Table:
    """The published base of a family, such as `sd1` or `sdxl`."""
    return of_folder(CONFIGS / family, family)


def of_folder(folder: Path, family: str) -> Table:
    """The base whose diffusers folder this is; only its configurations are read.

    Raises MissingWeightsError where one is absent or broken.
    """
    spec = SPECS[family]
    try:
        configs = {
            tower: json.loads((folder / tower / "config.json").read_text(encoding="utf-8"))
            for tower in spec.towers
        }
        layers = {
            f"{tower}.{name}": shape
            for tower, config in configs.items()
            for name, shape in (_unet if tower == spec.denoiser else _text_encoder)(config)
        }
        return Table(family, layers, configs[spec.denoiser]["layers_per_block"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MissingWeightsError(f"{folder}: its configuration is broken: {error}.") from None


def _text_encoder(config: Mapping[str, Any]) -> Iterator[Entry]:
    width, inner = config["hidden_size"], config["intermediate_size"]
    for i in range(config["num_hidden_layers"]):
        layer = f"text_model.encoder.layers.{i}"
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            yield f"{layer}.self_attn.{name}", (width, width)
        yield f"{layer}.mlp.fc1", (inner, width)
        yield f"{layer}.mlp.fc2", (width, inner)


def _unet(config: Mapping[str, Any]) -> Iterator[Entry]:
    """diffusers' UNet2DConditionModel: the way down, the middle, the way up."""
    widths, per_block = config["block_out_channels"], config["layers_per_block"]
    depths = config.get("transformer_layers_per_block", 1)
    depths = [depths] * len(widths) if isinstance(depths, int) else depths
    time = 4 * widths[0]
    yield "conv_in", (widths[0], config["in_channels"], 3, 3)
    yield "time_embedding.linear_1", (time, widths[0])
    yield "time_embedding.linear_2", (time, time)
    if config.get("addition_embed_type") == "text_time":
        yield "add_embedding.linear_1", (time, config["projection_class_embeddings_input_dim"])
        yield "add_embedding.linear_2", (time, time)
    skips, last = [widths[0]], widths[0]
    for b, (kind, width) in enumerate(zip(config["down_block_types"], widths, strict=True)):
        for j in range(per_block):
            yield from _resnet(f"down_blocks.{b}.resnets.{j}", last, width, time)
            if kind == "CrossAttnDownBlock2D":
                yield from _transformer(f"down_blocks.{b}.attentions.{j}", width, depths[b], config)
            last = width
            skips.append(width)
        if b < len(widths) - 1:
            yield f"down_blocks.{b}.downsamplers.0.conv", (width, width, 3, 3)
            skips.append(width)
    yield from _resnet("mid_block.resnets.0", last, last, time)
    yield from _transformer("mid_block.attentions.0", last, depths[-1], config)
    yield from _resnet("mid_block.resnets.1", last, last, time)
    upward = list(zip(config["up_block_types"], widths[::-1], depths[::-1], strict=True))
    for b, (kind, width, depth) in enumerate(upward):
        for j in range(per_block + 1):
            yield from _resnet(f"up_blocks.{b}.resnets.{j}", last + skips.pop(), width, time)
            if kind == "CrossAttnUpBlock2D":
                yield from _transformer(f"up_blocks.{b}.attentions.{j}", width, depth, config)
            last = width
        if b < len(widths) - 1:
            yield f"up_blocks.{b}.upsamplers.0.conv", (width, width, 3, 3)
    yield "conv_out", (config["out_channels"], widths[0], 3, 3)


def _resnet(path: str, taken: int, width: int, time: int) -> Iterator[Entry]:
    yield f"{path}.conv1", (width, taken, 3, 3)
    yield f"{path}.time_emb_proj", (width, time)
    yield f"{path}.conv2", (width, width, 3, 3)
    if taken != width:
        yield f"{path}.conv_shortcut", (width, taken, 1, 1)


def _transformer(path: str, width: int, depth: int, config: Mapping[str, Any]) -> Iterator[Entry]:
    """proj_in and proj_out are 1x1 convolutions in SD 1.x and linear layers in SDXL."""
    context = config["cross_attention_dim"]
    square = (width, width) if config.get("use_linear_projection") else (width, width, 1, 1)
    yield f"{path}.proj_in", square
    for k in range(depth):
        block = f"{path}.transformer_blocks.{k}"
        for attention, heard in (("attn1", width), ("attn2", context)):
            yield f"{block}.{attention}.to_q", (width, width)
            yield f"{block}.{attention}.to_k", (width, heard)
            yield f"{block}.{attention}.to_v", (width, heard)
            yield f"{block}.{attention}.to_out.0", (width, width)
        yield f"{block}.ff.net.0.proj", (8 * width, width)
        yield f"{block}.ff.net.2", (width, 4 * width)
    yield f"{path}.proj_out", square
