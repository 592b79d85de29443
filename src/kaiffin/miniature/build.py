"""The recipe that trains the miniature: render -> CLIP and VAE -> latents -> UNet -> report.

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
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from PIL import Image
from pydantic import BaseModel, Field, ValidationError
from safetensors.torch import load_file, save_file
from transformers import CLIPTokenizer

from kaiffin.errors import UserError
from kaiffin.miniature import nets, stages, world
from kaiffin.miniature.export import export
from kaiffin.miniature.marathon import Marathon, Plan, load_average
from kaiffin.miniature.pool import render_pool
from kaiffin.miniature.tokenizer import MAX_LENGTH, write_tokenizer

log = logging.getLogger("kaiffin.miniature")


class BuildConfig(BaseModel, frozen=True, extra="forbid"):
    """Every choice of a build. `*_samples` None means: until `*_minutes` are over."""

    out: Path = Field(
        Path("build/miniature"), description="working folder; a second call goes on in it"
    )
    weights: Path | None = Field(
        None, description="folder for the base model (default: OUT/weights)"
    )
    docs: Path | None = Field(None, description="where the report goes (default: OUT)")
    seed: int = Field(1, description="the world and every draw are a function of it")
    pictures: int = Field(60_000, description="pictures to render")
    workers: int = Field(2, description="processes of one thread each")
    device: str = Field("auto", description="auto, cpu or cuda")
    clip_minutes: float = Field(14.0, description="training time of the CLIP")
    vae_minutes: float = Field(60.0, description="training time of the VAE")
    unet_minutes: float = Field(60.0, description="training time of the UNet")
    clip_samples: int | None = Field(None, description="train on so many samples instead")
    vae_samples: int | None = Field(None, description="train on so many samples instead")
    unet_samples: int | None = Field(None, description="train on so many samples instead")
    clip_batch: int = Field(256, description="samples a step, over all workers")
    vae_batch: int = Field(16, description="samples a step, over all workers")
    unet_batch: int = Field(64, description="samples a step, over all workers")
    vae_channels: tuple[int, ...] = Field((16, 32, 64, 96), description="width of each level")
    unet_channels: tuple[int, ...] = Field((96, 160), description="width of each level")
    save_seconds: float = Field(60.0, description="time between checkpoints")
    preview_minutes: float = Field(5.0, description="time between sheets of pictures")

    @property
    def weights_folder(self) -> Path:
        return self.weights or self.out / "weights"

    @property
    def torch_device(self) -> torch.device:
        if self.device != "auto":
            return torch.device(self.device)
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")

    def plan(self, stage: str) -> Plan:
        """The measured settings of a stage; see docs/miniature.md."""
        if stage == "clip":
            return Plan(
                1.5e-3,
                self.clip_batch,
                25_600,
                self.clip_minutes * 60,
                self.clip_samples,
                decay_share=0.6,
                betas=(0.9, 0.98),
                weight_decay=0.02,
                ema=0.99,
            )
        if stage == "vae":
            return Plan(
                2e-3,
                self.vae_batch,
                1_600,
                self.vae_minutes * 60,
                self.vae_samples,
                decay_share=0.5,
                weight_decay=0.001,
                ema=0.995,
            )
        return Plan(
            1e-3,
            self.unet_batch,
            6_400,
            self.unet_minutes * 60,
            self.unet_samples,
            decay_share=0.3,
            ema=0.998,
        )


# --- what is on disk ---------------------------------------------------------------------------


def load_tokenizer(config: BuildConfig) -> CLIPTokenizer:
    folder = config.out / "tokenizer"
    if not (folder / "merges.txt").exists():
        write_tokenizer(folder)
    return CLIPTokenizer.from_pretrained(folder)


def open_pool(config: BuildConfig) -> stages.Pool:
    pixels = np.load(config.out / "pool.npy", mmap_mode="r")
    return stages.Pool(pixels[: config.pictures], config.seed)


def new_network(config: BuildConfig, stage: str) -> Any:
    """A fresh network, its initial weights a function of the seed."""
    torch.manual_seed(config.seed)
    if stage == "clip":
        return nets.make_clip(len(load_tokenizer(config)), MAX_LENGTH)
    if stage == "vae":
        return nets.make_vae(config.vae_channels)
    return nets.make_unet(config.unet_channels)


def trained(config: BuildConfig, stage: str) -> Any:
    """The averaged weights of a stage's last checkpoint; the VAE whitened once that was done."""
    network = new_network(config, stage)
    whitened = config.out / "vae" / "whitened.safetensors"
    if stage == "vae" and whitened.exists():
        network.load_state_dict(load_file(whitened))
        return network.requires_grad_(False).eval()
    if (config.out / stage / "checkpoint.safetensors").exists():
        load_average(network, config.out / stage)
    return network.requires_grad_(False).eval()


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
    states = stages.TextStates(clip, load_tokenizer(config), pool, config.out)
    latents = torch.from_numpy(np.load(config.out / "latents.npy"))
    return stages.unet_stage(network, latents, states, pool, batch)


def _preview(config: BuildConfig, stage: str, network) -> Callable[[int], None] | None:
    """What is shown on the way: reconstructions, or samples and a usable export."""
    if stage == "vae":
        return lambda samples: _vae_sheet(config, network)
    if stage == "unet":
        return lambda samples: _unet_sheet(config, network, samples)
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


def _encode_part(config: BuildConfig, start: int, stop: int) -> np.ndarray:
    torch.set_num_threads(1)
    vae = trained(config, "vae")
    return stages.latent_means(vae, open_pool(config).pixels[start:stop]).half().numpy()


def encode(config: BuildConfig) -> None:
    """Whiten the VAE, then turn the whole pool into latents.npy, (N, 16, 8, 8) float16."""
    target = config.out / "latents.npy"
    if target.exists():
        return
    vae = trained(config, "vae")
    whitened = config.out / "vae" / "whitened.safetensors"
    if not whitened.exists():
        stages.whiten(vae, stages.latent_means(vae, open_pool(config).pixels[:2048]))
        save_file(vae.state_dict(), whitened)
    bounds = np.linspace(0, config.pictures, 8 * config.workers + 1).astype(int)
    jobs = [(config, int(a), int(b)) for a, b in pairwise(bounds)]
    with mp.get_context("spawn").Pool(config.workers) as pool:
        latents = np.concatenate(pool.starmap(_encode_part, jobs, chunksize=1))
    np.save(config.out / "latents.draft.npy", latents)
    (config.out / "latents.draft.npy").replace(target)
    stages.TextStates.prepare(config.out, config.pictures)
    log.info("latents  std %.3f", float(latents[:2048].astype(np.float32).std()))


_FOUR_SCENES = ("beach", "kitchen", "space", "forest")

# --- looking at it -----------------------------------------------------------------------------


def sheet(images: np.ndarray, columns: int) -> Image.Image:
    """(N, H, W, 3) uint8 tiled row by row."""
    count, high, wide, _ = images.shape
    rows = -(-count // columns)
    page = np.full((rows * columns, high, wide, 3), 255, np.uint8)
    page[:count] = images
    page = page.reshape(rows, columns, high, wide, 3).swapaxes(1, 2)
    return Image.fromarray(page.reshape(rows * high, columns * wide, 3))


def to_images(pixels: torch.Tensor) -> np.ndarray:
    """(B, 3, H, W) in -1..1 to (B, H, W, 3) uint8."""
    scaled = pixels.clamp(-1, 1).add(1).mul(127.5).round()
    return scaled.permute(0, 2, 3, 1).byte().cpu().numpy()


@torch.no_grad()
def _vae_sheet(config: BuildConfig, vae) -> None:
    """Reconstructions of renders, and of the characters that training never draws."""
    subjects = [
        np.asarray(world.subject_render(n, s)) for n in world.SUBJECTS for s in _FOUR_SCENES
    ]
    originals = np.concatenate([open_pool(config).pixels[:8], np.stack(subjects)])
    pixels = nets.to_pixels(torch.from_numpy(originals)).to(config.torch_device)
    made = vae.decode(vae.encode(pixels).latent_dist.mean).sample.clamp(-1, 1)
    psnr = [
        10 * torch.log10(4 / (made - pixels)[at].square().mean())
        for at in (slice(0, 8), slice(8, None))
    ]
    log.info("vae  PSNR %.2f dB, unseen characters %.2f dB", *psnr)
    page = sheet(np.concatenate([originals, to_images(made)]), 8)
    page.resize((page.width * 2, page.height * 2), 0).save(config.out / "vae" / "preview.png")


def preview_specs(count: int = 32) -> list[world.Spec]:
    """Reserved combinations, never trained on, the species in turn and the scenes at random."""
    found: list[world.Spec] = []
    index = 0
    while len(found) < count:
        spec = world.random_spec(99, index, reserved=True)
        if spec.species == world.SPECIES[len(found) % len(world.SPECIES)]:
            found.append(spec)
        index += 1
    return found


def draw(
    config: BuildConfig, unet, texts: list[str], seed: int, guidance: float = 5.0, steps: int = 25
) -> np.ndarray:
    """Sample one picture per text; (B, 64, 64, 3) uint8."""
    clip, vae, tokenizer = trained(config, "clip"), trained(config, "vae"), load_tokenizer(config)
    device = config.torch_device
    clip, vae = clip.to(device), vae.to(device)
    with torch.no_grad():
        states, empty = (
            nets.text_states(clip, stages.tokenize(tokenizer, words).to(device))
            for words in (texts, [""])
        )
        shape = (len(texts), nets.LATENT_CHANNELS, nets.LATENT_SIDE, nets.LATENT_SIDE)
        noise = torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(device)
        return to_images(vae.decode(nets.ddim(unet, states, empty, noise, steps, guidance)).sample)


def _unet_sheet(config: BuildConfig, unet, samples: int) -> None:
    """A sheet of samples, and an export that others can use already."""
    unet.eval()
    images = draw(config, unet, [world.full_caption(spec) for spec in preview_specs()], seed=5)
    page = sheet(images, 8).resize((1024, 512), 0)
    page.save(config.out / "unet" / f"preview-{samples:08d}.png")
    page.save(config.out / "unet" / "preview.png")
    export(config.weights_folder, trained(config, "clip"), trained(config, "vae"), unet)
    unet.train()


# --- the whole story ---------------------------------------------------------------------------


def export_now(config: BuildConfig) -> None:
    """Export whatever the last checkpoints hold."""
    export(config.weights_folder, *(trained(config, stage) for stage in ("clip", "vae", "unet")))


def report(config: BuildConfig) -> None:
    """Judge the exported weights and write miniature.md with its pictures."""
    from kaiffin.miniature.quality import write_report

    write_report(config, config.docs or config.out)


# What the earlier stages must have left before a single one can run.
NEEDED = {
    "clip": "pool.npy",
    "vae": "pool.npy",
    "towers": "pool.npy",
    "latents": "vae/checkpoint.safetensors",
    "unet": "latents.npy",
    "export": "unet/checkpoint.safetensors",
    "report": "latents.npy",
}


def build(config: BuildConfig, only: str | None = None) -> None:
    """All stages in order, or one of them."""
    story: dict[str, Callable[[BuildConfig], None]] = {
        "render": render,
        "clip": lambda c: train(c, {"clip": 1}),
        "vae": lambda c: train(c, {"vae": c.workers}),
        "towers": lambda c: train(c, {"clip": 1, "vae": max(1, c.workers - 1)}),
        "latents": encode,
        "unet": lambda c: train(c, {"unet": c.workers}),
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
