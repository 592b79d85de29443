"""The miniature's promise, measured: six photos, a minute of training, ten scenes never shown.

    python benchmarks/personalise.py --out personalised
    python benchmarks/personalise.py --together --out together

For each of six held-out characters: trains with Kaiffin's own preset, makes pictures of it in ten
unseen scenes on eight seeds, and asks a network that was trained on renders alone, and shares
nothing with the training, whether it is the subject and whether it is the scene. Pictures of the
class without the subject's name say what the training did to the class. Writes a sheet of every
picture per subject; and blind.png, true renders and made pictures mixed, answers in blind.txt, for
a person to tell apart. A quarter of an hour on two cores, the judge's five minutes included.

With `--together` one adapter is taught the first two, each with as many steps as alone.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import kept
import numpy as np
import tables
from PIL import Image

from kaiffin.foundation.config import BaseConfig, SampleConfig
from kaiffin.foundation.run import Run
from kaiffin.foundation.runtime import Runtime
from kaiffin.foundation.settings import build, override
from kaiffin.foundation.sheets import sheet
from kaiffin.foundation.tell import SILENT
from kaiffin.miniature.judges.truth import Truth, likeliest, load_truth
from kaiffin.miniature.world import world
from kaiffin.miniature.world.vocabulary import POSES
from kaiffin.models.base import ModelFamily
from kaiffin.models.files.load import load_base
from kaiffin.pictures.make import Task, WeightedAdapter, make
from kaiffin.pictures.request import request, with_size
from kaiffin.score.judge import Scorer
from kaiffin.stories import demo, train

# (words of the prompt, the place): none of these places is in the photos.
SCENES = (
    ("in the snow", "snow"), ("in a snowy field at night", "snow"),
    ("in the forest", "forest"), ("in the woods at sunset", "forest"),
    ("in the city", "city"), ("on a city street at night", "city"),
    ("in the desert", "desert"), ("among the sand dunes at sunset", "desert"),
    ("in space", "space"), ("on the moon", "space"),
)  # fmt: skip
SEEDS = tuple(range(101, 109))
BLIND = (0, 2, 4, 8)  # scenes of the blind sheet


@dataclass(frozen=True)
class Found:
    """One training: shares over its pictures, and what became of the class."""

    subject: str
    training_s: float
    pictures: int
    right: dict[str, int]  # subject, scene, both -> pictures
    by_scene: dict[str, str]  # prompt's words -> "subject right, scene right"
    named: dict[str, int]  # what the judge named the pictures
    class_kept: int  # class pictures named the class, of len(SCENES) * 2
    class_kept_before: int  # the same without the adapter
    drift: float  # 1 - CLIP-I between class pictures with and without the adapter
    likeness: float  # CLIP-I to true renders of the same places and times
    ceiling: float  # the same of other true renders: other poses, sizes and details


def study(
    subject: str, out: Path, base: str, changes: dict[str, Any], family: ModelFamily, truth: Truth
) -> Found:
    """Trains, makes the pictures, judges them and writes their sheet."""
    return shown(subject, taught(subject, out, base, changes), out, family, truth)


def shown(subject: str, run: Run, out: Path, family: ModelFamily, truth: Truth) -> Found:
    """Makes the pictures of one subject with a run, judges them and writes their sheet."""
    who, seconds = world.CAST[subject], sum(one["seconds"] for one in run.metrics())
    adapters = (WeightedAdapter(run.adapter_path),)
    sample = with_size(run.config.sample, family)
    images = pictures(
        family, [f"{who.instance_prompt} {w}" for w, _ in SCENES], SEEDS, sample, adapters
    )
    plain = [f"a photo of a {who.class_noun} {w}" for w, _ in SCENES]
    after = pictures(family, plain, SEEDS[:2], sample, adapters)
    before = pictures(family, plain, SEEDS[:2], sample, ())
    labels = [words for words, _ in SCENES for _ in SEEDS]
    sheet(images, labels, columns=len(SEEDS)).save(out / f"{subject}.png")
    for number in BLIND:
        images[number * len(SEEDS)].save(out / f"{subject}-{number}.png")
    labels = [f"{words}  ·  {how}" for words, _ in SCENES for how in ("before", "after") * 2]
    pairs = [image for pair in zip(before, after, strict=True) for image in pair]
    sheet(pairs, labels, columns=4).save(out / f"{subject}-class.png")
    return judged(subject, seconds, images, (before, after), truth)


def blind(subjects: Sequence[str], out: Path) -> None:
    """One made picture and one true render of each of the scenes BLIND, in an order drawn once;
    the sheet does not say which is which."""
    shown: list[tuple[Image.Image, str]] = []
    for subject in subjects:
        true = true_renders(subject, 1)
        for number in BLIND:
            made = Image.open(out / f"{subject}-{number}.png")
            shown += [(true[number], f"{subject}, true"), (made, f"{subject}, made")]
    order = np.random.default_rng(0).permutation(len(shown))
    labels = [str(number + 1) for number in range(len(shown))]
    sheet([shown[i][0] for i in order], labels, columns=8).save(out / "blind.png")
    lines = [f"{label} {shown[i][1]}\n" for label, i in zip(labels, order, strict=True)]
    (out / "blind.txt").write_text("".join(lines), encoding="utf-8")


def taught(subject: str, out: Path, base: str, changes: dict[str, Any]) -> Run:
    """The preset on six photos."""
    one = photographed(subject, out)
    given = {
        "subject.token": one["token"], "subject.noun": one["noun"], "data.photos": one["photos"],
        "base.name": base, "train.tensorboard": False, **changes,
    }  # fmt: skip
    return train.train(build(override({}, given), subject), out / "runs" / subject).run


def taught_together(subjects: Sequence[str], out: Path, base: str, changes: dict[str, Any]) -> Run:
    """The preset on six photos of each, in one adapter; a finished run is taken as it is."""
    path = out / "runs" / "together"
    if Run.is_at(path) and Run.open(path).finished:
        return Run.open(path)
    given = {
        "subjects": [photographed(subject, out) for subject in subjects],
        "base.name": base, "train.tensorboard": False, **changes,
    }  # fmt: skip
    return train.train(build(override({}, given), "together"), path).run


def photographed(subject: str, out: Path) -> dict[str, Any]:
    """A subject as a config lists it, with six photos below `out`."""
    who, photos = world.CAST[subject], out / "photos" / subject
    demo.render_photos(photos, subject, seed=0)
    return {"token": who.token, "noun": who.class_noun, "photos": photos}


def pictures(
    family: ModelFamily, prompts: Sequence[str], seeds: Sequence[int], sample: SampleConfig,
    adapters: tuple[WeightedAdapter, ...],
) -> list[Image.Image]:  # fmt: skip
    """Every prompt on every seed, prompts outside."""
    tasks = [Task(request(p, s, sample), adapters) for p in prompts for s in seeds]
    return [image for _, image in make(family, tasks, batch_size=16)]


def judged(
    subject: str, seconds: float, images: Sequence[Image.Image],
    of_class: tuple[Sequence[Image.Image], Sequence[Image.Image]], truth: Truth,
) -> Found:  # fmt: skip
    rows = [{q: likeliest(shares) for q, shares in row.items()} for row in truth.judge(images)]
    places = [place for _, place in SCENES for _ in SEEDS]
    is_it = [row["species"] == subject for row in rows]
    is_there = [row["scene"] == place for row, place in zip(rows, places, strict=True)]
    both = [a and b for a, b in zip(is_it, is_there, strict=True)]
    per = len(SEEDS)
    by_scene = {
        words: f"{sum(is_it[i * per : i * per + per])}, {sum(is_there[i * per : i * per + per])}"
        for i, (words, _) in enumerate(SCENES)
    }
    names = [row["species"] for row in rows]
    noun = world.CAST[subject].class_noun
    kept = [sum(likeliest(r["species"]) == noun for r in truth.judge(p)) for p in of_class]
    scorer = Scorer(tell=SILENT)
    alike = scorer.embed_images(of_class[0]) * scorer.embed_images(of_class[1])
    true, others = true_renders(subject, 1), true_renders(subject, 2)
    shown = [image for image in true for _ in SEEDS]
    like = scorer.embed_images(images) * scorer.embed_images(shown)
    ceiling = scorer.embed_images(others) * scorer.embed_images(true)
    return Found(
        subject, round(seconds, 1), len(images),
        {"subject": sum(is_it), "scene": sum(is_there), "both": sum(both)}, by_scene,
        {name: names.count(name) for name in sorted(set(names))},
        kept[1], kept[0], round(1 - alike.sum(-1).mean().item(), 3),
        round(like.sum(-1).mean().item(), 3), round(ceiling.sum(-1).mean().item(), 3),
    )  # fmt: skip


def true_renders(subject: str, seed: int) -> list[Image.Image]:
    """The subject as it is in each of the scenes, in a pose and with details of `seed`."""
    renders = []
    for number, (words, place) in enumerate(SCENES):
        time = next((t for t in ("night", "sunset") if t in words), "day")
        pose = POSES[(seed + number) % len(POSES)]
        renders.append(world.subject_render(subject, place, time=time, pose=pose, detail=seed))
    return renders


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("personalised"), help="new folder")
    parser.add_argument("--base", default="miniature", help="miniature or miniature-xl")
    parser.add_argument("--subjects", nargs="+", help="default: all six; together: the first two")
    parser.add_argument("--truth", type=Path, help="the judge (default: OUT/truth.safetensors)")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="other settings")
    parser.add_argument("--together", action="store_true", help="all of them in one adapter")
    kept.add_to(parser)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    changes = dict(pair.split("=", 1) for pair in arguments.set)
    family = load_base(
        BaseConfig(name=arguments.base), Runtime.from_config(BaseConfig()), tell=SILENT
    )
    truth = load_truth(arguments.truth or arguments.out / "truth.safetensors", world.CAST)
    subjects = arguments.subjects or list(world.SUBJECTS if arguments.together else world.CAST)
    out, found = arguments.out, list[Found]()
    if arguments.together:
        run = taught_together(subjects, out, arguments.base, changes)
        found = [shown(subject, run, out, family, truth) for subject in subjects]
    else:
        for subject in subjects:
            found.append(study(subject, out, arguments.base, changes, family, truth))
    blind(subjects, out)
    rows = [asdict(one) for one in found]
    print(tables.personalised(rows))
    kept.keep(arguments.keep, {"base": arguments.base, "changes": changes, "taught": rows})


if __name__ == "__main__":
    main()
