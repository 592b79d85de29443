"""Our generation beside the diffusers pipeline on the same weights, and beside the bare UNet.

    python benchmarks/generate.py [--base miniature] [--steps 25] [--count 1] [--rounds 5]
                                  [--keep FILE]

- unet: the UNet calls alone (two halves of guidance in one batch), no text, sampler or VAE
- bare: those, each text encoded once, and the decoder's calls: what no program can leave out
- ours: kaiffin.generate, `count` pictures of one prompt, at most 16 together
- diffusers: its pipeline with DPM++ 2M, the same
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import kept
import tables
import torch
from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline
from timing import CALLS, interleaved

from kaiffin.foundation.config import BaseConfig
from kaiffin.foundation.runtime import Runtime
from kaiffin.foundation.tell import SILENT
from kaiffin.models.files import resolve
from kaiffin.models.files.load import load
from kaiffin.pictures.request import Request
from kaiffin.pictures.sample import generate

TOGETHER = 16
PROMPT = "a photo of a penguin on the beach"


def _flags() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--base", default="miniature", help="an SD-1.x base")
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--count", type=int, default=1, help="pictures: 1 or a multiple of 16")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--calls", type=int, default=CALLS, help="of each in a round")
    kept.add_to(parser)
    return parser.parse_args()


def main() -> None:
    flags = _flags()
    base = BaseConfig(name=flags.base)
    runtime = Runtime.from_config(base)
    family, pipe = load(base, runtime, tell=SILENT), of_diffusers(flags.base, runtime)
    side = family.native_size
    requests = [Request(PROMPT, i, side, side, steps=flags.steps) for i in range(flags.count)]
    together = min(flags.count, TOGETHER)
    batches = flags.count // together
    cell = side // family.downscale
    shape = (2 * together, family.latent_channels, cell, cell)
    x = torch.randn(shape, device=runtime.device, dtype=runtime.base_dtype)

    @torch.no_grad()
    def texts() -> torch.Tensor:
        return family.encode_text([PROMPT, ""], [])["context"]

    context = texts().repeat_interleave(together, 0)

    @torch.no_grad()
    def unet() -> None:
        for t in list(range(flags.steps)) * batches:
            family.towers["unet"](x, t, encoder_hidden_states=context)

    @torch.no_grad()
    def bare() -> None:
        texts()
        unet()
        for _ in range(batches):
            family.decode(x[:together])

    candidates: dict[str, Callable[[], object]] = {
        "unet": unet,
        "bare": bare,
        "ours": lambda: list(generate(family, requests, batch_size=together)),
        "diffusers": lambda: [
            pipe(
                PROMPT, num_images_per_prompt=together, num_inference_steps=flags.steps,
                guidance_scale=5.0, height=side, width=side,
            )
            for _ in range(batches)
        ],
    }  # fmt: skip
    times = interleaved(candidates, flags.rounds, runtime.device, flags.calls)
    print(f"{flags.base}, {flags.steps} steps, guidance 5, {runtime.device.type}")
    print(f"pictures: {flags.count}, {together} together")
    print(tables.turns(times, "unet"))
    found = {"base": flags.base, "steps": flags.steps, "count": flags.count, "seconds": times}
    kept.keep(flags.keep, found)


def of_diffusers(base: str, runtime: Runtime) -> StableDiffusionPipeline:
    """The same base in diffusers, with the same sampler."""
    folder: Path = resolve.locate(base, half=False, tell=SILENT).path
    pipe = StableDiffusionPipeline.from_pretrained(
        str(folder), safety_checker=None, torch_dtype=runtime.base_dtype
    ).to(runtime.device)
    pipe.scheduler = DPMSolverMultistepScheduler.from_config(pipe.scheduler.config)
    pipe.set_progress_bar_config(disable=True)
    return pipe


if __name__ == "__main__":
    main()
