"""How the miniature and its XL twin are trained, from nothing to the report.

render -> CLIP and VAE -> words -> latents -> UNet -> the twin's text tower, latents and UNet -> the
few-step adapters -> report.

Each stage skips itself when it is done and resumes exactly when it was killed. A stage with no
fixed number of samples trains until the time in its DEADLINE file (seconds since the epoch, or a
UTC time such as 05:20), which may be edited while it runs: the learning rate decays in time.
On a CPU each worker is one process with one thread, joined by gloo: measured faster than one
process with several threads, and far faster when other programs share the machine.
"""

import signal
import tempfile
from collections.abc import Callable
from multiprocessing.queues import SimpleQueue
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from kaiffin.foundation.errors import UserError
from kaiffin.foundation.folder import write_bytes
from kaiffin.foundation.tell import SILENT, Tell
from kaiffin.miniature.build import fast, nets, stages, twin
from kaiffin.miniature.build.export import export, export_twin
from kaiffin.miniature.build.grow import grow_stage
from kaiffin.miniature.build.marathon import Every, Marathon
from kaiffin.miniature.build.pool import render_pool
from kaiffin.miniature.build.recipe import BuildConfig, Stage
from kaiffin.miniature.build.workshop import (
    STATES,
    begun,
    drawing_vae,
    encode,
    encode_sized,
    load_tokenizer,
    louden,
    new_network,
    open_pool,
    pool_side,
    text_tower,
    trained,
)
from kaiffin.miniature.judges.looking import grow_sheet, unet_sheet, vae_sheet

GLANCE_S = 0.5  # between looks at the workers


# --- stages ------------------------------------------------------------------------------------


def render(config: BuildConfig, tell: Tell) -> None:
    config.out.mkdir(parents=True, exist_ok=True)
    render_pool(
        config.pool, config.pictures, pool_side(config), config.seed, config.workers, tell=tell
    )
    load_tokenizer(config)


def enlarge(config: BuildConfig, tell: Tell) -> None:
    """The pool at twice the pixels, then the VAE that draws them."""
    side, workers = nets.GROWN, config.workers
    render_pool(config.large_pool, config.grow_pictures, side, config.seed, workers, tell=tell)
    train(config, {"grow": config.trainers}, tell)


def _stage_loss(config: BuildConfig, stage: str, network) -> Callable:
    pool, batch = open_pool(config, large=stage == "grow"), config.plan(stage).batch
    if stage == "grow":
        old = trained(config, "vae").to(config.torch_device)
        return grow_stage(network, old, pool, batch, config.grow_sharp)
    if stage == "clip":
        return stages.clip_stage(network, load_tokenizer(config), pool, batch)
    if stage == "vae" and config.begin:
        old = begun(config.begin, "vae").to(config.torch_device).eval()
        return stages.held_stage(network, old, pool, batch)
    if stage == "vae":
        return stages.vae_stage(network, pool, batch)
    if stage.startswith("fast"):
        return fast.fast_stage(network, pool, batch)
    if stage == "second":
        clip = trained(config, "clip").to(config.torch_device)
        seen = twin.picture_embeddings(clip, pool.pixels)
        return twin.second_stage(network, load_tokenizer(config, second=True), seen, pool, batch)
    tower = text_tower(config).to(config.torch_device)
    if stage == "unet":
        states = stages.TextStates(
            stages.encoder(tower, load_tokenizer(config)), pool, config.out, tuple(STATES)
        )
        latents = torch.from_numpy(np.load(config.latents))
        return stages.unet_stage(network, latents, states, pool, batch)
    second = trained(config, "second").to(config.torch_device)
    tokenizers = load_tokenizer(config), load_tokenizer(config, second=True)
    told = stages.TextStates(
        twin.encoder(tower, second, tokenizers), pool, config.out, tuple(twin.TOLD)
    )
    latents = torch.from_numpy(np.load(config.latents_sized))
    return twin.twin_stage(network, latents, told, pool, batch)


def _preview(config: BuildConfig, stage: str, network, tell: Tell) -> Callable[[int], None] | None:
    """What is shown on the way: reconstructions, or samples and a usable export."""
    if stage == "vae":
        return lambda samples: vae_sheet(config, network, tell)
    if stage == "grow":
        return lambda samples: grow_sheet(config, network.vae, samples, tell)
    if stage in ("unet", "twin"):
        return lambda samples: unet_sheet(config, stage, network, samples, tell)
    return None


class Wire(Tell):
    """Sends what is told in a worker to the process that started it."""

    def __init__(self, queue: SimpleQueue) -> None:
        self.queue = queue

    def note(self, text: str) -> None:
        self.queue.put(("note", text))

    def warning(self, text: str) -> None:
        self.queue.put(("warning", text))

    def picture(self, path: Path, text: str = "") -> None:
        self.queue.put(("picture", path, text))


def hear(queue: SimpleQueue, tell: Tell) -> None:
    """Tells what has come over the wire since."""
    while not queue.empty():
        name, *told = queue.get()
        getattr(tell, name)(*told)


def _train(
    rank: int, workers: int, stage: str, config: BuildConfig, meeting: str, tell: Tell
) -> None:
    """One worker of one stage, in its own process, which ends with the one that started it: torch
    sends SIGINT then, and a shell's background processes ignore that unless told otherwise."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
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
        rank=rank,
        workers=workers,
        tell=tell,
        every=Every(
            config.save_seconds,
            _preview(config, stage, network, tell),
            config.preview_minutes * 60,
        ),
    )
    marathon.run()
    if rank == 0:
        note = f"{marathon.samples} {marathon.elapsed():.0f}\n"
        write_bytes(config.done(stage), note.encode())
    if workers > 1:
        dist.barrier()
        dist.destroy_process_group()


def train(config: BuildConfig, stages_at_once: dict[str, int], tell: Tell) -> None:
    """Train stages side by side, each with its number of workers; finished ones are skipped."""
    waiting, queue = [], mp.get_context("spawn").SimpleQueue()
    with tempfile.TemporaryDirectory() as folder:
        for stage, workers in stages_at_once.items():
            if config.done(stage).exists():
                continue
            meeting = f"file://{folder}/{stage}"
            arguments = (workers, stage, config, meeting, Wire(queue))
            waiting.append(mp.spawn(_train, arguments, workers, join=False))
        while waiting:
            waiting = [context for context in waiting if not context.join(timeout=GLANCE_S)]
            hear(queue, tell)


# --- the whole story ---------------------------------------------------------------------------


def export_now(config: BuildConfig) -> None:
    """Export whatever the last checkpoints hold; the twin too where it has one."""
    clip, unet = (trained(config, stage) for stage in ("clip", "unet"))
    tower, vae = text_tower(config), drawing_vae(config)
    export(config.weights_folder, clip, tower, vae, unet)
    if config.checkpoint("twin").exists():
        second, grown = trained(config, "second"), trained(config, "twin")
        if vae.config["sample_size"] > pool_side(config):  # grown since it learnt sizes
            twin.tell_larger(grown, config.seed)
        export_twin(config.twin_folder, tower, second, vae, grown)


def distil(config: BuildConfig, stage: str, tell: Tell) -> None:
    """Train a few-step adapter, and put it beside the base that it is for."""
    train(config, {stage: config.trainers}, tell)
    name = "miniature" if stage == "fast" else "miniature-xl"
    samples = int(config.done(stage).read_text().split()[0])
    fast.write(trained(config, stage), config.fast_adapter(stage), samples, name)


def report(config: BuildConfig, tell: Tell) -> None:
    """Judge the exported weights and write miniature.md with its pictures."""
    from kaiffin.miniature.judges.quality import write_report

    write_report(config, config.docs_folder, tell=tell)


STAGES: dict[Stage, Callable[[BuildConfig, Tell], None]] = {
    "render": render,
    "clip": lambda c, tell: train(c, {"clip": 1}, tell),
    "vae": lambda c, tell: train(c, {"vae": c.trainers}, tell),
    "towers": lambda c, tell: train(c, {"clip": 1, "vae": max(1, c.trainers - 1)}, tell),
    "words": lambda c, tell: louden(c),
    "latents": lambda c, tell: encode(c),
    "unet": lambda c, tell: train(c, {"unet": c.trainers}, tell),
    "second": lambda c, tell: train(c, {"second": 1}, tell),
    "sized": lambda c, tell: encode_sized(c),
    "twin": lambda c, tell: train(c, {"twin": c.trainers}, tell),
    "grow": enlarge,
    "export": lambda c, tell: export_now(c),
    "fast": lambda c, tell: distil(c, "fast", tell),
    "fast_twin": lambda c, tell: distil(c, "fast_twin", tell),
    "report": report,
}
ALONE = ("clip", "vae", "grow")  # `towers` is the first two at once; `grow` is by request
ORDER: tuple[Stage, ...] = tuple(stage for stage in STAGES if stage not in ALONE)


def needed(config: BuildConfig, stage: Stage) -> Path | None:
    """What the earlier stages must have left before this one can run alone."""
    return {
        "clip": config.pool,
        "vae": config.pool,
        "towers": config.pool,
        "words": config.pool if config.begin else config.checkpoint("clip"),
        "latents": config.pool if config.begin else config.checkpoint("vae"),
        "unet": config.latents,
        "second": config.checkpoint("clip"),
        "sized": config.latents,
        "twin": config.latents_sized,
        "grow": config.whitened,
        "export": config.checkpoint("unet"),
        "fast": config.pool,
        "fast_twin": config.pool,
        "report": config.latents,
    }.get(stage)


def run(config: BuildConfig, only: Stage | None = None, tell: Tell = SILENT) -> None:
    """All stages in order, or one of them. UserError where what that one needs is not there."""
    before = needed(config, only) if only else None
    if before and not before.exists():
        missing = before.relative_to(config.out)
        raise UserError(
            f"{config.out}: stage {only} needs {missing}, which an earlier stage makes.",
            "Leave --only out, or run the stages before it.",
        )
    for name in [only] if only else ORDER:
        STAGES[name](config, tell)
