"""Photos through the base's own autoencoder, there and back, kept by content."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from kaiffin.foundation.cache import TensorCache, content_key
from kaiffin.foundation.tell import Progress, Tell
from kaiffin.models.files.embedded import EMBEDDED

MEMORY = 2**20  # bytes of the cache in memory: each photo goes through once


class Coder(Protocol):
    """A whole family, or its autoencoder alone."""

    @property
    def revision(self) -> str: ...

    @property
    def device(self) -> torch.device: ...

    def encode_images(self, pixels: Tensor, /) -> tuple[Tensor, Tensor]: ...

    def decode(self, latents: Tensor, /) -> Tensor: ...


class Through:
    """See `data.through.Autoencoder`. base: its name; kept: the folder of what was there before."""

    def __init__(self, coder: Coder, base: str, kept: Path, tell: Tell) -> None:
        self.coder, self.tell = coder, tell
        self.cache = TensorCache(kept, MEMORY)
        if base in EMBEDDED:
            self.fix = "It is a toy: teach a base that knows photos, such as --base sd15."
            self.press = "It is a toy: choose a base that knows photos, such as sd15."
        else:
            self.fix = "Try a larger --resolution, another --base.vae, or a larger --base."
            self.press = "Choose a larger base, or a larger resolution."

    def __call__(self, photo: Image.Image, sha256: str) -> Image.Image | None:
        key = content_key("through", self.coder.revision, sha256)
        try:
            back = self.cache.get(key, lambda: {"pixels": self._there_and_back(photo)})
        except torch.OutOfMemoryError:  # what to give up for it is the plan's to say
            return None
        return Image.fromarray(back["pixels"].numpy())

    def _there_and_back(self, photo: Image.Image) -> Tensor:
        """(H, W, 3) of bytes; by the mean of the latents, which is the best there is."""
        pixels = torch.from_numpy(np.array(photo)).permute(2, 0, 1)[None] / 127.5 - 1
        mean, _ = self.coder.encode_images(pixels.to(self.coder.device))
        back = (self.coder.decode(mean)[0].permute(1, 2, 0) + 1) * 127.5
        return back.round().clamp(0, 255).to(torch.uint8)

    def progress(self, total: int) -> AbstractContextManager[Progress]:
        return self.tell.progress("photos through the base's autoencoder", total)
