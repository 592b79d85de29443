"""Our generation beside the diffusers pipeline on the same weights, and beside the bare UNet.

    python benchmarks/generate.py [--base miniature] [--steps 25] [--count 1] [--rounds 5]
                                  [--keep FILE]
    python benchmarks/generate.py --full-size sd1 --resolution 256 --steps 4 --rounds 2 --calls 1

- unet: the UNet calls alone (two halves of guidance in one batch), no text, sampler or VAE
- bare: those, each text encoded once, and the decoder's calls: what no program can leave out
- ours: kaiffin.generate, `count` pictures of one prompt, at most 16 together
- diffusers: its pipeline with DPM++ 2M, the same

Then each round of ours is made once more with a clock at its UNet, text encoder and decoder: what
is left of the whole is Kaiffin's own, from within the same call, so that no other program's load
comes between. --alone measures that and no more.

--full-size takes the published architecture with random weights, in bf16 where the processor
computes in it; the pipeline, a second copy of it, is left out then. --cpu: the processor's time,
which a busy machine does not stretch.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import kept
import tables
import torch
from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline
from timing import CALLS, Clock, interleaved

from kaiffin.foundation.config import BaseConfig
from kaiffin.foundation.runtime import Runtime
from kaiffin.foundation.tell import SILENT
from kaiffin.models.base import ModelFamily
from kaiffin.models.files import resolve
from kaiffin.models.files.load import load
from kaiffin.pictures.request import Request
from kaiffin.pictures.sample import generate

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from full import full_base

TOGETHER = 16
PARTS = ("unet", "text", "decoder")
PROMPT = "a photo of a penguin on the beach"


def _flags() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--base", default="miniature", help="an SD-1.x base")
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--count", type=int, default=1, help="pictures: 1 or a multiple of 16")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--calls", type=int, default=CALLS, help="of each in a round")
    parser.add_argument("--full-size", choices=["sd1"], help="random weights at full size")
    parser.add_argument("--resolution", type=int, help="pixels of the square; default: the base's")
    parser.add_argument("--cpu", action="store_true", help="processor's time, not the clock's")
    parser.add_argument("--alone", action="store_true", help="the parts of ours, no comparison")
    kept.add_to(parser)
    return parser.parse_args()


@contextlib.contextmanager
def based(flags: argparse.Namespace) -> Iterator[BaseConfig]:
    """The base that is measured; one of full size lives as long as the block."""
    if not flags.full_size:
        yield BaseConfig(name=flags.base)
        return
    is_quick = torch.cuda.is_available() or not torch.cpu._is_avx512_bf16_supported()
    with tempfile.TemporaryDirectory() as folder:
        name = str(full_base(flags.full_size, Path(folder) / "base"))
        yield BaseConfig(name=name, dtype="auto" if is_quick else "bf16")


def main() -> None:
    flags = _flags()
    with based(flags) as base:
        runtime = Runtime.from_config(base)
        family = load(base, runtime, tell=SILENT)
        side = flags.resolution or family.native_size
        candidates = ours(family, flags, side)
        if not (flags.full_size or flags.alone):
            candidates["diffusers"] = diffusers(base.name, runtime, flags, side)
        clock = time.process_time if flags.cpu else time.perf_counter
        if flags.alone:
            times = {}
            list(generate(family, [Request(PROMPT, 0, side, side, steps=1)]))  # warm
        else:
            times = interleaved(candidates, flags.rounds, runtime.device, flags.calls, clock)
        watch = Watch(family, clock)
        parts = [watch.parts(candidates["ours"]) for _ in range(flags.rounds)]
    name, dtype = flags.full_size or flags.base, str(runtime.base_dtype).removeprefix("torch.")
    print(f"{name}, {side} px, {flags.steps} steps, guidance 5, {runtime.device.type}, {dtype}")
    print(f"pictures: {flags.count}, {min(flags.count, TOGETHER)} together")
    if times:
        print(tables.turns(times, "unet"))
    print(tables.parts({str(flags.count): parts}))
    found = {"base": name, "side": side, "steps": flags.steps, "count": flags.count, "dtype": dtype}
    kept.keep(flags.keep, {**found, "seconds": times, "parts": parts})


class Watch:
    """A clock at the parts of a base."""

    def __init__(self, family: ModelFamily, clock: Clock) -> None:
        self.clock, self.device, self.spent = clock, family.device, dict.fromkeys(PARTS, 0.0)
        vars(family)["encode_text"] = self._timed("text", family.encode_text)
        vars(family)["decode"] = self._timed("decoder", family.decode)
        net = family.towers[family.denoiser]
        net.forward = self._timed("unet", net.forward)

    def parts(self, call: Callable[[], object]) -> dict[str, float]:
        """Seconds of one call: of each part, and of all."""
        self.spent = dict.fromkeys(PARTS, 0.0)
        started = self._now()
        call()
        return {**self.spent, "all": self._now() - started}

    def _timed(self, part: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*given: Any, **named: Any) -> Any:
            started = self._now()
            found = real(*given, **named)
            self.spent[part] += self._now() - started
            return found

        return timed

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return self.clock()


def ours(
    family: ModelFamily, flags: argparse.Namespace, side: int
) -> dict[str, Callable[[], object]]:
    """The bare calls, and Kaiffin's pictures."""
    requests = [Request(PROMPT, i, side, side, steps=flags.steps) for i in range(flags.count)]
    together = min(flags.count, TOGETHER)
    batches = flags.count // together
    cell = side // family.downscale
    shape = (2 * together, family.latent_channels, cell, cell)
    x = torch.randn(shape, device=family.device, dtype=family.dtype)

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

    return {
        "unet": unet,
        "bare": bare,
        "ours": lambda: list(generate(family, requests, batch_size=together)),
    }


def diffusers(
    base: str, runtime: Runtime, flags: argparse.Namespace, side: int
) -> Callable[[], object]:
    """The same base in diffusers, with the same sampler."""
    together = min(flags.count, TOGETHER)
    folder: Path = resolve.locate(base, half=False, tell=SILENT).path
    pipe = StableDiffusionPipeline.from_pretrained(
        str(folder), safety_checker=None, torch_dtype=runtime.base_dtype
    ).to(runtime.device)
    pipe.scheduler = DPMSolverMultistepScheduler.from_config(pipe.scheduler.config)
    pipe.set_progress_bar_config(disable=True)

    def call() -> None:
        for _ in range(flags.count // together):
            pipe(
                PROMPT, num_images_per_prompt=together, num_inference_steps=flags.steps,
                guidance_scale=5.0, height=side, width=side,
            )  # fmt: skip

    return call


if __name__ == "__main__":
    main()
