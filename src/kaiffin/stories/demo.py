"""`kaiffin demo`: from six photos to pictures in new scenes, with the scores that say so.

Everything is made here: the photos are rendered, the base is the miniature, the judge its CLIP.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from kaiffin.data.images import open_photo
from kaiffin.experiments.report import evidence
from kaiffin.experiments.report.page import write as write_report
from kaiffin.foundation.config import Config
from kaiffin.foundation.errors import ConfigError, RunError
from kaiffin.foundation.folder import write_bytes
from kaiffin.foundation.notebook import Shown
from kaiffin.foundation.run import Run
from kaiffin.foundation.runtime import contained
from kaiffin.foundation.settings import build, override
from kaiffin.foundation.sheets import sheet
from kaiffin.foundation.tell import SILENT, Tell
from kaiffin.foundation.text import counted
from kaiffin.miniature.world import world
from kaiffin.miniature.world.vocabulary import SCENES
from kaiffin.pictures.recipe import save_png
from kaiffin.score.choice import Choice, Prompt, Stop, difference, means_of
from kaiffin.score.judge import MINIATURE
from kaiffin.score.panel import open_panel
from kaiffin.score.statistics import Interval
from kaiffin.stories import train
from kaiffin.stories.generate import Order, Pictures, generate

TAUGHT = ("meadow", "beach", "kitchen")  # the scenes of the photos
SEEDS = (1, 2)  # pictures per new scene
MEASURED = ("identity", "clip_t")


@dataclass(frozen=True)
class Demo(Shown):
    """A subject taught, and the base and the adapted model in scenes that its photos do not show.

    choice: the scores of both, with intervals; gains: by measure, what the training brought on the
    same prompts and seeds; sheet: before and after (PNG); report: the page (HTML).
    """

    run: Run
    photos: tuple[Path, ...]
    base: Pictures
    adapted: Pictures
    choice: Choice
    gains: Mapping[str, Interval]
    sheet: Path
    report: Path
    seconds: float


@contained()
def demo(
    out: Path, subject: str = "kaiffin", seed: int = 0, steps: int | None = None,
    *, tell: Tell = SILENT,
) -> Demo:  # fmt: skip
    """Teaches the miniature `subject` (kaiffin or plush) and shows it in scenes it never saw.

    Writes photos/, run/, base/ and adapted/ pictures, sheet.png and report.html below `out`.
    """
    if subject not in world.SUBJECTS:
        raise ConfigError(
            f"--subject {subject!r} is unknown.", f"Use {' or '.join(world.SUBJECTS)}."
        )
    if Run.is_at(out / "run"):
        raise RunError(f"{out}: holds a demo already.", "Remove it or choose another --out.")
    config = demo_config(out / "photos", subject, seed, steps)
    started = time.time()
    photos = render_photos(out / "photos", subject, seed)
    many = counted(len(photos), "photo")
    tell.note(f"1/4  {many} of {subject} in {', '.join(TAUGHT)}: {out / 'photos'}")
    tell.note("2/4  teaching the embedded base")
    trained = train.train(config, out / "run", tell=tell).run
    tell.note("3/4  the base, then the adapted model, in scenes the photos do not show")
    prompts = new_scenes(subject)
    base = make_pictures(MINIATURE, prompts, out / "base", tell=tell)
    adapted = make_pictures(str(trained.path), prompts, out / "adapted", tell=tell)
    tell.note("4/4  scoring and writing the report")
    found = evidence.read(trained)
    scored = score(subject, prompts, base.paths, adapted.paths, found.step, tell=tell)
    save_png(before_and_after(prompts, base.paths, adapted.paths, subject), out / "sheet.png")
    report = write_report([replace(found, choice=scored)], out / "report.html")
    return Demo(
        trained, tuple(photos), base, adapted, scored, _gains(scored), out / "sheet.png", report,
        time.time() - started,
    )  # fmt: skip


def _gains(scored: Choice) -> dict[str, Interval]:
    """What each measure rose by from the base to the adapted model, in pairs."""
    pairs = {name: difference(scored.base, scored.best, name) for name in MEASURED}
    return {name: gain for name, gain in pairs.items() if gain}


def render_photos(folder: Path, subject: str, seed: int) -> list[Path]:
    """Six photos with their captions beside them."""
    paths = []
    for i, (image, caption) in enumerate(world.subject_photos(subject, 6, TAUGHT, seed=seed)):
        path = folder / f"{subject}-{i + 1}.png"
        save_png(image, path)
        write_bytes(path.with_suffix(".txt"), f"{caption}\n".encode(), sync=False)
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


def make_pictures(source: str, prompts: Sequence[str], folder: Path, *, tell: Tell) -> Pictures:
    """`len(SEEDS)` pictures per prompt, in order of prompts and seeds."""
    order = Order(source, prompts, count=len(SEEDS), seed=SEEDS[0], batch_size=10, out=folder)
    return generate(order, tell=tell)


def score(
    subject: str, prompts: Sequence[str], base: Sequence[Path], adapted: Sequence[Path],
    step: int, *, tell: Tell,
) -> Choice:  # fmt: skip
    """The pictures judged: the training's end is the only candidate.

    CLIP-T against a plain description, CLIP-I against renders that nobody trained on.
    """
    scenes = [name for name in SCENES if name not in TAUGHT]
    who = world.SUBJECTS[subject]
    truth = [world.subject_render(subject, scene, detail=99) for scene in scenes]
    plain = [f"a photo of a {who.colour} {who.class_noun} {SCENES[name][0]}" for name in scenes]
    judge = open_panel(Config(), tell=tell).prompt

    def judged(paths: Sequence[Path], step: int = 0) -> Stop:
        images = [open_photo(path).image for path in paths]
        shown = judge.text_image(images, [text for text in plain for _ in SEEDS]).tolist()
        like = judge.image_image(images, truth).tolist()
        rows = tuple(
            {"prompt": i // len(SEEDS), "seed": SEEDS[i % len(SEEDS)], "section": "scenes",
             "clip_t": shown[i], "identity": like[i]}
            for i in range(len(images))
        )  # fmt: skip
        return Stop(step, tuple(paths), rows, means_of(rows))

    return Choice(
        judge=judge.name,
        identity_judge=judge.name,
        references={
            "kind": "held-out", "photos": [],
            "ceiling": judge.likeness_of_references(truth).mean().item(),
            "clip_t": judge.text_image(truth, plain).mean().item(),
            "words": "compared with true pictures of the subject in these scenes, which nobody"
                     " trained on",
        },
        prompts=tuple(
            Prompt(text, told, "scenes") for text, told in zip(prompts, plain, strict=True)
        ),
        seeds=SEEDS,
        base=judged(base),
        candidates=(judged(adapted, step),),
        chosen=step,
        highest=step,
        verdict="it is the last one; `kaiffin choose` looks at the earlier ones too",
    )  # fmt: skip


def before_and_after(
    prompts: Sequence[str], base: Sequence[Path], adapted: Sequence[Path], subject: str
) -> Image.Image:
    """Base and adapted side by side, two pairs a row."""
    images, labels = [], []
    pairs = [(prompt, seed) for prompt in prompts for seed in SEEDS]
    for (prompt, seed), before, after in zip(pairs, base, adapted, strict=True):
        images += [open_photo(before).image, open_photo(after).image]
        labels += [f"base · seed {seed}", prompt]
    titles = ("base", f"taught {subject}") * 2
    return sheet(images, labels, columns=4, column_titles=titles, title="Before and after")
