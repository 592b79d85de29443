"""What the families share: loading frozen components, hashing weights, images to latents."""

from __future__ import annotations

import contextlib
import gc
import hashlib
import logging
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kaiffin.foundation.hashes import kept_sha256
from kaiffin.foundation.spared import spare
from kaiffin.foundation.tell import Tell

TILE = 512  # pixels
LIBRARIES = ("diffusers", "transformers", "accelerate", "peft", "bitsandbytes")  # that say much
MB = 2**20


def frozen(module: nn.Module, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """In eval mode, on `device`, without gradients."""
    held = [*module.eval().parameters(), *module.buffers()]
    is_there = True
    for tensor in held:
        if tensor.requires_grad:
            tensor.requires_grad_(False)
        is_there &= tensor.device == device
        is_there &= tensor.dtype == dtype or not tensor.is_floating_point()
    return module if is_there else module.to(device, dtype)  # which takes its time for nothing


def num_bytes(modules: Iterable[nn.Module]) -> int:
    """What the parameters of `modules` take."""
    return sum(p.numel() * p.element_size() for module in modules for p in module.parameters())


def named_targets(
    module: nn.Module, rename: Callable[[str], str] = lambda path: path
) -> dict[str, nn.Module]:
    """Every Linear and Conv2d by its (renamed) path."""
    return {
        rename(name): child
        for name, child in module.named_modules()
        if isinstance(child, (nn.Linear, nn.Conv2d))
    }


def revision(files: Iterable[Path], mark: str = "", *, tell: Tell) -> str:
    """SHA-256 over the contents of the weight files, in order of their names, and over `mark`: what
    else makes a base another one."""
    digest, ordered = hashlib.sha256(), sorted(files)
    total = sum(path.stat().st_size for path in ordered)
    with tell.progress("hashing weights, MB:", total // MB) as wait:
        for path in ordered:
            digest.update(kept_sha256(path, lambda size: wait.advance(size // MB)).encode())
        wait.update(total // MB)
    digest.update(mark.encode())
    return digest.hexdigest()


def decode_in_tiles(vae: Any) -> None:
    """Pictures above `TILE` pixels go through the VAE piece by piece, blended where they meet.

    Not by the VAE's own size, which for SDXL is a whole picture's.
    """
    vae.enable_tiling()
    vae.tile_sample_min_size = TILE
    vae.tile_latent_min_size = TILE // 2 ** (len(vae.config.block_out_channels) - 1)


def decoder_bytes(vae: Any, width: int, height: int) -> int:
    """What the decoder of one picture holds at least: what goes into its last block and what comes
    out of it; in tiles the picture alone, which is kept in fp32."""
    if vae.use_tiling:
        return width * height * 3 * 4
    return width * height * 2 * vae.config.block_out_channels[0] * vae.dtype.itemsize


def encode_images(vae: Any, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """(B, 3, H, W) in [-1, 1] -> mean and std of the scaled latents (B, C, H/8, W/8), fp32."""
    parameter = next(vae.parameters())
    with torch.no_grad():
        posterior = vae.encode(pixels.to(parameter.device, parameter.dtype)).latent_dist
    scale, shift = vae.config.scaling_factor, getattr(vae.config, "shift_factor", None) or 0.0
    return (posterior.mean.float() - shift) * scale, posterior.std.float() * scale


def decode(vae: Any, latents: Tensor) -> Tensor:
    """Scaled latents (B, C, h, w) -> pixels (B, 3, H, W) in [-1, 1], fp32."""
    parameter = next(vae.parameters())
    scale, shift = vae.config.scaling_factor, getattr(vae.config, "shift_factor", None) or 0.0
    with torch.no_grad():
        pixels = vae.decode((latents.float() / scale + shift).to(parameter.dtype)).sample
    return pixels.float().clamp(-1, 1)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hides what the libraries report, warn of and draw while they are imported or load, and lets
    them do it undisturbed; what they raise is for the caller to say. Afterwards all is as before.

    bitsandbytes, which diffusers imports where it is installed, reports missing kernels on
    processors with AVX512-BF16; none of it is anything that a person could mend.
    """
    with _keeping_all(), _silent():
        yield


@contextlib.contextmanager
def _keeping_all() -> Iterator[None]:
    """Without Python's garbage collector, which would look through every new module and layer again
    and again: an eighth of the time. None of them is garbage."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    with warnings.catch_warnings(action="ignore"):
        spare()
    from diffusers.utils import logging as of_diffusers
    from transformers.utils import logging as of_transformers

    loggers = [logging.getLogger(name) for name in LIBRARIES]
    levels = [logger.level for logger in loggers]
    bars = [lib for lib in (of_diffusers, of_transformers) if lib.is_progress_bar_enabled()]
    for lib in bars:
        lib.disable_progress_bar()
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        for lib in bars:
            lib.enable_progress_bar()
