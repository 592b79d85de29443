"""What a build has on disk: the tokenizer, the pool, the networks, and the files made of them."""

import copy
import io
from functools import partial
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from safetensors.torch import load_file, save
from transformers import (
    CLIPModel,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
)

from kaiffin.foundation.errors import UserError
from kaiffin.foundation.folder import write_bytes
from kaiffin.miniature.build import fast, nets, stages, twin, words
from kaiffin.miniature.build.export import text_encoder
from kaiffin.miniature.build.grow import Growing, grow
from kaiffin.miniature.build.marathon import load_average
from kaiffin.miniature.build.recipe import BuildConfig
from kaiffin.miniature.build.tokenizer import MAX_LENGTH, write_tokenizer
from kaiffin.miniature.world import world
from kaiffin.models.files.embedded import FAST

STATES = {"states": (77, nets.WIDTH)}


def load_tokenizer(config: BuildConfig, second: bool = False) -> CLIPTokenizer:
    """The tokenizer; the second one is the same but for its padding."""
    folder = config.out / ("tokenizer_2" if second else "tokenizer")
    if not (folder / "merges.txt").exists():
        write_tokenizer(folder, second)
    return CLIPTokenizer.from_pretrained(folder)


def pool_side(config: BuildConfig) -> int:
    """Pixels a side of the pictures that the VAE reads."""
    return trained(config, "vae").config["sample_size"]


def open_pool(config: BuildConfig, large: bool = False) -> stages.Pool:
    """The pictures; at twice the pixels where `large`."""
    path, count = (
        (config.large_pool, config.grow_pictures) if large else (config.pool, config.pictures)
    )
    return stages.Pool(np.load(path, mmap_mode="r")[:count], config.seed)


def new_network(config: BuildConfig, stage: str) -> Any:
    """A fresh network, its initial weights a function of the seed; the twin's grown. One that is to
    learn on has the weights of the miniature that `begin` names."""
    torch.manual_seed(config.seed)
    if stage in BEGUN and (weights := config.begin_with(stage)):
        network = begun(weights, stage)
        if stage == "twin":
            twin.carry(network, new_network(config, "unet"), trained(config, "unet"))
        return network
    if stage == "clip":
        return nets.make_clip(len(load_tokenizer(config)), MAX_LENGTH)
    if stage == "vae":
        return nets.make_vae(config.vae_channels)
    if stage == "grow":
        return Growing(grow(trained(config, "vae")))
    if stage == "second":
        return nets.make_second_tower(len(load_tokenizer(config)), MAX_LENGTH)
    if stage.startswith("fast"):
        weights, before = config.fast_adapter(stage).parent, config.begin_with(stage)
        begin = before / FAST if before else None
        return fast.new_student(weights, stage, config.seed, config.torch_device, begin)
    if stage == "twin":
        fresh = nets.make_twin_unet(config.unet_channels)
        return twin.grow(fresh, trained(config, "unet"))
    return nets.make_unet(config.unet_channels)


# The part of an exported miniature, or of its twin, that a stage learns on from.
BEGUN = {
    "clip": (CLIPModel, "clip"),
    "vae": (AutoencoderKL, "vae"),
    "text": (CLIPTextModel, "text_encoder"),
    "unet": (UNet2DConditionModel, "unet"),
    "second": (CLIPTextModelWithProjection, "text_encoder_2"),
    "twin": (UNet2DConditionModel, "unet"),
}


def begun(weights: Path, stage: str) -> Any:
    """A network of an exported miniature, in single precision and able to learn. UserError where
    there is none."""
    kind, part = BEGUN[stage]
    try:
        network: Any = kind.from_pretrained(weights / part).float()
    except (OSError, ValueError) as error:
        raise UserError(
            f"{weights}: no {part} of a miniature to begin with ({error})",
            "Give the folder that `kaiffin miniature build` exported.",
        ) from error
    if kind is UNet2DConditionModel:
        network.set_attn_processor(AttnProcessor())
    return network.train()


def trained(config: BuildConfig, stage: str) -> Any:
    """The averaged weights of a stage's last checkpoint; the VAE whitened once that was done."""
    network = new_network(config, stage)
    if stage == "vae" and config.whitened.exists():
        network.load_state_dict(load_file(config.whitened))
        return network.requires_grad_(False).eval()
    if config.checkpoint(stage).exists():
        load_average(network, config.out / stage)
    return network.requires_grad_(False).eval()


def text_tower(config: BuildConfig) -> Any:
    """The text tower that the UNets read: CLIP's, or the one of the miniature that learns on, with
    the words that were made louder."""
    if config.begin:
        tower: Any = begun(config.begin, "text").requires_grad_(False).eval()
    else:
        tower = text_encoder(trained(config, "clip"))
    if not config.words.exists():
        return tower
    return words.speak(tower, load_tokenizer(config), load_file(config.words))


def louden(config: BuildConfig) -> None:
    """Finds what makes quiet words louder, once."""
    if not config.words.exists():
        tower = copy.deepcopy(text_tower(config))
        write_bytes(config.words, save(words.loudened(tower, load_tokenizer(config))))


def drawing_vae(config: BuildConfig) -> Any:
    """The VAE that the weights are written with: the grown one, where one was grown."""
    if config.checkpoint("grow").exists():
        return trained(config, "grow").vae
    return trained(config, "vae")


# --- pictures to latents ----------------------------------------------------------------------


def encode(config: BuildConfig) -> None:
    """Whiten the VAE, then turn the whole pool into latents.npy, (N, 16, 8, 8) float16."""
    if not config.latents.exists():
        if not (config.whitened.exists() or config.begin):  # what was exported is whitened
            vae = trained(config, "vae")
            stages.whiten(vae, stages.latent_means(vae, open_pool(config).pixels[:2048]))
            write_bytes(config.whitened, save(vae.state_dict()))
        write_bytes(config.latents, _npy(_in_parts(_encode_part, config, config.pictures)))
    stages.TextStates.prepare(config.out, config.pictures, STATES)


def encode_sized(config: BuildConfig) -> None:
    """The same for the twin: a quarter of the pictures come from another size or are cut out."""
    if not config.latents_sized.exists():
        latents = np.load(config.latents)
        changed = _sized(config)
        latents[changed] = _in_parts(_encode_sized_part, config, len(changed))
        write_bytes(config.latents_sized, _npy(latents))
    stages.TextStates.prepare(config.out, config.pictures, twin.TOLD)


def _sized(config: BuildConfig) -> list[int]:
    side = pool_side(config)  # asked once: it opens the VAE
    facts = (twin.size_of(config.seed, index, side) for index in range(config.pictures))
    return [index for index, each in enumerate(facts) if each != twin.whole(side)]


def _encode_part(config: BuildConfig, start: int, stop: int) -> np.ndarray:
    return _latents(config, open_pool(config).pixels[start:stop])


def _encode_sized_part(config: BuildConfig, start: int, stop: int) -> np.ndarray:
    side = pool_side(config)
    made = [
        twin.pictured(world.training_spec(config.seed, i), twin.size_of(config.seed, i, side))
        for i in _sized(config)[start:stop]
    ]
    return _latents(config, np.stack(made))


def _latents(config: BuildConfig, pixels: np.ndarray) -> np.ndarray:
    torch.set_num_threads(1)
    vae = trained(config, "vae").to(config.torch_device)
    return stages.latent_means(vae, pixels).half().cpu().numpy()


def _in_parts(encode_part, config: BuildConfig, count: int) -> np.ndarray:
    """`encode_part(config, start, stop)` over 0..count, shared among the workers."""
    bounds = np.linspace(0, count, 8 * config.workers + 1).astype(int)
    jobs = [(int(a), int(b)) for a, b in pairwise(bounds) if b > a]
    with get_context("spawn").Pool(config.workers) as pool:
        return np.concatenate(pool.starmap(partial(encode_part, config), jobs, chunksize=1))


def _npy(values: np.ndarray) -> bytes:
    """As `np.save` writes them."""
    buffer = io.BytesIO()
    np.save(buffer, values)
    return buffer.getvalue()
