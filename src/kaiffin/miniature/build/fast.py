"""The few-step adapters of the miniature and its twin, by consistency distillation.

Of latents into LoRA as Luo et al. 2023 (arXiv 2311.05556), in several steps as Heek et al. 2024
(arXiv 2403.06807). Teacher and student are one exported base, without and with the adapter. The
noise levels are cut into SEGMENTS, one for each step that the adapter is for. The teacher, guided,
goes one step of DDIM down a grid inside a segment; from where it arrives, the student is to land at
the same end of the segment as from where it began, and at the end itself the picture is what it is
(the boundary condition of Song et al. 2023, arXiv 2303.01469). So one prediction of the student's,
without guidance, becomes a guided path through a segment. With one segment this is a latent
consistency model, which needs new noise at each step; with as many as steps, the way down has no
noise, and other adapters are led astray less. All is said of clean pictures: the schedule knows
whether the base predicts noise or v.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kaiffin.adapters.files import reading, safe, writing
from kaiffin.adapters.load import table_of
from kaiffin.adapters.lora import Lora
from kaiffin.adapters.stack import full_modules
from kaiffin.adapters.targets import LoraSpec
from kaiffin.foundation.config import BaseConfig
from kaiffin.foundation.runtime import Runtime
from kaiffin.foundation.tell import SILENT
from kaiffin.miniature.build import nets, stages
from kaiffin.models.base import Conditioning, ModelFamily, SizeFacts
from kaiffin.models.diffusion import loss as objective
from kaiffin.models.diffusion import samplers
from kaiffin.models.files.load import load_base
from kaiffin.pictures.fast import MARK

SEGMENTS = 4  # steps of the student
GRID = 40  # steps of the teacher
GUIDANCE = 5.0  # of the teacher: the default of `kaiffin generate`
TARGETS = "all-linear+conv"
RANKS = {"fast": 14, "fast_twin": 10}  # what 2 MB hold
PICTURES = 8_000  # of the pool: their latents are made as the stage begins
MOST_WEIGHT = 5.0


class Student(nn.Module):
    """A base with its few-step adapter; the adapter's weights are the network that is trained."""

    def __init__(self, family: ModelFamily, rank: int, seed: int) -> None:
        super().__init__()
        modules = full_modules(family)
        self.lora = Lora.create({"unet": LoraSpec(TARGETS, rank, rank)}, modules, seed)
        self.lora.inject(modules)
        self.layers = nn.ModuleList(self.lora.layers.values())
        self.family, self.rank = family, rank

    def forward(self, x: Tensor, levels: Sequence[float], told: Conditioning) -> Tensor:
        """The clean picture in x = x0 + sigma eps, each row at a level of its own."""
        self.lora.scale = 1.0
        return self._seen(self._output(x, levels, told), x, levels)

    @torch.no_grad()
    def teach(
        self, x: Tensor, levels: Sequence[float], told: Conditioning, nothing: Conditioning
    ) -> Tensor:
        """The same, as the base alone sees it with guidance."""
        self.lora.scale = 0.0
        both = Conditioning.cat([told, nothing])
        output = self._output(torch.cat([x, x]), [*levels, *levels], both)
        return self._seen(samplers.guided(*output.chunk(2), GUIDANCE), x, levels)

    def _output(self, x: Tensor, levels: Sequence[float], told: Conditioning) -> Tensor:
        asked = [self.family.schedule.model_input(*row) for row in zip(x, levels, strict=True)]
        times = torch.tensor([t for _, t in asked], device=x.device)
        return self.family.predict(torch.stack([x_t for x_t, _ in asked]), times, told)

    def _seen(self, output: Tensor, x: Tensor, levels: Sequence[float]) -> Tensor:
        rows = zip(output, x, levels, strict=True)
        return torch.stack([self.family.schedule.to_x0(*row) for row in rows])


def new_student(
    weights: Path, stage: str, seed: int, device: torch.device, begin: Path | None = None
) -> Student:
    """Of the exported base in `weights`; begin: an adapter that learns on."""
    runtime = Runtime(device, torch.float32, torch.float32)
    family = load_base(BaseConfig(name=str(weights)), runtime, SILENT)
    student = Student(family, RANKS[stage], seed)
    if begin and begin.is_file():
        student.lora.load(reading.read(begin, table_of(family)).state())
    return student


@dataclass(frozen=True)
class Levels:
    """sigma of each row, of the grid's next level, and of the end of its segment."""

    here: list[float]
    after: list[float]
    end: list[float]

    @classmethod
    def of(cls, grid: Sequence[float], places: Sequence[int]) -> Levels:
        each = GRID // SEGMENTS
        ends = [grid[(place // each + 1) * each] for place in places]
        return cls([grid[i] for i in places], [grid[i + 1] for i in places], ends)


def consistency(
    student: Student, x: Tensor, levels: Levels, told: Conditioning, nothing: Conditioning
) -> Tensor:
    """How far what the student sees at x is from what would lead it to where it goes from one step
    of the teacher's on; by the noise, as an error of v, but at most MOST_WEIGHT."""
    with torch.no_grad():
        seen = student.teach(x, levels.here, told, nothing)
        arrived = stepped(x, seen, levels.here, levels.after)
        landed = arrived.clone()
        rows = zip(levels.after, levels.end, strict=True)
        on = [row for row, (after, end) in enumerate(rows) if after > end]
        if on:
            after, end = ([one[row] for row in on] for one in (levels.after, levels.end))
            seen = student(arrived[on], after, told.map(lambda value: value[on]))
            landed[on] = stepped(arrived[on], seen, after, end)
        share = _ratio(levels.here, levels.end, x)
        goal = (landed - share * x) / (1 - share)
    weight = torch.tensor([min(1 + sigma**-2, MOST_WEIGHT) for sigma in levels.here])
    return objective.loss(student(x, levels.here, told), goal, weight=weight.to(x)).mean()


def stepped(x: Tensor, x0: Tensor, here: Sequence[float], after: Sequence[float]) -> Tensor:
    """DDIM's step, each row with levels of its own."""
    return x0 + _ratio(here, after, x) * (x - x0)


def _ratio(here: Sequence[float], after: Sequence[float], x: Tensor) -> Tensor:
    rows = zip(here, after, strict=True)
    return torch.tensor([to / begun for begun, to in rows]).to(x).view(-1, 1, 1, 1)


def fast_stage(student: Student, pool: stages.Pool, batch: int):
    """One step: pictures, captions, levels and noise, all drawn from (seed, step)."""
    family = student.family
    grid = family.schedule.sigmas(GRID, "trailing")
    pool = stages.Pool(pool.pixels[:PICTURES], pool.seed)
    latents = latents_of(family, pool.pixels)
    size = SizeFacts.whole(family.native_size, family.native_size)

    def loss(step: int, part: slice) -> Tensor:
        picks = pool.draw(8, step, batch, part)
        drawn = stages.draw_noising(pool.seed, 9, step, batch, part, latents.shape[1:])
        captions = [
            pool.caption(int(i), int(v)) for i, v in zip(picks, drawn.variants, strict=True)
        ]
        with torch.no_grad():
            told = family.encode_text(captions, [size] * len(picks))
            nothing = family.encode_text([""] * len(picks), [size] * len(picks))
        levels = Levels.of(grid, [int(t) * GRID // 1000 for t in drawn.t])
        x0, noise = latents[picks].to(family.device), drawn.noise.to(family.device)
        sigma = torch.tensor(levels.here).to(x0).view(-1, 1, 1, 1)
        return consistency(student, x0 + sigma * noise, levels, told, nothing)

    return loss


@torch.no_grad()
def latents_of(family: ModelFamily, pixels: np.ndarray, batch: int = 64) -> Tensor:
    """(N, H, W, 3) uint8 to the scaled latents, (N, c, h, w); pictures of the size before the VAE
    was grown are enlarged, of which it makes the same latents."""
    parts = []
    for at in range(0, len(pixels), batch):
        images = nets.to_pixels(torch.from_numpy(np.array(pixels[at : at + batch])))
        means, _ = family.encode_images(F.interpolate(images, family.native_size))
        parts.append(means)
    return torch.cat(parts).cpu()


def write(student: Student, path: Path, samples: int, base: str) -> None:
    """The adapter as a file in half precision, its header saying what it is."""
    family = student.family
    state = {name: value.half() for name, value in student.lora.state().items()}
    facts = writing.TrainedOn(
        family.name, base, family.revision, family.schedule.prediction_type, family.native_size
    )
    header = writing.metadata(
        facts, rank=student.rank, alpha=student.rank, title=path.stem, trigger="",
        facts={"num_train_samples": samples, "guidance_scale": GUIDANCE},
    )  # fmt: skip
    header["modelspec.usage_hint"] = f"{SEGMENTS} steps of Euler, SGM uniform, guidance 1."
    header[MARK] = "euler"
    adapter = reading.from_state(state, family.name, header)
    safe.save(path, writing.to_kohya(adapter, family.layers_per_block), header)
