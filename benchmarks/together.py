"""Two subjects in one picture: adapters in regions of their own against both everywhere.

    python benchmarks/together.py

Teaches both held-out characters with the preset, then makes pictures of the two beside each other
in ten places that no photo shows, on four seeds, twice as wide as high. The network that knows the
truth was trained on one character at a time: it judges each half by itself. A picture is right
where one half is the one and the other half the other, in whichever order; the place, where both
halves are there. Writes docs/measured/together.json and docs/images/guides/together.webp; `make
docs` puts the table into the page. About six minutes on one core, judge and trainings apart.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import kept
from personalise import SCENES, taught
from PIL import Image

from kaiffin.foundation.config import BaseConfig, SampleConfig
from kaiffin.foundation.run import Run
from kaiffin.foundation.runtime import Runtime
from kaiffin.foundation.sheets import sheet
from kaiffin.foundation.tell import SILENT
from kaiffin.miniature.judges.truth import Truth, likeliest, load_truth
from kaiffin.miniature.world import world
from kaiffin.miniature.world.vocabulary import SIDE
from kaiffin.models.base import ModelFamily
from kaiffin.models.files.load import load_base
from kaiffin.pictures.make import Task, WeightedAdapter, make
from kaiffin.pictures.regions import regions_of, subjects_of
from kaiffin.pictures.request import request

REPO = Path(__file__).parents[1]
MEASURED = kept.MEASURED / "together.json"
PICTURE = REPO / "docs" / "images" / "guides" / "together.webp"
SEEDS = (101, 102, 103, 104)
# How strong both are, and their regions.
WAYS: dict[str, tuple[float, tuple[str, ...]]] = {
    "both everywhere": (1.0, ()), "both everywhere, at 0.5": (0.5, ()),
    "`--region columns`": (1.0, ("columns",)),
}  # fmt: skip
SHOWN = 5  # places in the page's picture


def pictures(
    family: ModelFamily, worn: Sequence[WeightedAdapter], regions: Sequence[str],
    sample: SampleConfig, seeds: Sequence[int],
) -> list[Image.Image]:  # fmt: skip
    """Places outside, seeds inside."""
    subjects = subjects_of([one.path for one in worn], regions)
    names = " and ".join(f"{who.token} {who.class_noun}" for who in world.SUBJECTS.values())
    tasks = []
    for words, _ in SCENES:
        text = f"a photo of {names} {words}"
        where = tuple(regions_of(regions, text, subjects)) if regions else ()
        tasks += [Task(request(text, seed, sample), tuple(worn), (), where) for seed in seeds]
    return [image for _, image in sorted(make(family, tasks, batch_size=8))]


def judged(images: Sequence[Image.Image], truth: Truth) -> dict[str, int]:
    """How many show the two subjects, the place in both halves, and all of it."""
    each = len(images) // len(SCENES)
    right = {"pictures": len(images), "subjects": 0, "place": 0, "both": 0}
    for number, image in enumerate(images):
        middle, height = image.width // 2, image.height
        halves = [image.crop((x, 0, x + middle, height)) for x in (0, middle)]
        rows = [{q: likeliest(a) for q, a in row.items()} for row in truth.judge(halves)]
        subjects = sorted(row["species"] for row in rows) == sorted(world.SUBJECTS)
        place = all(row["scene"] == SCENES[number // each][1] for row in rows)
        right["subjects"] += subjects
        right["place"] += place
        right["both"] += subjects and place
    return right


def measured(
    runs: Sequence[Run], truth: Truth, sample: SampleConfig, seeds: Sequence[int]
) -> tuple[dict[str, Any], Image.Image]:
    """Each way's counts, and pictures of some places: a row for each way."""
    base = runs[0].config.base
    family = load_base(base, Runtime.from_config(base), tell=SILENT)
    worn = [WeightedAdapter(run.adapter_path) for run in runs]
    found, images, labels = {}, [], []
    for way, (strong, regions) in WAYS.items():
        so = [replace(one, weights=one.weights.times(strong)) for one in worn]
        made = pictures(family, so, regions, sample, seeds)
        found[way] = judged(made, truth)
        some = range(0, len(made), 2 * len(seeds))
        images += [made[i] for i in some][:SHOWN]
        labels += [f"{SCENES[i // len(seeds)][0]}, {way.strip('`')}" for i in some][:SHOWN]
        print(way, found[way], flush=True)
    return found, sheet(images, labels, columns=SHOWN)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("build/together"), help="photos and runs")
    parser.add_argument("--truth", type=Path, help="the judge (default: OUT/truth.safetensors)")
    arguments = parser.parse_args()
    truth = load_truth(arguments.truth or arguments.out / "truth.safetensors")
    runs = []
    for subject in world.SUBJECTS:
        folder = arguments.out / "runs" / subject
        there = Run.is_at(folder) and Run.open(folder).finished
        runs.append(
            Run.open(folder) if there else taught(subject, arguments.out, BaseConfig().name, {})
        )
    sample = runs[0].config.sample.model_copy(update={"size": (2 * SIDE, SIDE)})
    found, page = measured(runs, truth, sample, SEEDS)
    kept.keep(MEASURED, found)
    page.save(PICTURE, quality=88, method=6)


if __name__ == "__main__":
    main()
