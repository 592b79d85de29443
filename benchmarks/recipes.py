"""The recipes of examples/ on the miniature, from photos to judged pictures: the guides' numbers.

    python benchmarks/recipes.py

Each recipe is read as it is shipped; what is changed for a base of 128 pixels stands in `RECIPES`,
and is written beside the numbers. Photos are renders of the two characters that the base never saw.
Then 40 pictures in ten places that the photos do not show are named by a network trained on renders
alone. One training each: the intervals speak of pictures, not of other trainings. Writes
docs/measured/recipes/*.json and docs/images/guides/*.webp; `make docs` puts them into the pages.
About twenty minutes on one core; a recipe that is there already is not run again.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import kept
from personalise import SCENES
from PIL import Image

from kaiffin.foundation.config import BaseConfig
from kaiffin.foundation.phases import expand
from kaiffin.foundation.run import Run
from kaiffin.foundation.runtime import Runtime
from kaiffin.foundation.settings import build, override, read_yaml
from kaiffin.foundation.sheets import sheet
from kaiffin.foundation.tell import SILENT
from kaiffin.miniature.judges.truth import Truth, likeliest, load_truth
from kaiffin.miniature.world import world
from kaiffin.miniature.world.vocabulary import SIDE
from kaiffin.models.files.load import load_base
from kaiffin.pictures.make import Task, WeightedAdapter, make
from kaiffin.pictures.request import request, with_size
from kaiffin.stories import train

REPO = Path(__file__).parents[1]
MEASURED = kept.MEASURED / "recipes"
PICTURES = REPO / "docs" / "images" / "guides"
SEEDS = (101, 102, 103, 104)
SHOWN = 5  # places in a guide's picture, each with its first seed
# What follows from a base of 128 pixels, in every recipe: rates and layers are the preset's there.
SMALL = {
    "base.name": "miniature", "base.vae": None, "base.dtype": "auto", "data.resolution": SIDE,
    "data.upscale": False, "adapter.targets": None, "train.lr": None, "train.text_lr": None,
    "train.batch_size": 4, "train.gradient_checkpointing": False, "train.tensorboard": False,
    "sample.preview_every": None, "sample.size": None,
}  # fmt: skip


@dataclass(frozen=True)
class Recipe:
    """photos: draws them into a folder; changes: beside SMALL; prompts: (lead, subject) pairs of
    which each place's prompt begins."""

    photos: Callable[[Path], None]
    changes: dict[str, Any]
    leads: tuple[tuple[str, str], ...]
    base: str = "miniature"
    of: str = field(default="", compare=False)


def renders(subject: str, count: int, caption: str = "", seed: int = 0) -> Callable[[Path], None]:
    """Photos in a meadow, on a beach, in a kitchen; caption: {place} is set, "" for none."""

    def write(folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for i, (image, text) in enumerate(world.subject_photos(subject, count, seed=seed), 1):
            image.save(folder / f"{i}.png")
            if caption:
                place = text.removeprefix(world.SUBJECTS[subject].instance_prompt + " ")
                (folder / f"{i}.txt").write_text(caption.format(place=place) + "\n")

    return write


def captioned_set(folder: Path) -> None:
    """Both characters in one table of captions, five for each photo, as Flickr30k has them."""
    images = folder / "flickr30k_images"
    images.mkdir(parents=True, exist_ok=True)
    lines = ["image_name| comment_number| comment"]
    for subject in world.SUBJECTS:
        for i, (image, text) in enumerate(world.subject_photos(subject, 12, seed=3), 1):
            image.save(images / f"{subject}-{i}.png")
            words = text.removeprefix("a photo of ")
            ways = (f"a photo of {words}", f"a picture of {words}", words, f"{words} .", text)
            lines += [f"{subject}-{i}.png| {n}| {way}" for n, way in enumerate(ways)]
    (folder / "results.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def face_and_body(folder: Path) -> None:
    """Close-ups cut out of large renders, and whole figures."""
    renders("kaiffin", 6, "a photo of kaiffin penguin {place}", seed=5)(folder / "body")
    (folder / "face").mkdir(parents=True, exist_ok=True)
    for i, (image, _) in enumerate(world.subject_photos("kaiffin", 6, size=128, seed=4), 1):
        image.crop((24, 10, 104, 90)).save(folder / "face" / f"{i}.png")


KAIFFIN, PLUSH = (("a photo of kaiffin penguin", "kaiffin"), ("a photo of tobbul bear", "plush"))
RECIPES = {
    "kaiffin": Recipe(
        renders("kaiffin", 6, "a photo of kaiffin penguin {place}"),
        {"subject.noun": "penguin", "train.batch_size": None},
        (KAIFFIN,),
    ),
    "intro-sd15": Recipe(
        renders("kaiffin", 10), {"subject.noun": "penguin", "sample.guidance": 5.0}, (KAIFFIN,)
    ),
    "cheburashka-sd15": Recipe(
        renders("plush", 3, "a photo of <cheburashka> {place}"),
        {
            "subject.noun": "bear", "embedding.init": "bear", "adapter.rank": 16,
            "train.steps": 1000, "train.batch_size": 1, "train.lr": 1e-3,
        },
        (("a photo of <cheburashka>", "plush"),),
    ),
    "flickr30k-sd14": Recipe(
        captioned_set, {"train.steps": 600, "adapter.rank": 8, "adapter.alpha": 8},
        (KAIFFIN, PLUSH),
    ),
    "realistic-vision-two-phase": Recipe(
        face_and_body,
        {
            "subject.token": "kaiffin", "subject.noun": "penguin", "train.steps": 200,
            "data.prior.num_images": 24, "data.prior.prompt": "a photo of a penguin",
        },
        (KAIFFIN,),
    ),
    "viking-puffin-sdxl": Recipe(
        renders("kaiffin", 20), {"subject.noun": "penguin", "train.steps": 400},
        (KAIFFIN,), base="miniature-xl",
    ),
}  # fmt: skip


def trained(name: str, recipe: Recipe, out: Path) -> tuple[Run, dict[str, Any], float]:
    """The run, what was changed of the recipe as it is shipped, and the seconds it took."""
    photos = out / "photos" / name
    recipe.photos(photos)
    changes = SMALL | {"base.name": recipe.base} | recipe.changes
    data = read_yaml(REPO / "examples" / f"{name}.yaml")
    if "phases" in data:
        data["phases"][1] |= {"photos": str(photos / "body"), "steps": 200, "lr": 7.5e-4}
        photos = photos / "face"
    shipped = {key: value for key, value in changes.items() if value != _get(data, key)}
    started = time.time()
    config = build(override(data, changes | {"data.photos": photos}), name)
    run = train.train(config, out / "runs" / name, tell=SILENT).run
    return run, shipped, time.time() - started


def _get(data: dict[str, Any], key: str) -> Any:
    for part in key.split("."):
        data = (data or {}).get(part)
    return data


def measured(name: str, recipe: Recipe, out: Path, truth: Truth) -> dict[str, Any]:
    """Trains, makes the pictures, judges them, writes the guide's picture."""
    run, changes, seconds = trained(name, recipe, out)
    base = BaseConfig(name=recipe.base)
    family = load_base(base, Runtime.from_config(base), SILENT)
    sample = with_size(run.config.sample, family)
    each = SEEDS[: len(SEEDS) // len(recipe.leads)]
    wanted = [
        (f"{lead} {words}", subject, place, seed)
        for lead, subject in recipe.leads for words, place in SCENES for seed in each
    ]  # fmt: skip
    worn = (WeightedAdapter(run.adapter_path),)
    made = [
        [picture for _, picture in make(family, tasks, batch_size=16)]
        for adapters in ((), worn)
        if (tasks := [Task(request(text, seed, sample), adapters) for text, _, _, seed in wanted])
    ]
    rows = [{q: likeliest(a) for q, a in row.items()} for row in truth.judge(made[1])]
    subject = sum(row["species"] == who for row, (_, who, _, _) in zip(rows, wanted, strict=True))
    place = sum(row["scene"] == where for row, (_, _, where, _) in zip(rows, wanted, strict=True))
    both = sum(
        row["species"] == who and row["scene"] == where
        for row, (_, who, where, _) in zip(rows, wanted, strict=True)
    )
    seen = list(range(0, len(wanted), 2 * len(each)))[:SHOWN]
    if len(recipe.leads) > 1:
        seen += [i + len(wanted) // 2 for i in seen[:SHOWN]]
    write_picture(name, run, made, [wanted[i][0] for i in seen], seen)
    return {
        "pictures": len(wanted), "subject": subject, "place": place, "both": both,
        "photos": len(list((out / "photos" / name).rglob("*.png"))), "seconds": round(seconds),
        "steps": expand(run.config)[-1].last,
        "bytes": run.adapter_path.stat().st_size, "base": recipe.base, "changes": changes,
        "prompts": [wanted[i][0] for i in seen],
        "sampled": f"{sample.sampler}, {sample.steps} steps, guidance {sample.guidance:g}",
    }  # fmt: skip


def write_picture(
    name: str, run: Run, made: list[list[Image.Image]], labels: list[str], seen: list[int]
) -> None:
    """Photos, then what the base makes of the prompts, then what was taught, on the same seeds."""
    photos = sorted(run.config.data.photos.rglob("*.png"), key=lambda p: (len(p.name), p.name))
    some = [Image.open(p) for p in photos[:: max(1, len(photos) // len(seen))]][: len(seen)]
    images = some + [blank(some[0])] * (len(seen) - len(some))
    images += [made[0][i] for i in seen] + [made[1][i] for i in seen]
    told = ["photo"] * len(some) + [""] * (len(seen) - len(some))
    page = sheet(
        images,
        told + ["base"] * len(seen) + [text.removeprefix("a photo of ") for text in labels],
        columns=len(seen),
    )
    PICTURES.mkdir(parents=True, exist_ok=True)
    page.save(PICTURES / f"{name}.webp", quality=88, method=6)


def blank(like: Image.Image) -> Image.Image:
    return Image.new("RGB", like.size, "white")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("build/recipes"), help="photos and runs")
    parser.add_argument("--truth", type=Path, help="the judge (default: OUT/truth.safetensors)")
    parser.add_argument("--only", nargs="+", default=list(RECIPES), help="these recipes")
    arguments = parser.parse_args()
    truth = load_truth(arguments.truth or arguments.out / "truth.safetensors")
    for name in arguments.only:
        if not (path := MEASURED / f"{name}.json").is_file():
            found = measured(name, RECIPES[name], arguments.out, truth)
            kept.keep(path, found)
            print(name, found, flush=True)


if __name__ == "__main__":
    main()
