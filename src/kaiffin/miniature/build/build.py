"""The recipe that trains the miniature and its XL twin, from nothing to the report.

render -> CLIP and VAE -> latents -> UNet -> the twin's text tower, latents and UNet -> report.

    kaiffin miniature build

Each stage skips itself when it is done and resumes exactly when it was killed. A stage with no
fixed number of samples trains until the time in its DEADLINE file (seconds since the epoch, or a
UTC time such as 05:20), which may be edited while it runs: the learning rate decays in time.
On a CPU each worker is one process with one thread, joined by gloo: measured faster than one
process with several threads, and far faster when other programs share the machine.
"""

import argparse
import logging
import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from pydantic import ValidationError

from kaiffin.foundation.errors import UserError
from kaiffin.miniature.build import nets, stages, twin
from kaiffin.miniature.build.export import export, export_twin, text_encoder
from kaiffin.miniature.build.marathon import Marathon
from kaiffin.miniature.build.pool import render_pool
from kaiffin.miniature.build.recipe import BuildConfig
from kaiffin.miniature.build.workshop import (
    STATES,
    encode,
    encode_sized,
    load_tokenizer,
    new_network,
    open_pool,
    trained,
)
from kaiffin.miniature.judges.looking import unet_sheet, vae_sheet

log = logging.getLogger("kaiffin.miniature")


# --- stages ------------------------------------------------------------------------------------


def render(config: BuildConfig) -> None:
    config.out.mkdir(parents=True, exist_ok=True)
    render_pool(
        config.out / "pool.npy",
        config.pictures,
        nets.SIZE,
        config.seed,
        config.workers,
        progress=lambda done, total: log.info("pool  %d of %d pictures", done, total),
    )
    load_tokenizer(config)


def _stage_loss(config: BuildConfig, stage: str, network) -> Callable:
    pool, batch = open_pool(config), config.plan(stage).batch
    if stage == "clip":
        return stages.clip_stage(network, load_tokenizer(config), pool, batch)
    if stage == "vae":
        return stages.vae_stage(network, pool, batch)
    clip = trained(config, "clip").to(config.torch_device)
    if stage == "second":
        seen = twin.picture_embeddings(clip, pool.pixels)
        return twin.second_stage(network, load_tokenizer(config, second=True), seen, pool, batch)
    if stage == "unet":
        states = stages.TextStates(
            stages.encoder(clip, load_tokenizer(config)), pool, config.out, tuple(STATES)
        )
        latents = torch.from_numpy(np.load(config.out / "latents.npy"))
        return stages.unet_stage(network, latents, states, pool, batch)
    second = trained(config, "second").to(config.torch_device)
    tokenizers = load_tokenizer(config), load_tokenizer(config, second=True)
    told = stages.TextStates(
        twin.encoder(text_encoder(clip), second, tokenizers), pool, config.out, tuple(twin.TOLD)
    )
    latents = torch.from_numpy(np.load(config.out / "latents_sized.npy"))
    return twin.twin_stage(network, latents, told, pool, batch)


def _preview(config: BuildConfig, stage: str, network) -> Callable[[int], None] | None:
    """What is shown on the way: reconstructions, or samples and a usable export."""
    if stage == "vae":
        return lambda samples: vae_sheet(config, network)
    if stage in ("unet", "twin"):
        return lambda samples: unet_sheet(config, stage, network, samples)
    return None


def _train(rank: int, workers: int, stage: str, config: BuildConfig, meeting: str) -> None:
    """One worker of one stage, in its own process."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    if config.torch_device.type == "cpu":
        torch.set_num_threads(1)
    if workers > 1:
        dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=workers)
    network = new_network(config, stage).to(config.torch_device)
    marathon = Marathon(
        config.out / stage,
        network,
        config.plan(stage),
        _stage_loss(config, stage, network),
        rank,
        workers,
        log.info,
        config.save_seconds,
        _preview(config, stage, network),
        config.preview_minutes * 60,
    )
    marathon.run()
    if rank == 0:
        (config.out / stage / "done").write_text(f"{marathon.samples} {marathon.elapsed():.0f}\n")
    if workers > 1:
        dist.barrier()
        dist.destroy_process_group()


def train(config: BuildConfig, stages_at_once: dict[str, int]) -> None:
    """Train stages side by side, each with its number of workers; finished ones are skipped."""
    waiting = []
    with tempfile.TemporaryDirectory() as folder:
        for stage, workers in stages_at_once.items():
            if (config.out / stage / "done").exists():
                continue
            meeting = f"file://{folder}/{stage}"
            arguments = (workers, stage, config, meeting)
            waiting.append(mp.spawn(_train, arguments, workers, join=False))
        for context in waiting:
            while not context.join():
                pass


# --- the whole story ---------------------------------------------------------------------------


def export_now(config: BuildConfig) -> None:
    """Export whatever the last checkpoints hold; the twin too where it has one."""
    clip, vae, unet = (trained(config, stage) for stage in ("clip", "vae", "unet"))
    export(config.weights_folder, clip, vae, unet)
    if (config.out / "twin" / "checkpoint.safetensors").exists():
        second, grown = trained(config, "second"), trained(config, "twin")
        export_twin(config.twin_folder, clip, second, vae, grown)


def report(config: BuildConfig) -> None:
    """Judge the exported weights and write miniature.md with its pictures."""
    from kaiffin.miniature.judges.quality import write_report

    write_report(config, config.docs or config.out)


# What the earlier stages must have left before a single one can run.
NEEDED = {
    "clip": "pool.npy",
    "vae": "pool.npy",
    "towers": "pool.npy",
    "latents": "vae/checkpoint.safetensors",
    "unet": "latents.npy",
    "second": "clip/checkpoint.safetensors",
    "sized": "latents.npy",
    "twin": "latents_sized.npy",
    "export": "unet/checkpoint.safetensors",
    "report": "latents.npy",
}


def build(config: BuildConfig, only: str | None = None) -> None:
    """All stages in order, or one of them."""
    story: dict[str, Callable[[BuildConfig], None]] = {
        "render": render,
        "clip": lambda c: train(c, {"clip": 1}),
        "vae": lambda c: train(c, {"vae": c.trainers}),
        "towers": lambda c: train(c, {"clip": 1, "vae": max(1, c.trainers - 1)}),
        "latents": encode,
        "unet": lambda c: train(c, {"unet": c.trainers}),
        "second": lambda c: train(c, {"second": 1}),
        "sized": encode_sized,
        "twin": lambda c: train(c, {"twin": c.trainers}),
        "export": export_now,
        "report": report,
    }
    alone = ("clip", "vae")  # `towers` is both at once
    if only in NEEDED and not (config.out / NEEDED[only]).exists():
        raise UserError(
            f"{config.out}: stage {only} needs {NEEDED[only]}, which an earlier stage makes.",
            "Leave --only out, or run the stages before it.",
        )
    for name in [only] if only else [name for name in story if name not in alone]:
        story[name](config)


def parse_flags(arguments: list[str] | None = None) -> tuple[BuildConfig, str | None]:
    """Flags are the fields of `BuildConfig`; `--only` runs a single stage."""
    parser = argparse.ArgumentParser(
        prog="kaiffin miniature build", description=__doc__.splitlines()[0],
    )  # fmt: skip
    choices = ("render", *NEEDED)
    parser.add_argument("--only", choices=choices, help="run this stage alone")
    for name, field in BuildConfig.model_fields.items():
        shown = "" if field.default is None else f" (default: {field.default})"
        many: dict[str, Any] = {"nargs": "+"} if isinstance(field.default, tuple) else {}
        flag, text = f"--{name.replace('_', '-')}", f"{field.description}{shown}"
        parser.add_argument(flag, default=argparse.SUPPRESS, help=text, metavar="X", **many)
    flags = vars(parser.parse_args(arguments))
    only = flags.pop("only")
    try:
        return BuildConfig(**flags), only
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]).replace("_", "-")
        raise UserError(f"--{name} {first['input']}: {first['msg']}.") from None


def main(arguments: list[str] | None = None) -> None:
    """The command `kaiffin miniature build`."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    build(*parse_flags(arguments))


if __name__ == "__main__":
    main()
