"""`kaiffin demo`: from six photos to pictures in new scenes, with the scores that say so.

Everything is made here: the photos are rendered, the base is the miniature, the judge its CLIP.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image

from kaiffin.experiments.report import evidence
from kaiffin.experiments.report.page import write as write_report
from kaiffin.experiments.report.wording import MEASURES, reading, signed
from kaiffin.foundation.config import Config
from kaiffin.foundation.errors import ConfigError, RunError
from kaiffin.foundation.run import Run
from kaiffin.foundation.settings import build, override
from kaiffin.foundation.sheets import sheet
from kaiffin.foundation.tell import console
from kaiffin.miniature.world import world
from kaiffin.miniature.world.vocabulary import SCENES
from kaiffin.score import choice
from kaiffin.score.choice import Choice
from kaiffin.score.judge import MINIATURE, Scorer
from kaiffin.stories import generate, train

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
    trained = train.train(demo_config(out / "photos", subject, seed, steps), out / "run").run
    console.print("3/4  the base, then the adapted model, in scenes the photos do not show")
    prompts = new_scenes(subject)
    base = make_pictures(MINIATURE, prompts, out / "base")
    adapted = make_pictures(str(trained.path), prompts, out / "adapted")
    console.print("4/4  scoring and writing the report")
    found = evidence.read(trained)
    scored = choice.read(score(subject, prompts, base, adapted, found.step), out)
    before_and_after(prompts, base, adapted, subject).save(out / "sheet.png")
    written = write_report([replace(found, choice=scored)], out / "report.html")
    say(scored)
    console.print(f"done in {time.time() - started:.0f} s. Look at {out / 'sheet.png'}")
    console.print(f"and open {written}")
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
    return build(override({}, data), "demo")


def new_scenes(subject: str) -> list[str]:
    """One prompt for each scene of the world that the photos do not show."""
    lead = world.SUBJECTS[subject].instance_prompt
    return [f"{lead} {words[0]}" for name, words in SCENES.items() if name not in TAUGHT]


def make_pictures(source: str, prompts: Sequence[str], folder: Path) -> list[Path]:
    """`len(SEEDS)` pictures per prompt, in order of prompts and seeds."""
    return generate.generate(
        source, prompts, count=len(SEEDS), seed=SEEDS[0], batch_size=10, out=folder
    )


def score(
    subject: str, prompts: Sequence[str], base: Sequence[Path], adapted: Sequence[Path], step: int
) -> dict[str, Any]:
    """The pictures judged, in the shape of choice.json: the training's end is the only candidate.

    CLIP-T against a plain description, CLIP-I against renders that nobody trained on.
    """
    judge = Scorer(MINIATURE)
    scenes = [name for name in SCENES if name not in TAUGHT]
    who = world.SUBJECTS[subject]
    truth = [world.subject_render(subject, scene, detail=99) for scene in scenes]
    plain = [f"a photo of a {who.colour} {who.class_noun} {SCENES[name][0]}" for name in scenes]

    ceiling = judge.likeness_of_references(truth).mean().item()
    told_truly = judge.text_image(truth, plain).mean().item()

    def judged(paths: Sequence[Path]) -> dict[str, Any]:
        images = [_opened(path) for path in paths]
        shown = judge.text_image(images, [text for text in plain for _ in SEEDS]).tolist()
        like = judge.image_image(images, truth).tolist()
        rows = [
            {"prompt": i // len(SEEDS), "seed": SEEDS[i % len(SEEDS)], "section": "scenes",
             "clip_t": shown[i], "identity": like[i]}
            for i in range(len(images))
        ]  # fmt: skip
        places = [f"{path.parent.name}/{path.name}" for path in paths]
        return {"pictures": places, "rows": rows}

    return {
        "version": choice.VERSION,
        "judge": MINIATURE,
        "identity_judge": MINIATURE,
        "references": {
            "kind": "held-out", "photos": [], "ceiling": ceiling, "clip_t": told_truly,
            "words": "compared with true pictures of the subject in these scenes, which nobody"
                     " trained on",
        },
        "set": {
            "prompts": [
                {"text": text, "plain": told, "section": "scenes"}
                for text, told in zip(prompts, plain, strict=True)
            ],
            "seeds": list(SEEDS),
        },
        "base": judged(base),
        "candidates": [{"step": step, **judged(adapted)}],
        "chosen": step,
        "verdict": "it is the last one; `kaiffin choose` looks at the earlier ones too",
    }  # fmt: skip


def say(scored: Choice) -> None:
    """The scores before and after, and the gain in pairs."""
    true = scored.references
    shown = (("identity", "CLIP-I", true["ceiling"]), ("clip_t", "CLIP-T", true["clip_t"]))
    for name, short, reached in shown:
        before, after = scored.base.means[name], scored.best.means[name]
        console.print(
            f"     {MEASURES[name].title} ({short}): {reading(before)} -> {reading(after)}"
            f" (true pictures {reached:.3f})"
        )
        gain = choice.difference(scored.base, scored.best, name)
        if gain:
            verdict = MEASURES[name].verdict(gain)
            console.print(f"       gain on the same prompts and seeds: {signed(gain)}, {verdict}")


def before_and_after(
    prompts: Sequence[str], base: Sequence[Path], adapted: Sequence[Path], subject: str
) -> Image.Image:
    """Base and adapted side by side, two pairs a row."""
    images, labels = [], []
    asked = [(prompt, seed) for prompt in prompts for seed in SEEDS]
    for (prompt, seed), before, after in zip(asked, base, adapted, strict=True):
        images += [_opened(before), _opened(after)]
        labels += [f"base · seed {seed}", prompt]
    titles = ("base", f"taught {subject}") * 2
    return sheet(images, labels, columns=4, column_titles=titles, title="Before and after")


def _opened(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return image.convert("RGB")
