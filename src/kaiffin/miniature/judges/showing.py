"""What comes back through the VAE: decibels, and pictures from before and after it was grown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import ImageOps
from torch import Tensor

from kaiffin.data.images import open_photo
from kaiffin.miniature.build import nets
from kaiffin.miniature.build.recipe import BuildConfig
from kaiffin.miniature.build.workshop import drawing_vae, trained
from kaiffin.miniature.judges.looking import to_images
from kaiffin.miniature.world import world
from kaiffin.miniature.world.vocabulary import SCENES, SIDE, Spec

TOGETHER = 64
SHOWN = 4  # columns of the renders, and of the subjects


@torch.no_grad()
def through(vae: Any, pixels: Tensor) -> Tensor:
    """(N, 3, H, W) in -1..1, encoded and decoded; by a VAE of a smaller size from their means, and
    enlarged again (bicubic)."""
    side, own = pixels.shape[-1], vae.config["sample_size"]
    parts = []
    for part in pixels.split(TOGETHER):
        small = F.adaptive_avg_pool2d(part, own) if own < side else part
        made = vae.decode(vae.encode(small).latent_dist.mean).sample.clamp(-1, 1)
        parts.append(F.interpolate(made, side, mode="bicubic").clamp(-1, 1))
    return torch.cat(parts)


def vae_psnr(vae: Any, images: np.ndarray) -> float:
    """Decibels of what comes back of (N, H, W, 3) uint8, over all pixels together."""
    pixels = nets.to_pixels(torch.from_numpy(images))
    return float(10 * torch.log10(4 / (through(vae, pixels) - pixels).square().mean()))


def read_photos(folder: Path, side: int) -> np.ndarray:
    """All photos below `folder`, cut to squares of `side` pixels; (N, side, side, 3) uint8."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".png"))
    fitted = (ImageOps.fit(open_photo(path).image, (side, side)) for path in paths)
    return np.stack([np.asarray(image) for image in fitted])


def subject_renders(side: int = SIDE) -> np.ndarray:
    """Both held-out characters in every scene; (16, side, side, 3) uint8."""
    return np.stack(
        [
            np.asarray(world.subject_render(name, scene, side))
            for name in world.SUBJECTS
            for scene in SCENES
        ]
    )


def vae_facts(config: BuildConfig, specs: list[Spec]) -> tuple[dict[str, Any], np.ndarray]:
    """The numbers of the VAE, on renders of `specs` and what else it is to show; and a sheet: drawn
    true, through the VAE before it was grown, and through it now, a row each."""
    before, now = trained(config, "vae"), drawing_vae(config)
    side = now.config["sample_size"]
    shown = {
        "renders": np.stack([np.asarray(world.render(spec, side)) for spec in specs]),
        "the two characters": subject_renders(side),
    }
    if config.photos:
        shown["real photos"] = read_photos(config.photos, side)
    rows = ["| pictures | n | before, enlarged | now |", "|---|---|---|---|"]
    found: dict[str, float] = {}
    for name, images in shown.items():
        found[name] = vae_psnr(now, images)
        rows.append(
            f"| {name} | {len(images)} | {vae_psnr(before, images):.1f} | {found[name]:.1f} |"
        )
    photos = "not measured"
    if config.photos:
        photos = f"{found['real photos']:.1f} dB on {len(shown['real photos'])} photos"
    numbers = {
        "side": side, "psnr": found["renders"], "subject_psnr": found["the two characters"],
        "photo_psnr": photos, "grown": "\n".join(rows),
        **_growth(config),
    }  # fmt: skip
    return numbers, _sheet(before, now, shown)


def _growth(config: BuildConfig) -> dict[str, float]:
    """What growing took, from the note that it left."""
    note = config.done("grow")
    samples, seconds = note.read_text().split() if note.exists() else ("0", "0")
    return {"grown_samples": int(samples), "grown_hours": float(seconds) / 3600}


def _sheet(before: Any, now: Any, shown: dict[str, np.ndarray]) -> np.ndarray:
    """(3 rows x 2 SHOWN columns, side, side, 3) uint8."""
    subjects = shown["the two characters"][:: len(SCENES) // 2][:SHOWN]
    some = np.concatenate([shown["renders"][:SHOWN], subjects])
    pixels = nets.to_pixels(torch.from_numpy(some))
    return np.concatenate(
        [some, to_images(through(before, pixels)), to_images(through(now, pixels))]
    )
