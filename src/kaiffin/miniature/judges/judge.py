"""An independent judge: a small CNN that names species, colour, scene and accessory.

It is trained on renders alone and never on a sample, shares nothing with the CLIP that the
miniature ships, and is not shipped itself: it exists so that the accuracy in docs/miniature.md
does not rest on a model that helped to train what it judges. `truth` asks the same net about the
characters that a user teaches.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save
from torch import Tensor, nn

from kaiffin.foundation.folder import write_bytes
from kaiffin.miniature.build import nets
from kaiffin.miniature.world import world
from kaiffin.miniature.world.vocabulary import ACCESSORIES, COLOURS, SCENES, SPECIES, Spec

Answers = dict[str, tuple[str | None, ...]]  # by question, which is a field of world.Spec
ANSWERS: Answers = {
    "species": (*SPECIES, None),
    "colour": tuple(COLOURS),
    "scene": tuple(SCENES),
    "accessory": (*ACCESSORIES, None),
}


class Judge(nn.Module):
    """Four strided convolutions and one linear head for each question."""

    def __init__(self, answers: Answers = ANSWERS) -> None:
        super().__init__()
        self.answers = answers
        widths = (3, 32, 64, 96, 128)
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Conv2d(before, after, 3, 2, 1), nn.GroupNorm(8, after), nn.SiLU()]
        self.body = nn.Sequential(*layers, nn.Flatten(), nn.Linear(128 * 16, 128), nn.SiLU())
        self.heads = nn.ModuleDict({q: nn.Linear(128, len(a)) for q, a in answers.items()})

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        """(B, 3, 64, 64) in -1..1 to logits of each question, (B, answers)."""
        features = self.body(pixels)
        return {question: head(features) for question, head in self.heads.items()}

    @torch.no_grad()
    def name(self, images: np.ndarray) -> list[dict[str, str | None]]:
        """(B, H, W, 3) uint8 to one answer per question and picture."""
        logits = self(nets.seen(images))
        best = {question: values.argmax(1).tolist() for question, values in logits.items()}
        return [
            {question: answers[best[question][row]] for question, answers in self.answers.items()}
            for row in range(len(images))
        ]


def soften(pixels: Tensor, share: Tensor) -> Tensor:
    """Some pictures at half resolution: samples are softer than renders. share: (B,) of 0 or 1."""
    soft = F.interpolate(F.avg_pool2d(pixels, 2), scale_factor=2, mode="bilinear")
    return torch.lerp(pixels, soft, share[:, None, None, None])


def judge_loss(judge: Judge, pixels: Tensor, specs: Sequence[Spec]) -> Tensor:
    """Sum of the questions' cross-entropies; empty scenes have no colour or accessory to name."""
    loss = torch.zeros(())
    for question, logits in judge(pixels).items():
        answers = judge.answers[question]
        target = torch.tensor(
            [
                -100
                if (spec.species is None and question in ("colour", "accessory"))
                or (spec.individual is not None and question == "colour")
                else answers.index(getattr(spec, question))
                for spec in specs
            ]
        )
        loss = loss + F.cross_entropy(logits, target)
    return loss


Draw = Callable[[np.random.Generator], tuple[Tensor, Sequence[Spec]]]


def fit(answers: Answers, draw: Draw, seed: int, steps: int = 1200) -> Judge:
    """A judge trained on what `draw` gives: pixels (B, 3, 64, 64) in -1..1 and their specs.

    AdamW with a cosine; 64 pictures a step take about two minutes on a CPU core.
    """
    torch.manual_seed(seed)
    judge = Judge(answers)
    optimizer = torch.optim.AdamW(judge.parameters(), 2e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, steps, pct_start=0.1)
    for step in range(steps):
        images, specs = draw(np.random.default_rng([seed, 11, step]))
        optimizer.zero_grad()
        judge_loss(judge, images, specs).backward()
        optimizer.step()
        schedule.step()
    return judge.eval()


def train_judge(pixels: np.ndarray, seed: int, batch: int = 64) -> Judge:
    """Train on the pool (N, 64, 64, 3) of the world `seed`."""

    def draw(rng: np.random.Generator) -> tuple[Tensor, list[Spec]]:
        picks = rng.integers(0, len(pixels), batch)
        soft = torch.from_numpy(rng.integers(0, 2, batch)).float()
        images = soften(nets.to_pixels(torch.from_numpy(np.array(pixels[picks]))), soft)
        return images, [world.training_spec(seed, int(index)) for index in picks]

    return fit(ANSWERS, draw, seed)


def load_judge(path: Path, pixels: np.ndarray, seed: int) -> Judge:
    """The judge at `path`, trained first where there is none."""
    if not path.exists():
        write_bytes(path, save(train_judge(pixels, seed).state_dict()))
    judge = Judge()
    judge.load_state_dict(load_file(path))
    return judge.eval()
