"""Masks that the base makes itself: where in a photo it hears the class noun.

Cross-attention says which places of a picture listen to which word (Tang et al. 2023, 2210.04885).
No further model is asked, and the adapter is not attached: the same photo has the same mask.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from kaiffin.data import images
from kaiffin.data.sources import Listing
from kaiffin.foundation.cache import content_key
from kaiffin.foundation.errors import PhotoError
from kaiffin.foundation.folder import write_bytes
from kaiffin.foundation.hashes import kept_sha256
from kaiffin.foundation.runtime import randn
from kaiffin.foundation.sheets import png_bytes
from kaiffin.foundation.tell import Tell
from kaiffin.models.base import ModelFamily, SizeFacts

LOOKS = (0.3, 0.5, 0.7)  # how far on the way from noise the photo is listened to
LEAST = 1e-3  # spread of the attention, in means: of less it says nothing of where


@dataclass(frozen=True)
class Masker:
    """Makes masks with a base on which nothing is put. noun: the class; resolution: pixels of the
    square at which a photo is listened to."""

    family: ModelFamily
    noun: str
    resolution: int
    background: str

    def masked(self, listing: Listing, folder: Path, tell: Tell) -> Listing:
        """The listing with a mask for each photo, made in `folder` unless it is there already;
        photos that cannot be opened stay without, and are refused where they are examined."""
        found = []
        with tell.progress("masks", len(listing.sources)) as progress:
            for number, source in enumerate(listing.sources, 1):
                try:
                    path = self._kept(source.path, folder)
                    found.append(replace(source, mask_path=path))
                except PhotoError:
                    found.append(source)
                progress.update(number)
        return replace(listing, sources=found)

    def _kept(self, photo: Path, folder: Path) -> Path:
        image = images.open_photo(photo, self.background).image
        parts = (self.family.revision, self.noun, self.resolution, self.background)
        path = folder / f"{content_key('mask', kept_sha256(photo), *parts)[:24]}.png"
        if not path.is_file():
            write_bytes(path, png_bytes(self.mask(image)))
        return path

    def mask(self, image: Image.Image) -> Image.Image:
        """Of the photo's size, "L": white where the noun is heard more than on average, black where
        it is less, and white all over where the base says nothing of that."""
        size = images.bucket_crop(image.size, self.resolution).size
        small = image.resize(size, Image.Resampling.LANCZOS)
        seen = self._heard(torch.from_numpy(np.array(small, dtype=np.float32)).permute(2, 0, 1))
        spread, mean = seen.std(), seen.mean()
        shares = torch.ones_like(seen)
        if spread > LEAST * mean:
            shares = (0.5 + (seen - mean) / spread).clamp(0, 1)
        pixels = (shares * 255).round().to(torch.uint8).numpy()
        return Image.fromarray(pixels).resize(image.size, Image.Resampling.BILINEAR)

    @torch.no_grad()
    def _heard(self, pixels: Tensor) -> Tensor:
        """(h, w): how much each cell of a photo (3, H, W), 0 to 255, hears of the noun."""
        family, prompt = self.family, f"a photo of a {self.noun}"
        facts = [SizeFacts.whole(*pixels.shape[-2:])]
        told, places = family.encode_text([prompt], facts), family.places(prompt, self.noun)
        x0, _ = family.encode_images((pixels / 127.5 - 1)[None].to(family.device))
        eps = randn(x0.shape[1:], 0, "mask")[None].to(x0)
        levels = family.schedule.sigmas(100)
        total = torch.zeros(x0.shape[-2:])
        for share in LOOKS:
            sigma = levels[int(100 * share)]
            x_t, t = family.schedule.model_input(x0 + sigma * eps, sigma)
            times = torch.tensor([t], device=x_t.device)
            total += family.heard(x_t, times, told, places)[0].float().cpu()
        return total / len(LOOKS)
