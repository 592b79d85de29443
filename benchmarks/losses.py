"""The plain loss of an adapter: mean squared error of the prediction without any weight, over fixed
timesteps and noises. One yardstick, whatever `min_snr_gamma` a training took."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from kaiffin.adapters.load import load_adapter
from kaiffin.foundation.runtime import randn
from kaiffin.miniature.build import nets
from kaiffin.models.base import Conditioning, ModelFamily, SizeFacts

TIMESTEPS = range(50, 1000, 100)
NOISES = 4  # for each picture and timestep

Photos = Sequence[tuple[Image.Image, str]]  # squares, with their captions


def of_adapter(family: ModelFamily, adapter: Path, photos: Photos) -> float:
    """Of an adapter that is put on a base for it."""
    stack = load_adapter(adapter, family)
    stack.inject(family)
    stack.train(False)
    try:
        return plain_loss(family, photos)
    finally:
        stack.eject()


@torch.no_grad()
def plain_loss(family: ModelFamily, photos: Photos) -> float:
    """Of a base as it is now."""
    images, captions = zip(*photos, strict=True)
    pixels = nets.to_pixels(torch.from_numpy(np.stack([np.asarray(one) for one in images])))
    latents, _ = family.encode_images(pixels)
    facts = SizeFacts(images[0].size, (0, 0), images[0].size)
    states = family.encode_text(list(captions), [facts] * len(captions))
    schedule, found = family.schedule, []
    for step in TIMESTEPS:
        t = torch.full((len(latents),), step)
        for number in range(NOISES):
            eps = torch.stack([
                randn(latents.shape[1:], 0, "study", step, number, place)
                for place in range(len(latents))
            ])  # fmt: skip
            goal = schedule.target(latents, eps, t)
            noised = schedule.add_noise(latents, eps, t)
            made = family.predict(noised, t, Conditioning.cat([states]))
            found.append((made - goal).square().mean().item())
    return float(np.mean(found))
