"""A judge for studies: which character a picture shows, the held-out two included, and where.

The net of `judge`, taught to tell kaiffin from a black penguin and the plush from a brown bear. It
sees renders alone: plain, at half resolution, and through the miniature's VAE, as every sample has
been. It shares nothing with the CLIP that the miniature ships, so what it says about an adapter
does not rest on a model that took part in the training. It is made where a study needs it, and
knows `world.SUBJECTS` unless it is made for others.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from PIL import Image
from safetensors.torch import load_file, save
from torch import Tensor

from kaiffin.foundation.folder import write_bytes
from kaiffin.miniature.build import nets
from kaiffin.miniature.judges.judge import Answers, Judge, fit, soften
from kaiffin.miniature.world import world
from kaiffin.miniature.world.vocabulary import SCENES, SPECIES, Spec
from kaiffin.models.files.embedded import WEIGHTS

Subjects = Mapping[str, world.Subject]


def answers(subjects: Subjects) -> Answers:
    """What a judge that knows `subjects` is asked."""
    return {"species": (*SPECIES, *subjects, None), "scene": tuple(SCENES)}


ANSWERS = answers(world.SUBJECTS)
SEED = 4  # a world apart from the one that the miniature was built of
BATCH = 64


class Truth:
    """Names the character and the scene of pictures."""

    def __init__(self, judge: Judge) -> None:
        self.net = judge.eval()

    @torch.no_grad()
    def judge(self, images: Sequence[Image.Image]) -> list[dict[str, dict[str, float]]]:
        """For each picture {"species": {word: probability}, "scene": {...}}; an empty scene's
        species is "none". Pictures of another size are brought to its 64 x 64."""
        found = []
        for start in range(0, len(images), BATCH):
            pixels = nets.to_pixels(torch.from_numpy(_pixels(images[start : start + BATCH])))
            rows = {q: logits.softmax(1).tolist() for q, logits in self.net(pixels).items()}
            for row in range(len(pixels)):
                found.append({q: _named(a, rows[q][row]) for q, a in self.net.answers.items()})
        return found

    def right(
        self, images: Sequence[Image.Image], subject: str, scenes: Sequence[str]
    ) -> list[bool]:
        """Whether picture i shows `subject` in scenes[i], both by the likeliest answer."""
        if len(images) != len(scenes):
            raise ValueError(f"{len(images)} pictures and {len(scenes)} scenes are no pairs")
        return [
            likeliest(found["species"]) == subject and likeliest(found["scene"]) == scene
            for found, scene in zip(self.judge(images), scenes, strict=True)
        ]


def likeliest(probabilities: dict[str, float]) -> str:
    """The answer with the highest probability."""
    return max(probabilities, key=lambda answer: probabilities[answer])


def load_truth(path: Path, subjects: Subjects = world.SUBJECTS) -> Truth:
    """The judge at `path`, trained first where there is none: about five minutes on a core."""
    if not path.is_file():
        write_bytes(path, save(train(SEED, subjects=subjects).state_dict()))
    judge = Judge(answers(subjects))
    judge.load_state_dict(load_file(path))
    return Truth(judge)


def spec(seed: int, index: int, subjects: Subjects = world.SUBJECTS) -> Spec:
    """Picture `index` of the world `seed`: two in five show a held-out character, two in five the
    animal that a failed adapter shows in its place, plain or of another unusual build. Sizes and
    places vary more than samples do."""
    drawn = world.random_spec(seed, index)
    rng = np.random.default_rng([seed, index, 3])
    who = list(subjects.values())[int(rng.integers(len(subjects)))]
    kind = rng.random()
    if kind < 0.4:
        drawn = replace(drawn, species=who.name, colour=who.colour)
    elif kind < 0.8:
        unusual = drawn.detail if kind < 0.6 else None
        drawn = replace(drawn, species=who.class_noun, colour=who.colour, individual=unusual)
    return replace(drawn, size=float(rng.uniform(0.62, 0.70)), x=float(rng.uniform(0.46, 0.54)))


def train(
    seed: int, pictures: int = 6000, steps: int = 1200, subjects: Subjects = world.SUBJECTS
) -> Judge:
    """A judge from `pictures` renders, a third of which are seen through the VAE as well."""
    specs = [spec(seed, index, subjects) for index in range(pictures)]
    plain = np.stack([np.asarray(world.render(each, nets.SIZE)) for each in specs])
    decoded = through_vae([world.render(each) for each in specs[: -(-pictures // 3)]])
    pool = np.concatenate([plain, decoded])

    def draw(rng: np.random.Generator) -> tuple[Tensor, list[Spec]]:
        picks = np.concatenate([
            rng.integers(0, pictures, BATCH // 2),
            rng.integers(pictures, len(pool), BATCH // 2),
        ])  # fmt: skip
        soft = torch.from_numpy(rng.integers(0, 2, BATCH)).float()
        images = soften(nets.to_pixels(torch.from_numpy(pool[picks])), soft)
        return _jittered(images, rng), [specs[index % pictures] for index in picks]

    return fit(answers(subjects), draw, seed, steps)


@torch.no_grad()
def through_vae(pictures: Sequence[Image.Image]) -> np.ndarray:
    """Pictures encoded and decoded by the miniature's VAE; (N, 64, 64, 3) uint8."""
    vae = AutoencoderKL.from_pretrained(WEIGHTS / "vae").eval()
    parts = []
    for start in range(0, len(pictures), BATCH):
        part = np.stack([np.asarray(image) for image in pictures[start : start + BATCH]])
        pixels = nets.to_pixels(torch.from_numpy(part))
        made = vae.decode(vae.encode(pixels).latent_dist.mean).sample.clamp(-1, 1)
        made = F.adaptive_avg_pool2d(made, nets.SIZE)
        parts.append(((made + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy())
    return np.concatenate(parts)


def _jittered(pixels: Tensor, rng: np.random.Generator) -> Tensor:
    """Contrast and brightness varied: guidance moves both."""
    shape = (len(pixels), 1, 1, 1)
    factor = torch.from_numpy(rng.uniform(0.8, 1.3, shape)).float()
    shift = torch.from_numpy(rng.uniform(-0.1, 0.1, shape)).float()
    return (pixels * factor + shift).clamp(-1, 1)


def _pixels(images: Sequence[Image.Image]) -> np.ndarray:
    """(N, 64, 64, 3) uint8."""
    side = (nets.SIZE, nets.SIZE)
    return np.stack([np.array(image.convert("RGB").resize(side)) for image in images])


def _named(words: tuple[str | None, ...], row: Sequence[float]) -> dict[str, float]:
    return {word or "none": share for word, share in zip(words, row, strict=True)}
