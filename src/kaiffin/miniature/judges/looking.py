"""Sheets of what a build has learnt so far: reconstructions, and pictures that Kaiffin makes."""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import StableDiffusionXLPipeline
from PIL import Image

from kaiffin.foundation.config import BaseConfig, SampleConfig
from kaiffin.foundation.runtime import Runtime
from kaiffin.foundation.sheets import sheet as labelled
from kaiffin.foundation.tell import SILENT, Tell
from kaiffin.miniature.build import nets
from kaiffin.miniature.build.export import export, export_twin
from kaiffin.miniature.build.recipe import BuildConfig
from kaiffin.miniature.build.workshop import drawing_vae, open_pool, pool_side, text_tower, trained
from kaiffin.miniature.world import world
from kaiffin.miniature.world.vocabulary import SPECIES, Spec
from kaiffin.models.files.load import load_base
from kaiffin.pictures.make import Task, make
from kaiffin.pictures.request import request, with_size

_FOUR_SCENES = ("beach", "kitchen", "space", "forest")


def sheet(images: np.ndarray, columns: int) -> Image.Image:
    """(N, H, W, 3) uint8 tiled row by row."""
    count, high, wide, _ = images.shape
    rows = -(-count // columns)
    page = np.full((rows * columns, high, wide, 3), 255, np.uint8)
    page[:count] = images
    page = page.reshape(rows, columns, high, wide, 3).swapaxes(1, 2)
    return Image.fromarray(page.reshape(rows * high, columns * wide, 3))


def to_images(pixels: torch.Tensor) -> np.ndarray:
    """(B, 3, H, W) in -1..1 to (B, H, W, 3) uint8."""
    scaled = pixels.clamp(-1, 1).add(1).mul(127.5).round()
    return scaled.permute(0, 2, 3, 1).byte().cpu().numpy()


@torch.no_grad()
def vae_sheet(config: BuildConfig, vae, tell: Tell = SILENT) -> None:
    """Reconstructions of renders, and of the characters that training never draws."""
    subjects = [
        np.asarray(world.subject_render(n, s, pool_side(config)))
        for n in world.SUBJECTS
        for s in _FOUR_SCENES
    ]
    originals = np.concatenate([open_pool(config).pixels[:8], np.stack(subjects)])
    pixels = nets.to_pixels(torch.from_numpy(originals)).to(config.torch_device)
    made = vae.decode(vae.encode(pixels).latent_dist.mean).sample.clamp(-1, 1)
    tell.note(f"vae  PSNR {_decibels(made, pixels)}")
    page = sheet(np.concatenate([originals, to_images(made)]), 8)
    page.resize((page.width * 2, page.height * 2), 0).save(config.out / "vae" / "preview.png")
    tell.picture(config.out / "vae" / "preview.png", "vae")


def _decibels(made: torch.Tensor, pixels: torch.Tensor) -> str:
    """PSNR of the first eight pictures, and of the unseen characters that follow them."""
    error = (made.clamp(-1, 1) - pixels).square()
    known, unseen = (10 * torch.log10(4 / part.mean()) for part in (error[:8], error[8:]))
    return f"{known:.2f} dB, unseen characters {unseen:.2f} dB"


@torch.no_grad()
def grow_sheet(config: BuildConfig, vae, samples: int, tell: Tell = SILENT) -> None:
    """Held-out renders and unseen characters: true, as the VAE before drew them, as it does now."""
    side = nets.GROWN
    renders = [world.render(spec, side) for spec in preview_specs(8)]
    subjects = [world.subject_render(n, s, side) for n in world.SUBJECTS for s in _FOUR_SCENES]
    originals = np.stack([np.asarray(image) for image in (*renders, *subjects)])
    pixels = nets.to_pixels(torch.from_numpy(originals)).to(config.torch_device)
    old = trained(config, "vae").to(config.torch_device)
    before = F.interpolate(
        old.decode(old.encode(F.avg_pool2d(pixels, 2)).latent_dist.mean).sample,
        scale_factor=2, mode="bicubic",
    )  # fmt: skip
    made = vae.decode(vae.encode(pixels).latent_dist.mean).sample
    tell.note(f"grow  PSNR {_decibels(made, pixels)}; enlarged {_decibels(before, pixels)}")
    rows = [
        row[at : at + 8] for at in (0, 8) for row in (originals, *map(to_images, (before, made)))
    ]
    page, folder = sheet(np.concatenate(rows), 8), config.out / "grow"
    page.save(folder / f"preview-{samples:08d}.png")
    page.save(folder / "preview.png")
    tell.picture(folder / "preview.png", f"grow  {samples:>9,} samples")


def preview_specs(count: int = 32) -> list[Spec]:
    """Reserved combinations, never trained on, the species in turn and the scenes at random."""
    found: list[Spec] = []
    index = 0
    while len(found) < count:
        spec = world.random_spec(99, index, reserved=True)
        if spec.species == SPECIES[len(found) % len(SPECIES)]:
            found.append(spec)
        index += 1
    return found


SIZES = (2, 3, 4, 6, 8)  # eighths of the side, before a picture was brought to it
CROPS = ((0, 0), (0, 4), (2, 2), (4, 0), (4, 4))  # (top, left) corners in 12 x 12 eighths


def size_sheet(weights: Path) -> Image.Image:
    """What the twin makes of original sizes (first row) and of crops (second), one prompt and one
    seed throughout; made by diffusers, which lets both be said."""
    twin = StableDiffusionXLPipeline.from_pretrained(weights)
    twin.set_progress_bar_config(disable=True)
    eighth = twin.vae.config["sample_size"] // 8
    sizes, large = [eighth * side for side in SIZES], 12 * eighth
    corners = [(eighth * top, eighth * left) for top, left in CROPS]
    told = [{"original_size": (side, side)} for side in sizes]
    told += [
        {"original_size": (large, large), "crops_coords_top_left": corner} for corner in corners
    ]
    made = [
        twin(
            "a photo of a red bear in a meadow", num_inference_steps=25, guidance_scale=5.0,
            generator=torch.Generator().manual_seed(3), **each,
        ).images[0]
        for each in told
    ]  # fmt: skip
    labels = [f"enlarged from {side} x {side}" for side in sizes]
    labels += [f"cut from {large} x {large} at {corner}" for corner in corners]
    return labelled(made, labels, columns=len(SIZES))


def draw(weights: Path, texts: list[str], seed: int = 100, batch: int = 32) -> np.ndarray:
    """A picture of each text with the base in `weights`, as `kaiffin generate` makes it: guidance
    5, 25 DDIM steps; picture i has seed + i. (B, side, side, 3) uint8."""
    base = BaseConfig(name=str(weights))
    family = load_base(base, Runtime.from_config(base), SILENT)
    sample = with_size(SampleConfig(guidance=5.0, steps=25, sampler="ddim"), family)
    tasks = [Task(request(text, seed + number, sample)) for number, text in enumerate(texts)]
    made = dict(make(family, tasks, batch))
    return np.stack([np.asarray(made[number]) for number in range(len(texts))])


def unet_sheet(config: BuildConfig, stage: str, unet, samples: int, tell: Tell = SILENT) -> None:
    """An export that others can use already, and a sheet of samples by it."""
    tower, vae = text_tower(config), drawing_vae(config)
    if stage == "unet":
        folder = config.weights_folder
        export(folder, trained(config, "clip"), tower, vae, unet)
    else:
        folder = config.twin_folder
        export_twin(folder, tower, trained(config, "second"), vae, unet)
    images = draw(folder, [world.full_caption(spec) for spec in preview_specs()], seed=5)
    page = sheet(images, 8).resize((1024, 512), 0)
    page.save(config.out / stage / f"preview-{samples:08d}.png")
    page.save(config.out / stage / "preview.png")
    tell.picture(config.out / stage / "preview.png", f"{stage}  {samples:>9,} samples")
