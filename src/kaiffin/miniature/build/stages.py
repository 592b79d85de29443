"""The three networks' losses, each a function of the step: CLIP, then VAE, then UNet."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import CLIPModel, CLIPTokenizer

from kaiffin.miniature.build import nets
from kaiffin.miniature.world import world
from kaiffin.miniature.world.doodle import doodle
from kaiffin.models.diffusion import loss as objective
from kaiffin.models.diffusion.schedule import NoiseSchedule

MIN_SNR_GAMMA = 5.0
Encode = Callable[[list[str]], Sequence[Tensor]]  # prompts to what the UNet is told of them


@dataclass(frozen=True)
class Pool:
    """The rendered pictures and what is in them. pixels: (N, H, W, 3) uint8, memory-mapped."""

    pixels: np.ndarray
    seed: int

    def draw(self, stage: int, step: int, batch: int, part: slice) -> np.ndarray:
        """This worker's picture numbers for a step; (part,) int64."""
        rng = np.random.default_rng([self.seed, stage, step])
        return rng.integers(0, len(self.pixels), batch)[part]

    def images(self, picks: np.ndarray) -> Tensor:
        """(B, 3, H, W) floats in -1..1."""
        return nets.to_pixels(torch.from_numpy(self.pixels[np.sort(picks)][_unsort(picks)]))

    def caption(self, index: int, variant: int) -> str:
        """Caption number `variant` of picture `index`."""
        return world.caption(world.training_spec(self.seed, index), variant, index)


def _unsort(picks: np.ndarray) -> np.ndarray:
    """Positions that undo sorting: a memory map reads faster in order."""
    return np.argsort(np.argsort(picks, kind="stable"), kind="stable")


def tokenize(tokenizer: CLIPTokenizer, texts: list[str], full: bool = True) -> Tensor:
    """(B, T) ids: T is 77, or the longest text when `full` is off (exact, the tower is causal)."""
    padding = "max_length" if full else "longest"
    return tokenizer(
        texts, padding=padding, truncation=True, max_length=77, return_tensors="pt"
    ).input_ids


# --- CLIP ------------------------------------------------------------------------------------


def clip_loss(clip: CLIPModel, pixels: Tensor, tokens: Tensor) -> Tensor:
    """Symmetric cross-entropy over the batch (arXiv 2103.00020, figure 3)."""
    images = F.normalize(clip.get_image_features(pixel_values=pixels).pooler_output, dim=-1)
    texts = F.normalize(clip.get_text_features(input_ids=tokens).pooler_output, dim=-1)
    return contrastive(clip.logit_scale.exp().clamp(max=100) * images @ texts.T)


def contrastive(logits: Tensor) -> Tensor:
    """The symmetric loss of (B, B) logits whose pairs stand on the diagonal."""
    target = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def clip_stage(clip: CLIPModel, tokenizer: CLIPTokenizer, pool: Pool, batch: int):
    """The loss of one CLIP step; the caption variant is the step, so every visit reads anew."""

    def loss(step: int, part: slice) -> Tensor:
        picks = pool.draw(1, step, batch, part)
        texts = [pool.caption(int(index), step) for index in picks]
        tokens = tokenize(tokenizer, texts, full=False).to(clip.device)
        return clip_loss(clip, pool.images(picks).to(clip.device), tokens)

    return loss


# --- VAE -------------------------------------------------------------------------------------


def _edges(images: Tensor) -> tuple[Tensor, Tensor]:
    return images.diff(dim=-1), images.diff(dim=-2)


def likeness(made: Tensor, pixels: Tensor) -> Tensor:
    """L1 + 2 L2 + L1 of edges and of 4 x 4 means. Edges keep eyes sharp, means colours right."""
    error = made - pixels
    edges = sum((a - b).abs().mean() for a, b in zip(_edges(made), _edges(pixels), strict=True))
    means = F.avg_pool2d(error, 4).abs().mean()
    return error.abs().mean() + 2 * error.square().mean() + 0.5 * edges + 0.5 * means


def vae_loss(vae, pixels: Tensor, generator: torch.Generator) -> Tensor:
    """`likeness` of the reconstruction, and a little KL that only keeps latents from drifting."""
    pixels = pixels.to(vae.device)
    posterior = vae.encode(pixels).latent_dist
    made = vae.decode(posterior.sample(generator)).sample
    kl = posterior.kl().mean() / posterior.mean[0].numel()
    return likeness(made, pixels) + 1e-4 * kl


def doodled(pool: Pool, step: int, picks: np.ndarray) -> Tensor:
    """Pictures of which three in four are doodled on, anew at each visit; (B, 3, H, W) in -1..1."""
    pixels = np.array(pool.pixels[picks])
    for row in (row for row in range(len(picks)) if row % 4):
        pixels[row] = doodle(pixels[row], step, int(picks[row]))
    return nets.to_pixels(torch.from_numpy(pixels))


def noise_of(pool: Pool, step: int, part: slice) -> torch.Generator:
    """What the latents of a VAE's step are drawn with."""
    return torch.Generator().manual_seed(pool.seed * 1_000_003 + step * 64 + part.start)


def vae_stage(vae, pool: Pool, batch: int):
    """The loss of one VAE step."""

    def loss(step: int, part: slice) -> Tensor:
        pixels = doodled(pool, step, pool.draw(2, step, batch, part))
        return vae_loss(vae, pixels, noise_of(pool, step, part))

    return loss


HELD = 0.5  # of the squared distance between latents and those before, beside `likeness`


def held_stage(vae, old, pool: Pool, batch: int):
    """The loss of one step of a VAE that learns on, both halves: `vae_loss`, and how far its
    latents go from those of `old`, by which the UNet drew so far."""

    def loss(step: int, part: slice) -> Tensor:
        images = doodled(pool, step, pool.draw(10, step, batch, part)).to(old.device)
        with torch.no_grad():
            before = old.encode(images).latent_dist.mean
        with torch.autocast(old.device.type, torch.bfloat16):  # on a CPU 1.8 times as fast
            posterior = vae.encode(images).latent_dist
            latents = posterior.sample(noise_of(pool, step, part))
            made = vae.decode(latents).sample.float()
        kl = posterior.kl().mean() / before[0].numel()
        held = F.mse_loss(posterior.mean.float(), before)
        return likeness(made, images) + 1e-4 * kl + HELD * held

    return loss


@torch.no_grad()
def latent_means(vae, pixels: np.ndarray, batch: int = 64) -> Tensor:
    """(N, H, W, 3) uint8 to the posterior means, (N, c, h, w)."""
    parts = [
        vae.encode(
            nets.to_pixels(torch.from_numpy(np.array(pixels[at : at + batch]))).to(vae.device)
        ).latent_dist.mean
        for at in range(0, len(pixels), batch)
    ]
    return torch.cat(parts)


@torch.no_grad()
def whiten(vae, means: Tensor) -> None:
    """Fold mean and covariance of the latents exactly into quant_conv and post_quant_conv.

    Afterwards latents have zero mean and identity covariance over the channels, reconstructions
    are unchanged, and `scaling_factor` 1 is right. Symmetric (ZCA) whitening.
    """
    count = means.shape[1]
    flat = means.permute(0, 2, 3, 1).reshape(-1, count).double()
    centre = flat.mean(0)
    values, vectors = torch.linalg.eigh(torch.cov(flat.T))
    forth = vectors @ torch.diag(values.rsqrt()) @ vectors.T
    back = vectors @ torch.diag(values.sqrt()) @ vectors.T
    quant, post = vae.quant_conv, vae.post_quant_conv
    weight, bias = quant.weight[:, :, 0, 0].double(), quant.bias.double()
    weight[:count] = forth @ weight[:count]
    bias[:count] = forth @ (bias[:count] - centre)
    bias[count:] += 2 * forth.diagonal().log()  # the small variances, channel by channel
    quant.weight.copy_(weight[:, :, None, None])
    quant.bias.copy_(bias)
    taken = post.weight[:, :, 0, 0].double()
    post.bias.copy_(post.bias.double() + taken @ centre)
    post.weight.copy_((taken @ back)[:, :, None, None])


# --- UNet ------------------------------------------------------------------------------------


class TextStates:
    """What frozen text towers say of two captions a picture, kept on disk once computed.

    A cache of a pure function, rounded to half precision whether it hits or not, so that a run
    that finds it warm and one that finds it cold reach the same weights.
    """

    VARIANTS = 2

    def __init__(self, encode: Encode, pool: Pool, folder: Path, names: tuple[str, ...]) -> None:
        """names: of the files that `prepare` made, one for each tensor of `encode`."""
        self.encode, self.pool = encode, pool
        self.kept = [np.load(folder / f"{name}.npy", mmap_mode="r+") for name in names]
        self.filled = np.load(folder / f"{names[0]}-filled.npy", mmap_mode="r+")
        self.empty = [part[0] for part in self._compute([""])]

    @classmethod
    def prepare(cls, folder: Path, pictures: int, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Make the empty cache files that all workers share; shapes: of one caption, by name."""
        filled = folder / f"{next(iter(shapes))}-filled.npy"
        if filled.exists():
            return
        slots = pictures * cls.VARIANTS
        for name, shape in shapes.items():
            path = folder / f"{name}.npy"
            np.lib.format.open_memmap(path, "w+", np.float16, (slots, *shape)).flush()
        np.lib.format.open_memmap(filled, "w+", np.uint8, (slots,)).flush()

    @torch.no_grad()
    def _compute(self, texts: list[str]) -> list[np.ndarray]:
        return [part.half().cpu().numpy() for part in self.encode(texts)]

    def read(self, picks: np.ndarray, variants: np.ndarray, blank: np.ndarray) -> list[Tensor]:
        """For each of `names` (B, ...): caption `variants[i]` of picture `picks[i]`, the empty
        prompt where `blank`."""
        slots = picks * self.VARIANTS + variants
        missing = np.unique(slots[self.filled[slots] == 0])
        if len(missing):
            texts = [
                self.pool.caption(int(s) // self.VARIANTS, int(s) % self.VARIANTS) for s in missing
            ]
            for kept, computed in zip(self.kept, self._compute(texts), strict=True):
                kept[missing] = computed
            self.filled[missing] = 1  # after the states: another worker may be reading
        found = []
        for kept, empty in zip(self.kept, self.empty, strict=True):
            rows = np.array(kept[slots])
            rows[blank] = empty
            found.append(torch.from_numpy(rows).float())
        return found


def encoder(tower: Any, tokenizer: CLIPTokenizer) -> Encode:
    """Prompts to the states that the miniature's UNet reads, [(B, 77, WIDTH)]."""

    def encode(texts: list[str]) -> list[Tensor]:
        return [tower(input_ids=tokenize(tokenizer, texts).to(tower.device)).last_hidden_state]

    return encode


def unet_loss(
    unet, latents: Tensor, noise: Tensor, t: Tensor, states: Tensor,
    added: dict[str, Tensor] | None = None,
) -> Tensor:  # fmt: skip
    """Mean squared error of v, with the min-SNR weight (arXiv 2303.09556).

    added: the pooled text and the size and crop of an XL twin.
    """
    schedule = _schedule()
    x_t, target = schedule.add_noise(latents, noise, t), schedule.target(latents, noise, t)
    with torch.autocast(latents.device.type, torch.bfloat16):  # on a CPU 1.7 times as fast
        made = unet(x_t, t, states, added_cond_kwargs=added).sample.float()
    return objective.loss(made, target, weight=schedule.weight(t, MIN_SNR_GAMMA)).mean()


@functools.cache
def _schedule() -> NoiseSchedule:
    return NoiseSchedule.from_config(nets.make_schedule().config)


@dataclass(frozen=True)
class Drawn:
    """What one worker does with its pictures in a step."""

    variants: np.ndarray  # (B,) which caption
    blank: np.ndarray  # (B,) bool: the caption is dropped
    t: Tensor  # (B,) timesteps
    noise: Tensor  # (B, c, h, w)


def draw_noising(
    seed: int, stage: int, step: int, batch: int, part: slice, shape: tuple[int, ...]
) -> Drawn:
    """Captions, times and noise of a step, from (seed, stage, step). shape: of one latent."""
    rng = np.random.default_rng([seed, stage, step])
    variants = rng.integers(0, TextStates.VARIANTS, batch)[part]
    blank = (rng.random(batch) < 0.1)[part]
    # stratified over the batch: the same uniform times with less variance
    times = ((rng.permutation(batch) + rng.random(batch)) / batch * 1000).astype(np.int64)
    noise = rng.standard_normal((batch, *shape), dtype=np.float32)[part]
    return Drawn(variants, blank, torch.from_numpy(times[part]), torch.from_numpy(noise))


def unet_stage(unet, latents: Tensor, states: TextStates, pool: Pool, batch: int):
    """One step: pictures, captions, times and noise, all drawn from (seed, step)."""

    def loss(step: int, part: slice) -> Tensor:
        picks = pool.draw(3, step, batch, part)
        drawn = draw_noising(pool.seed, 4, step, batch, part, latents.shape[1:])
        (told,) = states.read(picks, drawn.variants, drawn.blank)
        parts = (latents[picks].float(), drawn.noise, drawn.t, told)
        x0, noise, t, context = (part.to(unet.device) for part in parts)
        return unet_loss(unet, x0, noise, t, context)

    return loss
