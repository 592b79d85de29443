"""Does `kaiffin choose` choose well? On the miniature the truth is known.

    python benchmarks/choosing.py --out study

Trains the miniature 24 times (two subjects, several rates, numbers of photos and ranks), lets
`kaiffin choose` recommend a checkpoint of each, and compares that with taking the last one, the one
of the lowest loss, and the one whose pictures are most like the training photos. What counts is
what a judge that knows the truth (a network trained on renders, which shares nothing with the
scores) names in pictures of prompts that the choice never saw: the subject and the place, both
right. About two hours on one core; a call that was stopped goes on.
"""

from __future__ import annotations

import argparse
import itertools
from dataclasses import dataclass
from pathlib import Path

from kaiffin import checkpoints, picturing, recipes
from kaiffin import config as configs
from kaiffin.config import BaseConfig, Config, SampleConfig
from kaiffin.evaluation import Asked, Gallery, Prompt
from kaiffin.miniature import world
from kaiffin.models.base import ModelFamily
from kaiffin.run import Run
from kaiffin.runtime import Runtime
from kaiffin.sessions import load_base

STEPS, CANDIDATES = 400, 6
SAMPLE_STEPS = 16
TEST_SEEDS = (101, 102)
# (what the prompt says after the subject's name, the place): none of them in the built-in list.
TEST = (
    ("waving in the forest", "forest"), ("sitting in the desert", "desert"),
    ("in the city at sunset", "city"), ("in the forest at night", "forest"),
    ("waving in space", "space"), ("sitting in the snow", "snow"),
    ("in the desert at sunset", "desert"), ("waving in the city", "city"),
    ("sitting in space", "space"), ("in the snow at night", "snow"),
)  # fmt: skip


@dataclass(frozen=True)
class Training:
    """One of the study's trainings."""

    subject: str
    photos: int
    lr: float
    rank: int
    schedule: str

    @property
    def name(self) -> str:
        return f"{self.subject}-{self.photos}-{self.lr:g}-{self.rank}-{self.schedule}"


def trainings() -> list[Training]:
    """Rates by numbers of photos at a constant rate, as the field trains, the ranks taking turns;
    and each number of photos as Kaiffin's own preset trains it."""
    every = []
    for subject in world.SUBJECTS:
        pairs = itertools.product((3, 6, 12), (1e-3, 2e-3, 5e-3))
        for number, (photos, lr) in enumerate(pairs):
            every.append(Training(subject, photos, lr, (16, 4)[number % 2], "constant"))
        every += [Training(subject, photos, 2e-3, 16, "cosine") for photos in (3, 6, 12)]
    return every


def config_of(training: Training, photos: Path) -> Config:
    who = world.SUBJECTS[training.subject]
    given = {
        "subject.token": who.token, "subject.noun": who.class_noun, "data.photos": photos,
        "adapter.rank": training.rank, "train.lr": training.lr, "train.steps": STEPS,
        "train.schedule": training.schedule, "train.tensorboard": False, "train.keep": 1,
        "score.candidates": CANDIDATES,
    }  # fmt: skip
    return configs.build(configs.override({}, given), training.name)


def trained(training: Training, out: Path) -> Run:
    """The run of a training, made or gone on with where it is not finished."""
    photos = out / "photos" / f"{training.subject}-{training.photos}"
    if not photos.is_dir():
        photos.mkdir(parents=True)
        pictures = world.subject_photos(training.subject, training.photos)
        for number, (image, caption) in enumerate(pictures):
            image.save(photos / f"{number}.png")
            (photos / f"{number}.txt").write_text(caption, encoding="utf-8")
    folder = out / "runs" / training.name
    if (folder / "config.yaml").is_file():
        return recipes.resume(folder)
    return recipes.train(config_of(training, photos), folder)


def test_set(training: Training, family: ModelFamily) -> tuple[Asked, list[str]]:
    """Pictures by which the choices are judged, and the place in each: other prompts and other
    seeds than the choice saw."""
    who = world.SUBJECTS[training.subject]
    lead = who.instance_prompt
    prompts = [f"{lead} {words}".strip() for words, _ in TEST]
    sample = SampleConfig(steps=SAMPLE_STEPS, size=(family.native_size, family.native_size))
    requests = [picturing.request(p, seed, sample) for p in prompts for seed in TEST_SEEDS]
    asked = Asked(tuple(Prompt(p, p, "scenes") for p in prompts), TEST_SEEDS, tuple(requests))
    return asked, [place for _, place in TEST for _ in TEST_SEEDS]


def pictured(training: Training, out: Path, family: ModelFamily) -> None:
    """All pictures of a training: those of `kaiffin choose`, and the test's."""
    folder = out / "runs" / training.name
    checkpoints.choose(folder, changes={"sample.steps": SAMPLE_STEPS}, batch_size=16)
    asked, _ = test_set(training, family)
    gallery = Gallery(out / "test" / training.name, family)
    for _, path in Run.open(folder).candidates():
        gallery.make(path, asked, lambda _: None, 20)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("study"), help="folder that is written")
    arguments = parser.parse_args()
    family = load_base(BaseConfig(), Runtime.from_config(BaseConfig()))
    for training in trainings():
        trained(training, arguments.out)
        pictured(training, arguments.out, family)


if __name__ == "__main__":
    main()
