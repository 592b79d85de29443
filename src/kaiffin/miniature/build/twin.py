"""The XL twin: what SDXL has beside Stable Diffusion 1.x, learnt for real at the miniature's size.

A second text tower, wider, learnt against the pictures' CLIP embeddings; and a UNet that reads both
towers, the pooled text, and the size and crop of the picture it was cut from. The UNet does not
begin at nothing: `grow` gives it the miniature's weights, with every new part silent, so that a
short training suffices.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from transformers import CLIPModel, CLIPTokenizer

from kaiffin.miniature.build import nets, stages
from kaiffin.miniature.world import world
from kaiffin.miniature.world.vocabulary import Spec
from kaiffin.models.base import SizeFacts
from kaiffin.models.families import text
from kaiffin.models.families.sdxl import PENULTIMATE


def whole(side: int = nets.SIZE) -> SizeFacts:
    """A picture that was neither enlarged nor cut."""
    return SizeFacts.whole(side, side)


# --- the second text tower --------------------------------------------------------------------


@torch.no_grad()
def picture_embeddings(clip: CLIPModel, pixels: np.ndarray, batch: int = 256) -> Tensor:
    """(N, H, W, 3) uint8 to CLIP's image embeddings, (N, WIDTH), unit vectors."""
    parts = []
    for at in range(0, len(pixels), batch):
        images = nets.seen(pixels[at : at + batch])
        found = clip.get_image_features(pixel_values=images.to(clip.device)).pooler_output
        parts.append(F.normalize(found, dim=-1))
    return torch.cat(parts)


def second_stage(
    tower: Any, tokenizer: CLIPTokenizer, embeddings: Tensor, pool: stages.Pool, batch: int
):
    """CLIP's loss against frozen picture embeddings (Zhai et al. 2022, arXiv 2111.07991)."""

    def loss(step: int, part: slice) -> Tensor:
        picks = pool.draw(5, step, batch, part)
        captions = [pool.caption(int(index), step) for index in picks]
        tokens = stages.tokenize(tokenizer, captions, full=False).to(embeddings.device)
        told = F.normalize(tower(input_ids=tokens).text_embeds, dim=-1)
        return stages.contrastive(SCALE * embeddings[picks] @ told.T)

    return loss


SCALE = 30.0  # of the cosines: 1 / temperature, near where the first CLIP's own scale ended


# --- size and crop ----------------------------------------------------------------------------


def size_of(seed: int, index: int, side: int = nets.SIZE) -> SizeFacts:
    """How picture `index` came to side x side: one in eight is enlarged from fewer pixels, one in
    four cut out of a larger picture, the others are whole."""
    if index % 8 not in (1, 3, 5):
        return whole(side)
    rng, eighth = np.random.default_rng([seed, index, 9]), side // 8
    if index % 8 == 1:
        small = int(rng.integers(2 * eighth, 6 * eighth + 1))
        return SizeFacts((small, small), (0, 0), (side, side))
    large = int(rng.integers(9 * eighth, 14 * eighth + 1))
    top, left = (int(v) for v in rng.integers(0, large - side + 1, 2))
    return SizeFacts((large, large), (top, left), (side, side))


def pictured(spec: Spec, facts: SizeFacts) -> np.ndarray:
    """The render that `facts` speak of; (H, W, 3) uint8."""
    image, side = world.render(spec, facts.original[0]), facts.target[0]
    if image.width < side:
        image = image.resize((side, side), Image.Resampling.BICUBIC)
    top, left = facts.crop
    return np.asarray(image.crop((left, top, left + side, top + side)))


# --- the UNet ---------------------------------------------------------------------------------


@torch.no_grad()
def grow(twin: Any, unet: nn.Module) -> Any:
    """Gives the twin the miniature's weights; what is new is silent at first.

    With the first tower's states in the place of the miniature's, and whatever the second says,
    the output is the miniature's (Chen et al. 2016, arXiv 1511.05641, grow networks so).
    """
    taught, state = unet.state_dict(), twin.state_dict()
    for name, weight in state.items():
        old = taught.get(name)
        if old is None:  # a second transformer block, or the embedding of size and crop
            if SILENT.search(name):
                weight.zero_()
        elif weight.shape == old.shape:
            weight.copy_(old)
        elif old.ndim == 4:  # a projection that was a 1 x 1 convolution
            weight.copy_(old[:, :, 0, 0])
        else:  # keys and values of the cross-attention, wider now
            weight.zero_()
            weight[:, : old.shape[1]] = old
    return twin


@torch.no_grad()
def tell_larger(twin: Any, seed: int, facts: int = 8_000) -> Any:
    """Told that everything is twice as large, the twin draws what it drew when told the truth.

    For a VAE of twice the pixels. The first layer that reads size and crop becomes the ridge
    regression of what it said of the sizes in training on their doubles: exact for whole pictures,
    nearly so for enlarged ones and for those cut out.
    """
    first = twin.add_embedding.linear_1
    told = torch.tensor([[*f.original, *f.crop, *f.target] for f in
                         (size_of(seed, index) for index in range(facts))]).double()  # fmt: skip

    def read(numbers: Tensor) -> Tensor:
        waves = twin.add_time_proj(numbers.flatten())
        return waves.reshape(facts, -1).double()

    weight = first.weight[:, nets.WIDTH :].double()
    before, after = read(told), torch.cat([read(2 * told), torch.ones(facts, 1)], 1)
    square = after.T @ after / facts
    square += 1e-4 * torch.eye(len(square))  # small weights survive half precision
    found = torch.linalg.solve(square, after.T @ (before @ weight.T) / facts)
    first.weight[:, nets.WIDTH :] = found[:-1].T.float()
    first.bias += found[-1].float()
    return twin


@torch.no_grad()
def carry(twin: Any, before: nn.Module, after: nn.Module) -> Any:
    """Adds to the twin what the miniature's UNet has learnt since, from `before` to `after`: the
    difference of their weights, in the place where `grow` put them (Ilharco et al. 2022, arXiv
    2212.04089, add and take away knowledge so)."""
    old, new = before.state_dict(), after.state_dict()
    for name, weight in twin.state_dict().items():
        if name not in old:
            continue
        learnt = new[name] - old[name]
        if learnt.ndim == 4 and weight.ndim == 2:
            learnt = learnt[:, :, 0, 0]
        weight[tuple(slice(size) for size in learnt.shape)] += learnt
    return twin


# The last layers of what is new: at zero, a residual branch or an embedding adds nothing.
SILENT = re.compile(r"(to_out\.0|ff\.net\.2|add_embedding\.linear_2)\.(weight|bias)$")
TOLD = {"contexts": (77, nets.WIDTH + nets.SECOND_WIDTH), "pooled": (nets.WIDTH,)}


def encoder(
    first: Any, second: Any, tokenizers: tuple[CLIPTokenizer, CLIPTokenizer]
) -> stages.Encode:
    """Prompts to [contexts (B, 77, C), pooled (B, P)], as `models.sdxl` tells them."""

    def encode(prompts: list[str]) -> list[Tensor]:
        told = [
            text.hidden_states(tower, stages.tokenize(one, prompts)[:, None], PENULTIMATE, False)
            for tower, one in zip((first, second), tokenizers, strict=True)
        ]
        return [torch.cat([states for states, _ in told], dim=-1), told[1][1]]

    return encode


def twin_stage(unet, latents: Tensor, told: stages.TextStates, pool: stages.Pool, batch: int):
    """One step of the twin's UNet; draws as `stages.unet_stage` does, from streams of its own."""

    def loss(step: int, part: slice) -> Tensor:
        picks = pool.draw(6, step, batch, part)
        drawn = stages.draw_noising(pool.seed, 7, step, batch, part, latents.shape[1:])
        contexts, pooled = told.read(picks, drawn.variants, drawn.blank)
        facts = [size_of(pool.seed, int(index), pool.pixels.shape[1]) for index in picks]
        sizes = torch.tensor([[*f.original, *f.crop, *f.target] for f in facts]).float()
        added = {"text_embeds": pooled.to(unet.device), "time_ids": sizes.to(unet.device)}
        parts = (latents[picks].float(), drawn.noise, drawn.t, contexts)
        x0, noise, t, context = (part.to(unet.device) for part in parts)
        return stages.unet_loss(unet, x0, noise, t, context, added)

    return loss
