"""Our training step beside the plain recipe and beside the frozen floor, as ratios of one run.

    python benchmarks/train_step.py [--base miniature] [--rounds 8] [--json out.json]

- ours: Kaiffin's Trainer, latents and text states cached, attention LoRA of rank 16
- plain: diffusers + PEFT + AdamW as the usual notebooks do it: VAE and text encoder in the loop
- floor: forward and backward through the frozen UNet to its input, without any adapter

The three take turns within every round, so that a busy machine slows all of them alike.
"""

from __future__ import annotations

import argparse
import copy
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from peft import LoraConfig
from timing import interleaved, table, write_json

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
from kaiffin.miniature.world import world
from kaiffin.models.base import ModelFamily
from kaiffin.models.files.load import load
from kaiffin.train.trainer import Trainer

RANK, LR = 16, 1e-4


def ours(
    family: ModelFamily, photos: Path, batch: int, runtime: Runtime, kind: str = "lora"
) -> Callable[[], object]:
    """One step of Kaiffin's trainer, its caches filled as after the first epoch."""
    given = {
        "data.photos": photos, "subject.noun": "penguin", "train.steps": 10**6, "train.lr": LR,
        "train.batch_size": batch, "adapter.rank": RANK, "adapter.targets": "attention",
        "data.prior.weight": 0.0, "train.schedule": "constant", "data.upscale": True,
    }  # fmt: skip
    config, _ = derive(build(override({}, given)), 6, family.native_size)
    prepared = prepare(config.data, config.subject, family.native_size)
    dataset = Dataset(prepared.examples, [], config.data, 0)
    specs = {"unet": LoraSpec("attention", RANK, RANK, kind=kind)}
    stack = Stack({"": Lora.create(specs, full_modules(family), 0)})
    stack.inject(family)
    trainer = Trainer(family, stack, dataset, expand(config)[0], runtime, TensorCache(None))
    for number in range(-(-6 // batch)):
        trainer.inputs.batch(dataset.batch(number, batch))
    return trainer._one_step


def plain(family: ModelFamily, batch: int) -> Callable[[], object]:
    """The usual notebook: everything in the loop, PEFT's LoRA on q, k, v and out."""
    unet = copy.deepcopy(family.towers["unet"])
    targets = ["to_q", "to_k", "to_v", "to_out.0"]
    unet.add_adapter(LoraConfig(r=RANK, lora_alpha=RANK, target_modules=targets))
    weights = [p for p in unet.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=LR)
    side = family.native_size
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


def floor(family: ModelFamily, batch: int) -> Callable[[], object]:
    """What no adapter can go below by much: the frozen UNet, forward and backward."""
    unet = copy.deepcopy(family.towers["unet"])
    side = family.native_size // family.downscale
    x = torch.randn(batch, family.latent_channels, side, side, device=family.device)
    x = x.to(family.dtype).requires_grad_(True)
    t = torch.randint(1000, (batch,), device=family.device)
    with torch.no_grad():
        context = family.encode_text(["a photo of sks penguin"] * batch, [])["context"]

    def step() -> None:
        x.grad = None
        unet(x, t, encoder_hidden_states=context).sample.float().square().mean().backward()

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--base", default="miniature")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--kinds", default="", help="further kinds of adapter, such as dora,loha")
    flags = parser.parse_args()
    base = BaseConfig(name=flags.base)
    runtime = Runtime.from_config(base)
    with tempfile.TemporaryDirectory() as scratch:
        for i, (image, _) in enumerate(world.subject_photos("kaiffin", 6, size=64)):
            image.save(Path(scratch) / f"{i}.png")
        steps = {
            "floor": floor(load(base, runtime), flags.batch),
            "ours": ours(load(base, runtime), Path(scratch), flags.batch, runtime),
            "plain": plain(load(base, runtime), flags.batch),
        }
        for kind in filter(None, flags.kinds.split(",")):
            steps[kind] = ours(load(base, runtime), Path(scratch), flags.batch, runtime, kind)
        started = time.time()
        times = interleaved(steps, flags.rounds, runtime.device)
    print(
        f"{flags.base}, batch {flags.batch}, {runtime.device.type}, {time.time() - started:.0f} s"
    )
    print(table(times, "floor"))
    if flags.json:
        write_json(flags.json, times, base=flags.base, batch=flags.batch)


if __name__ == "__main__":
    main()
