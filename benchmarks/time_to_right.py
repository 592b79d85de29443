"""Time to right: Kaiffin's preset beside the plain recipe, on the same photos, in the same run.

    python benchmarks/time_to_right.py --out build/right --keep docs/measured/time-to-right.json

- kaiffin: `kaiffin train` with its preset, all that it does before its first step included
- plain: what diffusers' train_dreambooth_lora.py does by default, in one loop with the autoencoder
  and the text encoder: PEFT's LoRA of rank 4 on q, k, v and out, AdamW at a constant rate, up to
  four photos a batch, no prior, the steps of its README. Only the rate is the miniature's.

Time to right: seconds of processor time until the share of pictures with both subject and place
right first reaches 90 % of what it is in the end, by the judge and prompts of benchmarks/teach.py.
Pictures are made outside the clock.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import teach
import torch
from diffusers import StableDiffusionPipeline
from diffusers.utils import convert_state_dict_to_diffusers
from kept import keep, read
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict

from kaiffin.data.images import open_photo
from kaiffin.foundation.config import BaseConfig
from kaiffin.foundation.runtime import Runtime
from kaiffin.foundation.tell import SILENT, Progress, Tell
from kaiffin.miniature.build import nets
from kaiffin.miniature.judges.truth import load_truth
from kaiffin.miniature.world import world
from kaiffin.models.base import ModelFamily
from kaiffin.models.files.load import load_base
from kaiffin.pictures.make import WeightedAdapter
from kaiffin.score.judge import Scorer
from kaiffin.stories import train

POINTS = {"kaiffin": 10, "plain": 5}  # of a training; what is right soon is looked at sooner
RANK, LR, BATCH, STEPS = 4, 1.5e-3, 4, 500
ATTENTION = ["to_k", "to_q", "to_v", "to_out.0"]
ENOUGH = 0.9
Curve = list[tuple[float, Path]]  # (seconds, the adapter as it is then)


class Clock(Tell):
    """Hears of every training step and looks at the time."""

    def __init__(self) -> None:
        self.seconds: dict[int, float] = {}

    @contextlib.contextmanager
    def progress(self, text: str, total: int | None = None) -> Iterator[Progress]:
        heard = Progress(total)
        if text == "training":
            heard.update = lambda done, *_, **__: self.seconds.update({done: time.process_time()})
        yield heard


def ours(cell: teach.Cell, photos: Path, out: Path, steps: int | None) -> Curve:
    """The preset's candidates and when they were there."""
    clock, started = Clock(), time.process_time()
    config = teach.config_of(cell, photos, steps, POINTS["kaiffin"], {})
    run = train.train(config, out / "kaiffin" / cell.name, tell=clock).run
    return [(clock.seconds[step] - started, path) for step, path in run.candidates()]


def plain(
    family: ModelFamily, cell: teach.Cell, photos: Path, out: Path, steps: int = STEPS
) -> Curve:
    """The usual script's loop; its adapter is written as it writes it."""
    started, inside = time.process_time(), 0.0
    torch.manual_seed(cell.seed)
    unet = copy.deepcopy(family.towers["unet"])
    wanted = LoraConfig(
        r=RANK, lora_alpha=RANK, init_lora_weights="gaussian", target_modules=ATTENTION
    )
    unet.add_adapter(wanted)
    weights = [p for p in unet.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=LR, weight_decay=1e-2)
    images = [np.array(open_photo(path).image) for path in sorted(photos.glob("*.png"))]
    pixels = nets.to_pixels(torch.from_numpy(np.stack(images)))
    prompt, curve = world.CAST[cell.subject].instance_prompt, []
    for step in range(1, steps + 1):
        chosen = torch.randperm(len(pixels))[:BATCH]
        mean, std = family.encode_images(pixels[chosen])
        x0 = mean + std * torch.randn_like(mean)
        eps, t = torch.randn_like(x0), torch.randint(1000, (len(chosen),))
        with torch.no_grad():
            context = family.encode_text([prompt] * len(chosen), [])["context"]
        x_t = family.schedule.add_noise(x0, eps, t)
        said = unet(x_t, t, encoder_hidden_states=context).sample
        (said - family.schedule.target(x0, eps, t)).square().mean().backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if step % (steps // POINTS["plain"]) == 0:
            now = time.process_time()
            folder = out / "plain" / cell.name / str(step)
            state = convert_state_dict_to_diffusers(get_peft_model_state_dict(unet))
            StableDiffusionPipeline.save_lora_weights(folder, unet_lora_layers=state)
            curve.append((now - started - inside, folder / "pytorch_lora_weights.safetensors"))
            inside += time.process_time() - now
    return curve


def time_to(curve: Curve, share_of: Callable[[Path], float]) -> dict[str, Any]:
    """Seconds until the share first reaches ENOUGH of the last, which is `both`; the adapters
    before it are looked at, those between are not."""
    last, seen = share_of(curve[-1][1]), list[tuple[float, float]]()
    for seconds, path in curve:
        seen.append((seconds, share_of(path)))
        if seen[-1][1] >= ENOUGH * last:
            break
    return {"seconds": seen[-1][0], "both": last, "looked": seen}


def measured(bench: teach.Bench, cell: teach.Cell, steps: tuple[int | None, int]) -> dict[str, Any]:
    photos = bench.out / "photos" / cell.name
    teach.render_photos(photos, cell)
    found: dict[str, Any] = {"subject": cell.subject, "photos": cell.photos, "seed": cell.seed}
    curves = {
        "kaiffin": ours(cell, photos, bench.out, steps[0]),
        "plain": plain(bench.family, cell, photos, bench.out, steps[1]),
    }
    for name, curve in curves.items():
        found[name] = time_to(
            curve, lambda path: bench.right(cell, (WeightedAdapter(path),))["both"]
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("build/right"), help="photos and runs")
    parser.add_argument("--truth", type=Path, help="the judge (default: OUT/truth.safetensors)")
    parser.add_argument("--subjects", nargs="+", default=list(world.CAST))
    parser.add_argument("--photos", type=int, default=3)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--keep", type=Path, help="what was found; what is there is not made again")
    flags = parser.parse_args()
    truth = load_truth(flags.truth or flags.out / "truth.safetensors", world.CAST)
    family = load_base(BaseConfig(), Runtime.from_config(BaseConfig()), tell=SILENT)
    bench = teach.Bench(flags.out, family, truth, Scorer(tell=SILENT))
    found = read(flags.keep) if flags.keep and flags.keep.is_file() else []
    done = {(one["subject"], one["photos"], one["seed"]) for one in found}
    for cell in teach.cells(flags.subjects, [flags.photos], flags.seeds, ["preset"]):
        if (cell.subject, cell.photos, cell.seed) not in done:
            found.append(measured(bench, cell, (None, STEPS)))
            print(found[-1], flush=True)
            keep(flags.keep, found)


if __name__ == "__main__":
    main()
