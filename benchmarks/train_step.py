"""Our training step beside the plain recipe and beside two floors, as ratios of one run.

    python benchmarks/train_step.py [--base miniature] [--rounds 8] [--keep FILE]
    python benchmarks/train_step.py --full-size sd1 --resolution 256 --batch 1 --rounds 2

- floor: forward and backward through the frozen UNet to its input, without any adapter
- bound: the floor and the adapter's own matrix products, six a layer, at the speed that this
  machine does them: what a step with this adapter cannot go below
- ours: Kaiffin's Trainer, latents and text states cached, attention LoRA of rank 16
- plain: diffusers + PEFT + AdamW as the usual notebooks do it: VAE and text encoder in the loop

All take turns within every round, so that a busy machine slows all of them alike. --full-size takes
the published architecture with random weights, in bf16 where the processor computes in it: what is
overhead on a miniature is arithmetic there. The plain recipe is left out then (a third copy of it).
"""

from __future__ import annotations

import argparse
import copy
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kept
import tables
import torch
from peft import LoraConfig
from timing import CALLS, interleaved
from torch import Tensor

from kaiffin.adapters.lora import Lora
from kaiffin.adapters.stack import Stack, full_modules
from kaiffin.adapters.targets import LoraSpec
from kaiffin.data.dataset import Dataset
from kaiffin.data.prepare import prepare
from kaiffin.foundation.cache import TensorCache
from kaiffin.foundation.config import BaseConfig
from kaiffin.foundation.phases import expand
from kaiffin.foundation.presets import derive
from kaiffin.foundation.runtime import Runtime
from kaiffin.foundation.settings import build, override
from kaiffin.foundation.tell import SILENT
from kaiffin.miniature.world import world
from kaiffin.models.base import ModelFamily
from kaiffin.models.files.load import load
from kaiffin.train.trainer import Trainer

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from full import full_base

RANK, LR = 16, 1e-4
PHOTOS = 6
ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")


def ours(
    family: ModelFamily, photos: Path, batch: int, runtime: Runtime, side: int, kind: str = "lora"
) -> Callable[[], object]:
    """One step of Kaiffin's trainer, its caches filled as after the first epoch."""
    given = {
        "data.photos": photos, "subject.noun": "penguin", "train.steps": 10**6, "train.lr": LR,
        "train.batch_size": batch, "adapter.rank": RANK, "adapter.targets": "attention",
        "data.prior.weight": 0.0, "train.schedule": "constant", "data.upscale": True,
        "data.resolution": side,
    }  # fmt: skip
    config, _ = derive(build(override({}, given)), [PHOTOS], family.native_size)
    prepared = prepare(config.data, config.subject, side)
    dataset = Dataset(prepared.examples, [], config.data, 0)
    specs = {"unet": LoraSpec("attention", RANK, RANK, kind=kind)}
    stack = Stack({"": Lora.create(specs, full_modules(family), 0)})
    stack.inject(family)
    trainer = Trainer(family, stack, dataset, expand(config)[0], runtime, TensorCache(None))
    for number in range(-(-PHOTOS // batch)):
        trainer.inputs.batch(dataset.batch(number, batch))
    return trainer._one_step


def plain(family: ModelFamily, batch: int, side: int) -> Callable[[], object]:
    """The usual notebook: everything in the loop, PEFT's LoRA on q, k, v and out."""
    unet = copy.deepcopy(family.towers["unet"])
    unet.add_adapter(LoraConfig(r=RANK, lora_alpha=RANK, target_modules=list(ATTENTION)))
    weights = [p for p in unet.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=LR)
    pixels = torch.rand(batch, 3, side, side, device=family.device) * 2 - 1

    def step() -> None:
        mean, std = family.encode_images(pixels)
        x0 = mean + std * torch.randn_like(mean)
        eps = torch.randn_like(x0)
        t = torch.randint(1000, (batch,), device=family.device)
        with torch.no_grad():
            context = family.encode_text(["a photo of sks penguin"] * batch, [])["context"]
        x_t = family.schedule.add_noise(x0, eps, t).to(family.dtype)
        out = unet(x_t, t, encoder_hidden_states=context).sample
        loss = (out.float() - family.schedule.target(x0, eps, t)).square().mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        loss.item()

    return step


def floor(family: ModelFamily, batch: int, side: int) -> Callable[[], object]:
    """The frozen UNet, forward and backward."""
    unet = copy.deepcopy(family.towers["unet"])
    return _frozen_step(unet, *_inputs(family, batch, side))


def bound(family: ModelFamily, batch: int, side: int) -> Callable[[], object]:
    """The frozen UNet, and LoRA's products on what its layers see and say in such a step."""
    unet = copy.deepcopy(family.towers["unet"])
    frozen, seen = _frozen_step(unet, *_inputs(family, batch, side)), []
    targets = (m for n, m in unet.named_modules() if n.endswith(ATTENTION))
    hooks = [
        module.register_forward_hook(lambda _, x, out: seen.append((x[0].detach(), out.detach())))
        for module in targets
    ]
    frozen()
    for hook in hooks:
        hook.remove()
    flat = [(x.flatten(0, -2), out.flatten(0, -2)) for x, out in seen]
    pairs = [
        (torch.randn(RANK, x.shape[1]).to(x), torch.randn(out.shape[1], RANK).to(x))
        for x, out in flat
    ]

    @torch.no_grad()
    def products() -> None:
        for (x, grad), (down, up) in zip(flat, pairs, strict=True):
            hidden = x @ down.t()
            torch.addmm(grad, hidden, up.t())
            back = grad @ up
            grad.t() @ hidden, back.t() @ x, back @ down

    def step() -> None:
        frozen()
        products()

    return step


def _inputs(family: ModelFamily, batch: int, side: int) -> tuple[Tensor, Tensor, Tensor]:
    cells = side // family.downscale
    x = torch.randn(batch, family.latent_channels, cells, cells, device=family.device)
    t = torch.randint(1000, (batch,), device=family.device)
    with torch.no_grad():
        context = family.encode_text(["a photo of sks penguin"] * batch, [])["context"]
    return x.to(family.dtype).requires_grad_(True), t, context.to(family.dtype)


def _frozen_step(unet: Any, x: Tensor, t: Tensor, context: Tensor) -> Callable[[], object]:
    def step() -> None:
        x.grad = None
        unet(x, t, encoder_hidden_states=context).sample.float().square().mean().backward()

    return step


def candidates(flags: argparse.Namespace, scratch: Path) -> tuple[dict[str, Any], Runtime]:
    """What takes turns, by name."""
    name, dtype = flags.base, "auto"
    if flags.full_size:
        name = str(full_base(flags.full_size, scratch / "base"))
        dtype = "bf16" if torch.cpu._is_avx512_bf16_supported() else "fp32"
    base = BaseConfig(name=name, dtype="auto" if torch.cuda.is_available() else dtype)
    runtime = Runtime.from_config(base)
    for i, (image, _) in enumerate(world.subject_photos("kaiffin", PHOTOS)):
        image.save(scratch / f"{i}.png")
    family = load(base, runtime, tell=SILENT)
    side = flags.resolution or family.native_size
    steps = {
        "floor": floor(family, flags.batch, side),
        "bound": bound(family, flags.batch, side),
    }
    if not flags.full_size:
        steps["plain"] = plain(family, flags.batch, side)
    steps["ours"] = ours(family, scratch, flags.batch, runtime, side)  # it changes the family
    for kind in filter(None, flags.kinds.split(",")):
        steps[kind] = ours(
            load(base, runtime, tell=SILENT), scratch, flags.batch, runtime, side, kind
        )
    return steps, runtime


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--base", default="miniature")
    parser.add_argument("--full-size", choices=["sd1"], help="random weights at full size")
    parser.add_argument("--resolution", type=int, help="pixels of the square; default: the base's")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--calls", type=int, default=CALLS, help="steps of each in a round")
    parser.add_argument("--kinds", default="", help="further kinds of adapter, such as dora,loha")
    kept.add_to(parser)
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        steps, runtime = candidates(flags, Path(scratch))
        started = time.time()
        times = interleaved(steps, flags.rounds, runtime.device, flags.calls)
    name = flags.full_size or flags.base
    dtype = str(runtime.base_dtype).removeprefix("torch.")
    found = {
        "base": name, "dtype": dtype, "batch": flags.batch, "resolution": flags.resolution,
        "seconds": times,
    }  # fmt: skip
    print(f"{name}, batch {flags.batch}, {dtype}, {time.time() - started:.0f} s")
    print(tables.turns(times, "floor"))
    kept.keep(flags.keep, found)


if __name__ == "__main__":
    main()
