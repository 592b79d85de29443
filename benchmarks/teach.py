"""Methods of teaching compared where it is hard: few photos, few steps, six characters.

    python benchmarks/teach.py --out build/teach [--part 1/2]
    python benchmarks/teach.py --out build/teach --summary docs/measured/teach.json \\
        --picked docs/measured/teach-picked.json

A cell is one training: a character, a number of photos, a training seed, a method. It is measured
at 25, 50 and 100 % of its steps, on ten prompts of places that the photos do not show, a picture
each (two seeds of one prompt say the same), by a network that was trained on renders alone:

- subject, place, both: share of pictures that show it, the place, both
- leak: share of pictures of the class, without the subject's word, that show the subject
- kept: share of these that are named the class; drift: 1 - CLIP-I to those of the base
- copy: share of pictures that repeat a photo (score.measures.is_copy)
- home: share of pictures that show a place of the photos where the prompt names none, which is what
  the photos' places leak; repeat: share of these that repeat a photo
- loss, held out: means over a quarter of the steps, and of a photo that was not learnt from

The points are checkpoints of one training, whose rate has decayed at the last only: a training of
its own for each point would cost 1.75 times as much, and what a run can show on its way is what
`kaiffin choose` chooses from. Cells are one JSON each, and those that are there are not made again;
`--part` divides them among processes. Differences are in pairs: of one character, number of photos
and seed.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tables
from kept import keep
from personalise import SCENES
from PIL import Image
from torch import Tensor, stack

from kaiffin.foundation.config import BaseConfig, Config, SampleConfig
from kaiffin.foundation.folder import write_bytes
from kaiffin.foundation.run import Run
from kaiffin.foundation.runtime import Runtime
from kaiffin.foundation.settings import build, override
from kaiffin.foundation.tell import SILENT
from kaiffin.miniature.judges.truth import Truth, likeliest, load_truth
from kaiffin.miniature.world import world
from kaiffin.miniature.world.vocabulary import SIDE
from kaiffin.models.base import ModelFamily
from kaiffin.models.files.load import load_base
from kaiffin.pictures.make import Task, WeightedAdapter, make
from kaiffin.pictures.recipe import save_png
from kaiffin.pictures.request import request
from kaiffin.score import measures
from kaiffin.score.judge import Scorer
from kaiffin.score.statistics import clustered
from kaiffin.stories import train

PHOTOS, TRAINING_SEEDS = (1, 3, 6), (0, 1, 2, 3, 4)
TAUGHT = ("meadow", "beach", "kitchen")
SEEDS = tuple(range(101, 111))  # one of each prompt; the first HOME of where none is asked for
HOME = 6
STEPS, POINTS = 220, (25, 50, 100)  # percent of the steps
SAMPLE = SampleConfig(sampler="euler", schedule="trailing", steps=6, size=(SIDE, SIDE))
MEASURES = ("subject", "place", "both", "leak", "kept", "drift", "copy", "home", "repeat")

PICTURES = "class pictures 0.2"  # the preset before this study
FEW_STEPS = "class pictures 0.2, fast"
NO_PRIOR = {"data.prior.weight": 0.0}


def kept(weight: float, share: float = 0.5) -> dict[str, Any]:
    goal = {"train.objective.keep": weight, "train.objective.keep_share": share}
    return {**NO_PRIOR, **goal}


METHODS: Mapping[str, Mapping[str, Any]] = {
    PICTURES: {"data.prior.weight": 0.2},
    FEW_STEPS: {"data.prior.weight": 0.2, "data.prior.fast": "own"},
    "no prior": NO_PRIOR,
    "keep 1": kept(1.0),
    "keep 0.2, a quarter": kept(0.2, 0.25),
    "keep 1, a quarter": kept(1.0, 0.25),  # the preset of real bases
    "keep 2, a quarter": kept(2.0, 0.25),
    "class pictures 0.2, keep 1": {**kept(1.0, 0.25), "data.prior.weight": 0.2},
    "masks": {"data.prior.weight": 0.2, "data.masks": "auto"},
    "crops, turns": {"data.prior.weight": 0.2, "data.crops": "random", "data.rotate": 10.0},
    "8 class pictures": {"data.prior.weight": 0.2, "data.prior.num_images": 8},
    "DCO 3": {**NO_PRIOR, "train.objective.dco_beta": 3.0},
    "DCO 1000": {**NO_PRIOR, "train.objective.dco_beta": 1000.0},
    "logit-normal": {"data.prior.weight": 0.2, "train.objective.timesteps": "logit-normal"},
    "falling": {"data.prior.weight": 0.2, "train.objective.timesteps": "falling"},
    "antithetic": {"data.prior.weight": 0.2, "train.objective.antithetic": True},
    "4 noises": {"data.prior.weight": 0.2, "train.noises": 4},
    "T-LoRA 8 of 16": {"data.prior.weight": 0.2, "adapter.min_rank": 8},
    "T-LoRA 8 of 16, no prior": {**NO_PRIOR, "adapter.min_rank": 8},
}
WHOLE = (PICTURES, "keep 1, a quarter", "no prior")  # for every number of photos; others for one


@dataclass(frozen=True)
class Cell:
    """One training."""

    subject: str
    photos: int
    seed: int
    method: str

    @property
    def name(self) -> str:
        return f"{self.subject}-{self.photos}-{self.seed}-{self.method.replace(' ', '_')}"


def cells(
    subjects: Sequence[str], photos: Sequence[int], seeds: Sequence[int], methods: Sequence[str]
) -> list[Cell]:
    """Methods inside: however early it is stopped, what is there is in pairs."""
    return [Cell(s, p, n, m) for n in seeds for p in photos for s in subjects for m in methods]


def whole(subjects: Sequence[str], photos: Sequence[int], seeds: Sequence[int]) -> list[Cell]:
    """The table that two cores make within six hours."""
    every = cells(subjects, photos, seeds, list(METHODS))
    return [cell for cell in every if cell.photos == 1 or cell.method in WHOLE]


class Bench:
    """What all cells share: the base, the judges, and the base's own pictures of each class."""

    def __init__(self, out: Path, family: ModelFamily, truth: Truth, scorer: Scorer) -> None:
        self.out, self.family, self.truth, self.scorer = out, family, truth, scorer
        self.of_base: dict[str, Tensor] = {}

    def measure(self, cell: Cell, steps: int | None = None, points: int = 4) -> dict[str, Any]:
        """Trains and measures one cell."""
        folder = self.out / "photos" / f"{cell.subject}-{cell.photos}-{cell.seed}"
        photos = render_photos(folder, cell, held_out=1)
        path = self.out / "runs" / cell.name
        shutil.rmtree(path, ignore_errors=True)  # one that was cut off has lost its seconds
        wall, cpu = time.perf_counter(), time.process_time()
        each = max(1, (steps or STEPS) // points)
        asked = {"data.hold_out": 1, "train.validate_every": each, **METHODS[cell.method]}
        config = config_of(cell, folder, steps, points, asked)
        run = train.train(config, path, tell=SILENT).run
        found = {
            "subject": cell.subject, "photos": cell.photos, "seed": cell.seed,
            "method": cell.method, "seconds": time.perf_counter() - wall,
            "cpu": time.process_time() - cpu, "steps": run.config.train.steps,
        }  # fmt: skip
        layouts, lines = stack([measures.layout(photo) for photo in photos]), run.metrics()
        found["at"] = {
            str(percent): self.judged(cell, adapter, layouts) | losses(lines, step, each)
            for percent, step, adapter in adapters(run)
        }
        return found

    def judged(self, cell: Cell, adapter: Path, layouts: Tensor) -> dict[str, float]:
        """Shares over the pictures that an adapter makes. layouts: of the photos."""
        who, worn = world.CAST[cell.subject], (WeightedAdapter(adapter),)
        own, places = prompts_of(who.instance_prompt)
        asked = [*own, *prompts_of(f"a photo of a {who.class_noun}")[0]]
        images = self.pictures([*asked, *[who.instance_prompt] * HOME], worn)
        subject, after, plain = images[: len(own)], images[len(own) : len(asked)], images[-HOME:]
        named = [likeliest(row["species"]) for row in self.truth.judge(after)]
        seen = [likeliest(row["scene"]) for row in self.truth.judge(plain)]
        drift = measures.drift(self.base_of(who.class_noun), self.scorer.embed_images(after))
        return {
            **self.shares(cell, subject, places),
            "leak": mean([name == who.name for name in named]),
            "kept": mean([name == who.class_noun for name in named]),
            "drift": drift.mean().item(),
            "copy": copied(subject, layouts),
            "home": mean([place in places_of(cell) for place in seen]),
            "repeat": copied(plain, layouts),
        }

    def right(self, cell: Cell, worn: tuple[WeightedAdapter, ...]) -> dict[str, float]:
        """Shares of the subject's pictures."""
        prompts, places = prompts_of(world.CAST[cell.subject].instance_prompt)
        return self.shares(cell, self.pictures(prompts, worn), places)

    def shares(
        self, cell: Cell, images: Sequence[Image.Image], places: Sequence[str]
    ) -> dict[str, float]:
        rows = self.truth.judge(images)
        is_it = [likeliest(row["species"]) == cell.subject for row in rows]
        there = [likeliest(r["scene"]) == p for r, p in zip(rows, places, strict=True)]
        both = [a and b for a, b in zip(is_it, there, strict=True)]
        return {"subject": mean(is_it), "place": mean(there), "both": mean(both)}

    def base_of(self, noun: str) -> Tensor:
        if noun not in self.of_base:
            images = self.pictures(prompts_of(f"a photo of a {noun}")[0], ())
            self.of_base[noun] = self.scorer.embed_images(images)
        return self.of_base[noun]

    def pictures(
        self, prompts: Sequence[str], worn: tuple[WeightedAdapter, ...]
    ) -> list[Image.Image]:
        """One of each prompt, the seeds taking turns."""
        seeds = itertools.cycle(SEEDS)
        tasks = [Task(request(p, s, SAMPLE), worn) for p, s in zip(prompts, seeds, strict=False)]
        return [image for _, image in make(self.family, tasks, batch_size=20)]


def prompts_of(lead: str) -> tuple[list[str], list[str]]:
    """Prompts of places that no photo shows, and the places."""
    return [f"{lead} {words}" for words, _ in SCENES], [place for _, place in SCENES]


def copied(images: Sequence[Image.Image], layouts: Tensor) -> float:
    """Share of pictures that repeat a photo."""
    own = stack([measures.layout(image) for image in images])
    return measures.is_copy(own, layouts).float().mean().item()


def losses(lines: Sequence[Mapping[str, Any]], step: int, each: int) -> dict[str, float]:
    """The mean loss of the steps up to `step` and the last one of the photo that is held out."""
    near = [line for line in lines if step - each < line["step"] <= step]
    held_out = [line["held_out_loss"] for line in near if "held_out_loss" in line]
    return {"loss": mean([line["loss"] for line in near]), "held out": held_out[-1]}


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def places_of(cell: Cell) -> tuple[str, ...]:
    """Those of the photos, in turn; which comes first changes with the seed."""
    turn = cell.seed % len(TAUGHT)
    return (TAUGHT[turn:] + TAUGHT[:turn])[: cell.photos]


def render_photos(folder: Path, cell: Cell, held_out: int = 0) -> list[Image.Image]:
    """The photos that are learnt from, others for every seed, and one more in the folder where
    `data.hold_out 1` finds it."""
    places = places_of(replace(cell, photos=len(TAUGHT)))
    made = world.subject_photos(cell.subject, cell.photos + held_out, places, seed=cell.seed)
    learnt = [image for image, _ in made[: cell.photos]]
    if held_out:
        made.insert(len(made) // 2, made.pop())
    for number, (image, caption) in enumerate(made):
        save_png(image, folder / f"{number}.png")
        write_bytes(folder / f"{number}.txt", f"{caption}\n".encode(), sync=False)
    return learnt


def config_of(
    cell: Cell, photos: Path, steps: int | None, points: int, method: Mapping[str, Any]
) -> Config:
    who = world.CAST[cell.subject]
    given = {
        "subject.token": who.token, "subject.noun": who.class_noun, "data.photos": photos,
        "train.seed": cell.seed, "train.steps": steps, "train.tensorboard": False,
        "score.candidates": points, "train.checkpoint_every": 10_000, **method,
    }  # fmt: skip
    return build(override({}, given), cell.name)


def adapters(run: Run, points: Sequence[int] = POINTS) -> Iterator[tuple[int, int, Path]]:
    """(percent of the steps, the step, the adapter at it)."""
    steps = run.config.train.steps or 1
    found = dict(run.candidates())
    for percent in points:
        step = max(1, round(steps * percent / 100))
        yield percent, step, found[step]


# --- the table ----------------------------------------------------------------------------------


def summary(found: Sequence[Mapping[str, Any]], against: str = PICTURES) -> list[dict[str, Any]]:
    """A row for each method, number of photos and point: means with 95 % intervals over characters
    and seeds, and differences in pairs to the method `against`."""
    by_cell = {(f["method"], f["photos"], f["subject"], f["seed"]): f for f in found}
    rows = []
    for method, photos in dict.fromkeys((f["method"], f["photos"]) for f in found):
        of = [f for f in found if (f["method"], f["photos"]) == (method, photos)]
        pairs = [
            (f, by_cell[against, photos, f["subject"], f["seed"]])
            for f in of if (against, photos, f["subject"], f["seed"]) in by_cell
        ]  # fmt: skip
        for point in of[0]["at"]:
            row: dict[str, Any] = {"method": method, "photos": photos, "at": int(point)}
            row |= {"trainings": len(of), "pairs": len(pairs), "pictures": len(of) * len(SCENES)}
            row["cpu"] = mean([f["cpu"] for f in of])
            for name in (n for n in MEASURES if all(n in f["at"][point] for f in of)):
                row[name] = interval(of, lambda f, n=name, p=point: f["at"][p][n])
                if pairs and method != against:
                    row[f"{name} more"] = interval(
                        pairs, lambda f, n=name, p=point: f[0]["at"][p][n] - f[1]["at"][p][n]
                    )
            rows.append(row)
    return rows


TAKEN = ("both", "kept", "repeat")
WAYS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "the last": lambda at: list(at)[-1],
    "the lowest training loss": lambda at: min(at, key=lambda point: at[point]["loss"]),
    "the lowest loss of the photo held out": lambda at: min(at, key=lambda p: at[p]["held out"]),
    "the best there is": lambda at: max(at, key=lambda point: at[point]["both"]),
}


def picked(found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Which of a training's points each loss would take, and what is true of that one; of those
    that watched a photo that is held out."""
    found = [one for one in found if all("held out" in at for at in one["at"].values())]
    rows = {}
    for way, take in WAYS.items():
        taken = [{**f, "is": f["at"][take(f["at"])], "last": list(f["at"].values())[-1]}
                 for f in found]  # fmt: skip
        points = [take(f["at"]) for f in found]
        rows[way] = {
            "trainings": len(found),
            "takes": {str(point): points.count(str(point)) for point in POINTS},
            **{name: interval(taken, lambda f, n=name: f["is"][n]) for name in TAKEN},
            **{
                f"{name} more": interval(taken, lambda f, n=name: f["is"][n] - f["last"][n])
                for name in TAKEN
            },
        }
    return rows


def interval(found: Sequence[Any], value: Callable[[Any], float]) -> list[float]:
    """[mean, low, high]; characters are drawn, then trainings of each. Of one, [value]."""
    if len(found) == 1:
        return [round(value(found[0]), 4)]
    groups = [(f[0] if isinstance(f, tuple) else f)["subject"] for f in found]
    made = clustered([value(f) for f in found], groups)
    return [round(number, 4) for number in (made.mean, made.low, made.high)]


def read(out: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted((out / "cells").glob("*.json"))]


def add_cells(
    parser: argparse.ArgumentParser, out: Path, subjects: Iterable[str], photos: Iterable[int],
    seeds: Iterable[int],
) -> None:  # fmt: skip
    """The flags that say which cells, and where they lie."""
    parser.add_argument("--out", type=Path, default=out, help="cells and runs")
    parser.add_argument("--truth", type=Path, help="the judge (default: OUT/truth.safetensors)")
    parser.add_argument("--subjects", nargs="+", default=list(subjects))
    parser.add_argument("--photos", nargs="+", type=int, default=list(photos))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(seeds))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add_cells(parser, Path("build/teach"), world.CAST, PHOTOS, TRAINING_SEEDS)
    parser.add_argument(
        "--methods", nargs="+", help=f"default: for one photo all, for more {', '.join(WHOLE)}"
    )
    parser.add_argument(
        "--part", default="1/1", metavar="K/N", help="every N-th cell, from the K-th"
    )
    parser.add_argument(
        "--summary", type=Path, help="write the table of what is there, and no more"
    )
    parser.add_argument("--picked", type=Path, help="with it: what losses would take")
    flags = parser.parse_args()
    if flags.summary:
        found = read(flags.out)
        rows = sorted(summary(found), key=lambda row: (row["photos"], row["method"]))
        keep(flags.summary, rows)
        keep(flags.picked, picked(found))
        print(tables.teaching(rows))
        return
    truth = load_truth(flags.truth or flags.out / "truth.safetensors", world.CAST)
    family = load_base(BaseConfig(), Runtime.from_config(BaseConfig()), tell=SILENT)
    bench = Bench(flags.out, family, truth, Scorer(tell=SILENT))
    part, parts = map(int, flags.part.split("/"))
    of = (flags.subjects, flags.photos, flags.seeds)
    wanted = cells(*of, flags.methods) if flags.methods else whole(*of)
    for cell in wanted[part - 1 :: parts]:
        path = flags.out / "cells" / f"{cell.name}.json"
        if not path.is_file():
            found = bench.measure(cell)
            write_bytes(path, json.dumps(found).encode())
            print(cell.name, f"{found['cpu']:.0f} s", found["at"]["100"], flush=True)


if __name__ == "__main__":
    main()
