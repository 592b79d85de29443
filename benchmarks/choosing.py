"""Does `kaiffin choose` choose well? On the miniature the truth is known.

    python benchmarks/choosing.py --out study

Trains the miniature 24 times (two subjects, several rates, numbers of photos and ranks), lets
`kaiffin choose` recommend a checkpoint of each, and compares that with taking the last one, the one
of the lowest loss, of the lowest loss on photos that nobody learns, and the one whose pictures are
most like the training photos. What counts is what a judge that knows the truth (a network trained
on renders, which shares nothing with the scores) names in pictures of prompts that the choice never
saw: the subject and the place, both right. About three hours on one core; a call that was stopped
goes on, and what is kept grows with each training.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import kept
import losses
import tables

from kaiffin.data.images import open_photo
from kaiffin.foundation.cache import TensorCache
from kaiffin.foundation.config import BaseConfig, Config, SampleConfig
from kaiffin.foundation.run import Run
from kaiffin.foundation.runtime import Runtime
from kaiffin.foundation.settings import build, override
from kaiffin.foundation.tell import SILENT
from kaiffin.miniature.judges.truth import Truth, likeliest, load_truth
from kaiffin.miniature.world import world
from kaiffin.models.base import ModelFamily
from kaiffin.models.files.load import load_base
from kaiffin.pictures.request import request
from kaiffin.score.catalogue import SUBJECT
from kaiffin.score.choice import Prompt
from kaiffin.score.gallery import Gallery
from kaiffin.score.judge import Scorer
from kaiffin.score.photos import subject_photos
from kaiffin.score.questions import PromptSet
from kaiffin.score.statistics import clustered
from kaiffin.stories import choose, train

STEPS, CANDIDATES = 400, 6
UNSEEN = 3  # photos, one of each place
SAMPLE_STEPS = 16
RECOMMENDED = "what `kaiffin choose` recommends"
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
    and each number of photos as Kaiffin's own preset trains it. In a drawn order: a study that is
    stopped has seen some of everything."""
    every = []
    for subject in world.SUBJECTS:
        pairs = itertools.product((3, 6, 12), (1e-3, 2e-3, 5e-3))
        for number, (photos, lr) in enumerate(pairs):
            every.append(Training(subject, photos, lr, (16, 4)[number % 2], "constant"))
        every += [Training(subject, photos, 2e-3, 16, "cosine") for photos in (3, 6, 12)]
    random.Random(0).shuffle(every)
    return every


def config_of(training: Training, photos: Path) -> Config:
    who = world.SUBJECTS[training.subject]
    given = {
        "subject.token": who.token, "subject.noun": who.class_noun, "data.photos": photos,
        "adapter.rank": training.rank, "train.lr": training.lr, "train.steps": STEPS,
        "train.schedule": training.schedule, "train.tensorboard": False, "train.keep": 1,
        "score.candidates": CANDIDATES,
    }  # fmt: skip
    return build(override({}, given), training.name)


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
        return train.resume(folder).run
    return train.train(config_of(training, photos), folder).run


def test_set(training: Training, family: ModelFamily) -> tuple[PromptSet, list[str]]:
    """Pictures by which the choices are judged, and the place in each: other prompts and other
    seeds than the choice saw."""
    who = world.SUBJECTS[training.subject]
    lead = who.instance_prompt
    prompts = [f"{lead} {words}".strip() for words, _ in TEST]
    sample = SampleConfig(steps=SAMPLE_STEPS, size=(family.native_size, family.native_size))
    requests = [request(p, seed, sample) for p in prompts for seed in TEST_SEEDS]
    asked = PromptSet(tuple(Prompt(p, p, "scenes") for p in prompts), TEST_SEEDS, tuple(requests))
    return asked, [place for _, place in TEST for _ in TEST_SEEDS]


def pictured(training: Training, out: Path, family: ModelFamily) -> None:
    """All pictures of a training: those of `kaiffin choose`, and the test's."""
    folder = out / "runs" / training.name
    choose.choose(folder, changes={"sample.steps": SAMPLE_STEPS}, batch_size=16)
    asked, _ = test_set(training, family)
    gallery = Gallery(out / "test" / training.name, family)
    for _, path in Run.open(folder).candidates():
        gallery.make(path, asked, lambda _: None, 20)


# --- what came of it ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """A training: what each way of choosing takes, and what is true of each candidate."""

    training: Training
    takes: dict[str, int]  # way of choosing -> step
    true: dict[int, list[dict[str, bool]]]  # step -> of each test picture: subject, scene, both

    def share(self, way: str, what: str) -> list[float]:
        return [float(picture[what]) for picture in self.true[self.takes[way]]]


def outcome(training: Training, out: Path, family: ModelFamily, truth: Truth) -> Outcome:
    run = Run.open(out / "runs" / training.name)
    facts = run.read_json("choice.json")
    asked, places = test_set(training, family)
    gallery = Gallery(out / "test" / training.name, family)
    true = {}
    for step, path in run.candidates():
        images = [open_photo(picture).image for picture in gallery.paths(path, asked)]
        true[step] = [
            named(shares, training.subject, place)
            for shares, place in zip(truth.judge(images), places, strict=True)
        ]
    takes = ways(run, facts) | {"the lowest loss of photos held out": unseen(training, run, family)}
    takes["the best there is"] = max(true, key=lambda step: sum(p["both"] for p in true[step]))
    return Outcome(training, takes, true)


def named(shares: dict[str, dict[str, float]], subject: str, place: str) -> dict[str, bool]:
    """Whether the subject, the place and both are what the judge of truth names."""
    is_it = likeliest(shares["species"]) == subject
    is_there = likeliest(shares["scene"]) == place
    return {"subject": is_it, "scene": is_there, "both": is_it and is_there}


def ways(run: Run, facts: dict[str, Any]) -> dict[str, int]:
    """The step that each way of choosing takes."""
    steps = [c["step"] for c in facts["candidates"]]
    by_loss = {c["step"]: c["loss"] for c in facts["candidates"]}
    return {
        RECOMMENDED: facts["chosen"],
        "the highest overall, no statistics": facts["highest"],
        "the last": max(steps),
        "the lowest loss": min(by_loss, key=by_loss.__getitem__),
        "the most like the training photos": most_like(run, facts),
    }


def unseen(training: Training, run: Run, family: ModelFamily) -> int:
    """The arg-min of the plain loss on further photos of the same places, which nobody learns."""
    photos = world.subject_photos(training.subject, UNSEEN, seed=1)
    found = {step: losses.of_adapter(family, path, photos) for step, path in run.candidates()}
    return min(found, key=found.__getitem__)


def most_like(run: Run, facts: dict[str, Any]) -> int:
    """The arg-max of plain CLIP-I on the training photos, as scores are usually logged."""
    judge = Scorer(cache=TensorCache(run.folder("cache") / "scores"), tell=SILENT)
    photos = [open_photo(path).image for path in subject_photos([run]).trained]
    likeness = {}
    for entry in facts["candidates"]:
        rows = zip(entry["rows"], entry["pictures"], strict=True)
        paths = [run.path / path for row, path in rows if row["section"] in SUBJECT]
        images = [open_photo(path).image for path in paths]
        likeness[entry["step"]] = judge.image_image(images, photos).mean().item()
    return max(likeness, key=likeness.__getitem__)


def summary(outcomes: list[Outcome]) -> dict[str, Any]:
    """What is kept of each way of choosing, in percent: shares, and the recommendation against it,
    paired by training, prompt and seed; intervals draw trainings."""
    found: dict[str, dict[str, Any]] = {}
    for way in outcomes[0].takes:
        kinds = ("subject", "scene", "both")
        shares = {kind: [one.share(way, kind) for one in outcomes] for kind in kinds}
        row = {"place" if kind == "scene" else kind: _percent(v) for kind, v in shares.items()}
        if way != RECOMMENDED:
            gaps = [
                [
                    mine - other
                    for other, mine in zip(theirs, one.share(RECOMMENDED, "both"), strict=True)
                ]
                for one, theirs in zip(outcomes, shares["both"], strict=True)
            ]
            sums = [sum(own) for own in gaps]
            row["against"] = _percent(gaps)
            row["tally"] = [sum(s > 0 for s in sums), sums.count(0), sum(s < 0 for s in sums)]
        found[way] = row
    pictures = sum(len(one.share(RECOMMENDED, "both")) for one in outcomes)
    return {"trainings": len(outcomes), "pictures": pictures, "ways": found}


def grouped(outcomes: list[Outcome]) -> dict[str, list[Outcome]]:
    """All of them, and those of each subject that has any."""
    own = {s: [one for one in outcomes if one.training.subject == s] for s in world.SUBJECTS}
    return {"all": outcomes, **{name: some for name, some in own.items() if some}}


def _percent(values: list[list[float]]) -> list[float]:
    """Mean and interval of values by training."""
    found = clustered(
        [value for own in values for value in own],
        [number for number, own in enumerate(values) for _ in own],
    )
    return [round(100 * value, 2) for value in (found.mean, found.low, found.high)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("study"), help="folder that is written")
    kept.add_to(parser)
    arguments = parser.parse_args()
    family = load_base(BaseConfig(), Runtime.from_config(BaseConfig()), tell=SILENT)
    truth = load_truth(arguments.out / "truth.safetensors")
    outcomes, found = [], {}
    for training in trainings():
        trained(training, arguments.out)
        pictured(training, arguments.out, family)
        outcomes.append(outcome(training, arguments.out, family, truth))
        found = {name: summary(own) for name, own in grouped(outcomes).items()}
        kept.keep(arguments.keep, found)
    for name, one in found.items():
        print(f"{name}: {one['trainings']} trainings\n\n{tables.choices(one)}\n")
    facts = [{**asdict(o.training), "takes": o.takes, "true": o.true} for o in outcomes]
    (arguments.out / "study.json").write_text(json.dumps(facts), encoding="utf-8")


if __name__ == "__main__":
    main()
