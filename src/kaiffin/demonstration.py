"""`kaiffin demo`: from six photos to pictures in new scenes, with the scores that say so.

Everything is made here: the photos are rendered, the base is the miniature, the judge its CLIP.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from kaiffin import config as configs
from kaiffin import picturing, recipes
from kaiffin.config import Config
from kaiffin.errors import ConfigError, RunError
from kaiffin.experiments.report import Row, Score, write_report
from kaiffin.miniature import world
from kaiffin.run import Run
from kaiffin.saying import console
from kaiffin.score.judge import MINIATURE, Scorer
from kaiffin.score.statistics import Interval, bootstrap, paired
from kaiffin.sheets import sheet

TAUGHT = ("meadow", "beach", "kitchen")  # the scenes of the photos
SEEDS = (1, 2)  # pictures per new scene


def run(out: Path, subject: str = "kaiffin", seed: int = 0, steps: int | None = None) -> Run:
    """Teaches the miniature `subject` (kaiffin or plush) and shows it in scenes it never saw.

    Writes photos/, run/, base/ and adapted/ pictures, sheet.png and report.html below `out`.
    """
    if subject not in world.SUBJECTS:
        raise ConfigError(
            f"--subject {subject!r} is unknown.", f"Use {' or '.join(world.SUBJECTS)}."
        )
    if (out / "run" / "config.yaml").is_file():
        raise RunError(f"{out}: holds a demo already.", "Remove it or choose another --out.")
    started = time.time()
    photos = render_photos(out / "photos", subject, seed)
    console.print(
        f"1/4  {len(photos)} photos of {subject} in {', '.join(TAUGHT)}: {out / 'photos'}"
    )
    console.print("2/4  teaching the embedded base")
    trained = recipes.train(demo_config(out / "photos", subject, seed, steps), out / "run")
    console.print("3/4  the base, then the adapted model, in scenes the photos do not show")
    prompts = new_scenes(subject)
    base = make_pictures(MINIATURE, prompts, out / "base")
    adapted = make_pictures(str(trained.path), prompts, out / "adapted")
    console.print("4/4  scoring and writing the report")
    scores = score(subject, prompts, base, adapted)
    rows = [
        Row(prompt, seed, before, after)
        for (prompt, seed), before, after in zip(_pairs(prompts), base, adapted, strict=True)
    ]
    page = before_and_after(rows, subject)
    page.save(out / "sheet.png")
    report = write_report(
        trained, rows, photos, scores, judge="the miniature", path=out / "report.html"
    )
    for line in scores:
        console.print(f"     {line.name}: {line.base} -> {line.adapted} ({line.reference})")
        console.print(f"       gain on the same prompts and seeds: {line.gain}")
    console.print(f"done in {time.time() - started:.0f} s. Look at {out / 'sheet.png'}")
    console.print(f"and open {report}")
    return trained


def render_photos(folder: Path, subject: str, seed: int) -> list[Path]:
    """Six photos with their captions beside them."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for i, (image, caption) in enumerate(world.subject_photos(subject, 6, TAUGHT, seed=seed)):
        path = folder / f"{subject}-{i + 1}.png"
        image.save(path)
        path.with_suffix(".txt").write_text(caption + "\n", encoding="utf-8")
        paths.append(path)
    return paths


def demo_config(photos: Path, subject: str, seed: int, steps: int | None = None) -> Config:
    """What `kaiffin train PHOTOS --subject ... --class ...` would use."""
    who = world.SUBJECTS[subject]
    data = {
        "data.photos": photos,
        "subject.token": who.token,
        "subject.noun": who.class_noun,
        "train.seed": seed,
        "train.steps": steps,
    }
    return configs.build(configs.override({}, data), "demo")


def new_scenes(subject: str) -> list[str]:
    """One prompt for each scene of the world that the photos do not show."""
    lead = world.SUBJECTS[subject].instance_prompt
    return [f"{lead} {words[0]}" for name, words in world.SCENES.items() if name not in TAUGHT]


def make_pictures(source: str, prompts: Sequence[str], folder: Path) -> list[Path]:
    """`len(SEEDS)` pictures per prompt, in order of prompts and seeds."""
    return picturing.generate(
        source, prompts, count=len(SEEDS), seed=SEEDS[0], batch_size=10, out=folder
    )


def score(
    subject: str, prompts: Sequence[str], base: Sequence[Path], adapted: Sequence[Path]
) -> list[Score]:
    """CLIP-T against a plain description, CLIP-I against renders that nobody trained on."""
    judge = Scorer(MINIATURE)
    scenes = [name for name in world.SCENES if name not in TAUGHT]
    who = world.SUBJECTS[subject]
    truth = [world.subject_render(subject, scene, detail=99) for scene in scenes]
    asked = [
        f"a photo of a {who.colour} {who.class_noun} {world.SCENES[scene][0]}"
        for scene in scenes
        for _ in SEEDS
    ]
    before, after = [_opened(p) for p in base], [_opened(p) for p in adapted]
    ceiling = judge.likeness_of_references(truth).mean().item()
    true_text = judge.text_image(truth, asked[:: len(SEEDS)]).mean().item()
    pairs = {
        "looks like the subject (CLIP-I)": (
            judge.image_image(before, truth), judge.image_image(after, truth),
            f"true pictures {ceiling:.3f}",
            "similarity to true pictures of the subject in these scenes, which nobody trained on",
        ),
        "shows what was asked (CLIP-T)": (
            judge.text_image(before, asked), judge.text_image(after, asked),
            f"true pictures {true_text:.3f}",
            "similarity to a plain description of class and scene; it does not know the subject",
        ),
    }  # fmt: skip
    return [
        Score(
            name,
            str(bootstrap(b.tolist())),
            str(bootstrap(a.tolist())),
            reference,
            meaning,
            _gain(paired(b.tolist(), a.tolist())),
        )
        for name, (b, a, reference, meaning) in pairs.items()
    ]


def _gain(difference: Interval) -> str:
    """The paired difference in plain words; "no clear difference" where the interval holds 0."""
    if difference.low <= 0 <= difference.high:
        words = "no clear difference"
    else:
        words = "clearly higher" if difference.mean > 0 else "clearly lower"
    return f"{difference.mean:+.3f} [{difference.low:+.3f}, {difference.high:+.3f}], {words}"


def before_and_after(rows: Sequence[Row], subject: str) -> Image.Image:
    """Base and adapted side by side, two pairs a row."""
    images, labels = [], []
    for row in rows:
        images += [_opened(row.base), _opened(row.adapted)]
        labels += [f"base · seed {row.seed}", row.prompt]
    titles = ("base", f"taught {subject}") * 2
    return sheet(images, labels, columns=4, column_titles=titles, title="Before and after")


def _pairs(prompts: Sequence[str]) -> list[tuple[str, int]]:
    return [(prompt, seed) for prompt in prompts for seed in SEEDS]


def _opened(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return image.convert("RGB")
