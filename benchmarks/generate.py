"""Our generation beside the diffusers pipeline on the same weights, and beside the bare UNet.

    python benchmarks/generate.py [--base miniature] [--steps 25] [--rounds 5] [--json out.json]

- unet: the UNet calls alone (two halves of guidance in one batch), no text, sampler or VAE
- ours: kaiffin.generate, one picture
- diffusers: its pipeline with DPM++ 2M, one picture
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline
from timing import interleaved, table, write_json

from kaiffin.foundation.config import BaseConfig
from kaiffin.foundation.runtime import Runtime
from kaiffin.foundation.tell import SILENT
from kaiffin.models.files import resolve
from kaiffin.models.files.load import load
from kaiffin.pictures.request import Request
from kaiffin.pictures.sample import generate

PROMPT = "a photo of a penguin on the beach"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--base", default="miniature", help="an SD-1.x base")
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    flags = parser.parse_args()
    base = BaseConfig(name=flags.base)
    runtime = Runtime.from_config(base)
    family = load(base, runtime, tell=SILENT)
    folder: Path = resolve.locate(flags.base, half=False, tell=SILENT).path
    pipe = StableDiffusionPipeline.from_pretrained(
        str(folder), safety_checker=None, torch_dtype=runtime.base_dtype
    ).to(runtime.device)
    pipe.scheduler = DPMSolverMultistepScheduler.from_config(pipe.scheduler.config)
    pipe.set_progress_bar_config(disable=True)
    side = family.native_size
    request = Request(PROMPT, 1, side, side, steps=flags.steps)
    shape = (2, family.latent_channels, side // family.downscale, side // family.downscale)
    x = torch.randn(shape, device=runtime.device, dtype=runtime.base_dtype)
    with torch.no_grad():
        context = family.encode_text([PROMPT, ""], [])["context"]

    @torch.no_grad()
    def unet() -> None:
        for t in range(flags.steps):
            family.towers["unet"](x, t, encoder_hidden_states=context)

    candidates = {
        "unet": unet,
        "ours": lambda: next(generate(family, [request])),
        "diffusers": lambda: pipe(
            PROMPT, num_inference_steps=flags.steps, guidance_scale=5.0, height=side, width=side
        ),
    }
    times = interleaved(candidates, flags.rounds, runtime.device)
    print(f"{flags.base}, {flags.steps} steps, guidance 5, {runtime.device.type}")
    print(table(times, "unet"))
    if flags.json:
        write_json(flags.json, times, base=flags.base, steps=flags.steps)


if __name__ == "__main__":
    main()
