"""The measuring of the Cheburashka study on the miniature; README.md has the story and the results.

    python examples/cheburashka-study/study.py photos     # 3 captioned renders of the plush
    kaiffin sweep examples/cheburashka-study/study.yaml --out cheburashka-study/sweep
    python examples/cheburashka-study/study.py measure    # measures.json, table.md, sheet.png

`--keep docs/measured/cheburashka.json` keeps the figures that README.md is made of (`make docs`).

All trials have the same training seeds, prompts and picture seeds, so each picture is compared with
the baseline's picture of the same three. What is resampled for an interval is the trainings first.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from kaiffin.experiments.sweep.trials import Trial, read
from kaiffin.foundation.config import BaseConfig
from kaiffin.foundation.run import Run
from kaiffin.foundation.runtime import Runtime
from kaiffin.foundation.sheets import sheet
from kaiffin.foundation.subject import fill, plain_prompt
from kaiffin.foundation.tell import SILENT
from kaiffin.miniature.build import nets
from kaiffin.miniature.judges import truth
from kaiffin.miniature.world import vocabulary, world
from kaiffin.models.base import ModelFamily
from kaiffin.models.files.load import load_base
from kaiffin.pictures.recipe import save_png
from kaiffin.score import measures
from kaiffin.score.judge import Scorer
from kaiffin.score.statistics import Interval, clustered, student
from kaiffin.stories.trial import pictures_of as made_pictures

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
import kept
import losses

SUBJECT = "plush"
SCENES = ("snow", "forest", "city", "desert", "space")  # of the prompts in study.yaml, in order
TRUE = 4  # true renders of each scene
BASELINE = "baseline"
COLUMNS = {
    "subject": "plush named", "scene": "place named", "both": "both named",
    "sure": "P(plush)", "clip_t": "CLIP-T", "clip_i": "CLIP-I", "detail": "fine detail",
    "clipped": "clipped", "saturated": "saturated", "contrast": "contrast",
    "loss_photos": "plain loss, photos", "loss_new": "plain loss, new renders",
    "logged": "logged loss",
}  # fmt: skip

Rows = dict[str, list[float]]  # measure -> a value for each picture, or one for the training


def write_photos(folder: Path) -> None:
    """Three renders, each with a caption that names the place."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, (image, caption) in enumerate(world.subject_photos(SUBJECT, 3), 1):
        image.save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(caption + "\n", encoding="utf-8")


# --- pictures -----------------------------------------------------------------------------------


def true_renders(family: ModelFamily) -> dict[str, list[Image.Image]]:
    """By scene. Through the base's autoencoder, as every sample has been, so that its blur is not
    held against the adapters."""
    found = {}
    for scene in SCENES:
        drawn = [world.subject_render(SUBJECT, scene, detail=d) for d in range(TRUE)]
        pixels = nets.to_pixels(torch.from_numpy(np.stack([np.asarray(one) for one in drawn])))
        back = ((family.decode(family.encode_images(pixels)[0]) + 1) * 127.5).round()
        coded = back.clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()
        found[scene] = [Image.fromarray(one) for one in coded]
    return found


def fine_detail(image: Image.Image) -> float:
    """Variance of the Laplacian of the luminance: the energy of edges and texture, or of noise."""
    grey = np.asarray(image.convert("L"), dtype=np.float64) / 255
    near = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]
    return float((near - 4 * grey[1:-1, 1:-1]).var())


def picture_rows(
    images: Sequence[Image.Image], scenes: Sequence[str], texts: Sequence[str],
    true: dict[str, list[Image.Image]], judge: truth.Truth, scorer: Scorer,
) -> Rows:  # fmt: skip
    """What is measured of each picture. Detail and contrast are shares of the true renders' mean of
    the same scene; clipped and saturated, shares of pixels less theirs."""
    named = judge.judge(images)
    is_it = [float(truth.likeliest(one["species"]) == SUBJECT) for one in named]
    is_there = [
        float(truth.likeliest(one["scene"]) == s) for one, s in zip(named, scenes, strict=True)
    ]
    rows: Rows = {
        "subject": is_it,
        "scene": is_there,
        "both": [a * b for a, b in zip(is_it, is_there, strict=True)],
        "sure": [one["species"][SUBJECT] for one in named],
        "clip_t": scorer.text_image(images, texts).tolist(),
        "clip_i": [
            scorer.image_image([image], true[scene]).item()
            for image, scene in zip(images, scenes, strict=True)
        ],
    }
    looks = {scene: np.mean([looks_of(image) for image in true[scene]], 0) for scene in SCENES}
    own = [(looks_of(image), looks[s]) for image, s in zip(images, scenes, strict=True)]
    rows["detail"] = [mine[0] / real[0] for mine, real in own]
    rows["contrast"] = [mine[1] / real[1] for mine, real in own]
    rows["clipped"] = [mine[2] - real[2] for mine, real in own]
    rows["saturated"] = [mine[3] - real[3] for mine, real in own]
    return rows


def looks_of(image: Image.Image) -> tuple[float, float, float, float]:
    """(fine detail, contrast, clipped, saturated)."""
    return fine_detail(image), measures.contrast(image), *measures.burn(image)


def loss_rows(family: ModelFamily, adapter: Path) -> Rows:
    """The plain loss on the photos, and on renders in the places that they do not show."""
    lead = world.SUBJECTS[SUBJECT].instance_prompt
    new = [
        (world.subject_render(SUBJECT, scene, detail=99), f"{lead} {vocabulary.SCENES[scene][0]}")
        for scene in SCENES
    ]
    return {
        "loss_photos": [losses.of_adapter(family, adapter, world.subject_photos(SUBJECT, 3))],
        "loss_new": [losses.of_adapter(family, adapter, new)],
    }


# --- all of it ----------------------------------------------------------------------------------


def measure(out: Path, study: Path) -> dict[str, Any]:
    """Writes measures.json, table.md and sheet.png into `out`; answers with what is kept."""
    file, trials = read(study)
    family = load_base(BaseConfig(), Runtime.from_config(BaseConfig()), tell=SILENT)
    judge, scorer = truth.load_truth(out / "truth.safetensors"), Scorer(tell=SILENT)
    true = true_renders(family)
    scenes = [scene for scene in SCENES for _ in range(file.count)]
    found: dict[str, dict[int, Rows]] = {}
    pages: dict[str, list[Image.Image]] = {}
    for trial in trials:
        images = pictures_of(trial, out / "sweep")
        subject = trial.config.subject
        texts = [plain_prompt(fill(p, subject), subject) for p in file.prompts]
        asked = [text for text in texts for _ in range(file.count)]
        rows = picture_rows(images, scenes, asked, true, judge, scorer)
        run = Run.open(out / "sweep" / "runs" / trial.run)
        rows |= loss_rows(family, run.adapter_path)
        rows["logged"] = [logged_loss(run)]
        found.setdefault(trial.name, {})[trial.seed] = rows
        pages.setdefault(trial.name, images if trial.seed == trials[0].seed else [])
    flat = [image for scene in SCENES for image in true[scene]]
    places = [scene for scene in SCENES for _ in range(TRUE)]
    plain = [plain_prompt(fill(p, trials[0].config.subject), trials[0].config.subject)
             for p in file.prompts for _ in range(TRUE)]  # fmt: skip
    ceiling = picture_rows(flat, places, plain, true, judge, scorer)
    facts = {"trials": found, "true": ceiling}
    (out / "measures.json").write_text(json.dumps(facts, indent=1), encoding="utf-8")
    text = table(found, ceiling)
    (out / "table.md").write_text(text, encoding="utf-8")
    save_png(page(pages, true, file.count), out / "sheet.png")
    print(text)
    return figures(found, ceiling)


def figures(found: dict[str, dict[int, Rows]], ceiling: Rows) -> dict[str, Any]:
    """Means of each trial, and Student's intervals of its differences to the baseline."""
    means = {
        trial: {what: mean([v for rows in own.values() for v in rows[what]]) for what in COLUMNS}
        for trial, own in found.items()
    }
    more = {
        trial: {what: ends(student(*differences(found, trial, what))) for what in COLUMNS}
        for trial in list(found)[1:]
    }
    true = {what: mean(ceiling[what]) for what in COLUMNS if what in ceiling}
    own = {"trainings": len(found[BASELINE]), "titles": COLUMNS}
    return {**own, "true": true, "means": means, "more": more}


def mean(values: Sequence[float]) -> float:
    return round(float(np.mean(values)), 5)


def ends(interval: Interval) -> list[float]:
    return [round(value, 5) for value in (interval.mean, interval.low, interval.high)]


def pictures_of(trial: Trial, sweep: Path) -> list[Image.Image]:
    """In order of prompts and seeds."""
    paths = made_pictures(sweep, trial.label)
    if paths is None:
        raise SystemExit(f"{sweep}: {trial.label} has no pictures yet: run kaiffin sweep first")
    return [Image.open(path).convert("RGB") for path in paths]


def logged_loss(run: Run) -> float:
    """What the training itself said at its end: the mean over the last tenth of its steps."""
    lines = run.metrics_path.read_text(encoding="utf-8").splitlines()
    return float(np.mean([json.loads(line)["loss"] for line in lines[-len(lines) // 10 :]]))


def differences(
    found: dict[str, dict[int, Rows]], trial: str, what: str
) -> tuple[list[float], list[int]]:
    """Trial less baseline, picture by picture (or training by training), and whose seed it was."""
    values, groups = [], []
    for seed, rows in found[trial].items():
        before = found[BASELINE][seed][what]
        values += [b - a for a, b in zip(before, rows[what], strict=True)]
        groups += [seed] * len(before)
    return values, groups


def table(found: dict[str, dict[int, Rows]], ceiling: Rows) -> str:
    """Markdown: what each trial reaches, then each against the baseline."""
    lines = [
        "| measure | true renders | " + " | ".join(found) + " |",
        "|---" * (len(found) + 2) + "|",
    ]
    for what, title in COLUMNS.items():
        cells = [f"{np.mean([v for rows in found[t].values() for v in rows[what]]):.4f}"
                 for t in found]  # fmt: skip
        real = f"{np.mean(ceiling[what]):.4f}" if what in ceiling else ""
        lines.append(f"| {title} | {real} | {' | '.join(cells)} |")
    for trial in list(found)[1:]:
        lines += ["", f"{trial} against {BASELINE}", "",
                  "| measure | bootstrap over trainings | Student, three trainings | by training |",
                  "|---|---|---|---|"]  # fmt: skip
        for what, title in COLUMNS.items():
            values, groups = differences(found, trial, what)
            own = [np.mean([v for v, g in zip(values, groups, strict=True) if g == n])
                   for n in sorted(set(groups))]  # fmt: skip
            cells = [_said(clustered(values, groups)), _said(student(values, groups)),
                     ", ".join(f"{mean:+.4f}" for mean in own)]  # fmt: skip
            lines.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _said(interval: Interval) -> str:
    return f"{interval.mean:+.4f} [{interval.low:+.4f}, {interval.high:+.4f}]"


def page(
    pages: dict[str, list[Image.Image]], true: dict[str, list[Image.Image]], count: int
) -> Image.Image:
    """A row a place, a column a trial, all on training seed 0 and the first picture seed."""
    images, labels = [], []
    for row, scene in enumerate(SCENES):
        images += [true[scene][0], *(made[row * count] for made in pages.values())]
        labels += [vocabulary.SCENES[scene][0]] * (len(pages) + 1)
    return sheet(images, labels, columns=len(pages) + 1, column_titles=["true render", *pages])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("photos", "measure"))
    parser.add_argument("--out", type=Path, default=Path("cheburashka-study"))
    kept.add_to(parser)
    given = parser.parse_args()
    if given.what == "photos":
        write_photos(given.out / "photos")
    else:
        kept.keep(given.keep, measure(given.out, Path(__file__).with_name("study.yaml")))


if __name__ == "__main__":
    main()
