"""What a picture costs beside how good it is: steps, samplers, guidance and the few-step adapter.

    python benchmarks/pictures.py --out pictures            # those that decide, some ten minutes
    python benchmarks/pictures.py --out pictures --all      # every row of docs/performance.md

Both held-out characters are learnt once with Kaiffin's own preset. Then each way makes the same
pictures on the same seeds (ten unseen scenes), and a network that knows the truth (see
personalise.py) says whether it is the subject and the place; likeness is CLIP-I to true renders.
Differences are of pairs, way less default, with intervals over scenes. Times are CPU seconds of one
picture alone, the default taking turns. A second call goes on in --out.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import kept
import tables
import torch
from personalise import SCENES, true_renders
from timing import interleaved

from kaiffin.adapters.strength import PLAIN
from kaiffin.foundation.config import BaseConfig, SampleConfig
from kaiffin.foundation.run import Run
from kaiffin.foundation.runtime import Runtime
from kaiffin.foundation.samplers import BASE, SAMPLERS, SCHEDULES
from kaiffin.foundation.settings import build, override
from kaiffin.foundation.sheets import sheet
from kaiffin.foundation.tell import SILENT
from kaiffin.miniature.judges.truth import Truth, likeliest, load_truth
from kaiffin.miniature.world import world
from kaiffin.models.base import ModelFamily
from kaiffin.models.files.load import load_base
from kaiffin.pictures.fast import OURS, OWN, find
from kaiffin.pictures.make import Task, WeightedAdapter, make
from kaiffin.pictures.request import request, with_size
from kaiffin.score.judge import Scorer
from kaiffin.score.statistics import clustered
from kaiffin.stories import demo, train

STEPS = (1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 35, 50)
FEW = (4, 6, 8, 12)
MEASURES = ("subject", "place", "likeness")
DEFAULT = "default"
ALONE = {"guidance": 1.0, "sampler": "euler", "schedule": "trailing"}  # what `--fast` sets


@dataclass(frozen=True)
class Way:
    """Settings of `sample` that differ from the defaults; fast: how much of the few-step adapter is
    worn; weight: of the subject's own."""

    sample: Mapping[str, Any] = field(default_factory=dict)
    fast: float = 0.0
    weight: float = 1.0


def ways() -> dict[str, Way]:
    """Every way by its name: what it is / how many steps."""
    found = {DEFAULT: Way()}
    found |= {f"dpm++2m/{n}": Way({"steps": n}) for n in STEPS if n != 25}
    for schedule in (one for one in SCHEDULES if one not in (BASE, "leading")):
        for n in FEW:
            found[f"dpm++2m {schedule}/{n}"] = Way({"schedule": schedule, "steps": n})
    for sampler in (one for one in SAMPLERS if one != "dpm++2m"):
        for n in FEW:
            given = {"sampler": sampler, "schedule": "trailing", "steps": n}
            found[f"{sampler} trailing/{n}"] = Way(given)
    return found | _guided() | _fast()


def _guided() -> dict[str, Way]:
    """Where guidance acts, and on what."""
    found = {}
    for low, high in ((0.3, 99), (1, 99), (2, 99), (0, 5), (0.3, 5), (1, 5)):
        between: dict[str, Any] = {"guidance_interval": (low, high)}
        few = {"steps": 6, "schedule": "trailing"}
        found[f"guided {low}-{high}/25"] = Way(between)
        found[f"guided {low}-{high}, dpm++2m trailing/6"] = Way({**few, **between})
    for strength in (0.0, 0.5, 0.8):
        found[f"negative {strength:g}/25"] = Way({"negative_strength": strength})
    for guidance in (1.0, 2.0, 3.0, 7.0):
        found[f"guidance {guidance:g}/25"] = Way({"guidance": guidance})
    return found


def _fast() -> dict[str, Way]:
    """`--fast`, with other steps, and what else its adapter might be worn with."""
    lift = OURS.lift
    found = {
        f"fast/{n}": Way({**ALONE, "steps": n}, fast=1.0, weight=lift)
        for n in (1, 2, 3, 4, 5, 6, 8)
    }
    four = {**ALONE, "steps": 4}
    found["fast lcm/4"] = Way({**four, "sampler": "lcm"}, fast=1.0, weight=lift)
    for weight in (1.0, 1.1, 1.3, 1.4):
        found[f"fast, subject {weight:g}/4"] = Way(four, fast=1.0, weight=weight)
    for guidance in (1.5, 2.0):
        for strength in (1.0, 0.0):
            given = {**four, "guidance": guidance, "negative_strength": strength}
            found[f"fast, guidance {guidance:g}, negative {strength:g}/4"] = Way(given, fast=1.0)
    for worn in (0.5, 0.7):
        given = {**four, "guidance": 2.0}
        found[f"fast {worn:g}, guidance 2/4"] = Way(given, fast=worn)
    return found


SMALL = (
    DEFAULT, "dpm++2m/8", "dpm++2m trailing/6", "dpm++2m trailing/8", "guided 0.3-5/25",
    "negative 0.5/25", "fast/4", "fast lcm/4", "fast, subject 1/4",
)  # fmt: skip


@dataclass(frozen=True)
class Studio:
    """What every way is measured with."""

    out: Path
    family: ModelFamily
    adapters: Mapping[str, WeightedAdapter]  # by subject
    fast: Path
    truth: Truth
    scorer: Scorer
    seeds: Sequence[int]

    def tasks(self, way: Way, subject: str, seeds: Sequence[int]) -> list[Task]:
        """Every scene on every seed, scenes outside."""
        who = world.SUBJECTS[subject]
        sample = with_size(SampleConfig(**way.sample), self.family)
        own = self.adapters[subject]
        worn = [replace(own, weights=own.weights.times(way.weight))]
        if way.fast:
            worn.append(WeightedAdapter(self.fast, PLAIN.times(way.fast)))
        return [
            Task(request(f"{who.instance_prompt} {words}", seed, sample), tuple(worn))
            for words, _ in SCENES
            for seed in seeds
        ]

    def measure(self, name: str, way: Way, count: int) -> dict[str, Any]:
        """A value for each picture and measure, subjects outside, and what one picture takes;
        count: how many of the seeds."""
        seeds = self.seeds[:count]
        rows: dict[str, list[float]] = {one: [] for one in MEASURES}
        for subject in self.adapters:
            made = dict(make(self.family, self.tasks(way, subject, seeds), batch_size=16))
            images = [made[place] for place in range(len(made))]
            found = [{q: likeliest(p) for q, p in row.items()} for row in self.truth.judge(images)]
            places = [place for _, place in SCENES for _ in seeds]
            shown = [image for image in true_renders(subject, 1) for _ in seeds]
            like = self.scorer.embed_images(images) * self.scorer.embed_images(shown)
            rows["subject"] += [float(one["species"] == subject) for one in found]
            rows["place"] += [
                float(one["scene"] == it) for one, it in zip(found, places, strict=True)
            ]
            rows["likeness"] += like.sum(-1).tolist()
            labels = [words for words, _ in SCENES for _ in seeds]
            page = sheet(images, labels, columns=len(seeds))
            page.save(self.out / "sheets" / f"{name.replace('/', '-')}-{subject}.png")
        return {**rows, **self._costs(way)}

    def _costs(self, way: Way) -> dict[str, Any]:
        """Rows that the denoiser is asked for one picture, and its time in the default's."""
        subject, asked = next(iter(self.adapters)), 0
        (task,) = self.tasks(way, subject, self.seeds[:1])[:1]
        (other,) = self.tasks(Way(), subject, self.seeds[:1])[:1]

        def count(net: torch.nn.Module, given: tuple[torch.Tensor, ...]) -> None:
            nonlocal asked
            asked += len(given[0])

        handle = self.family.towers[self.family.denoiser].register_forward_pre_hook(count)
        list(make(self.family, [task]))
        handle.remove()
        candidates: dict[str, Callable[[], object]] = {
            "default": lambda: list(make(self.family, [other])),
            "way": lambda: list(make(self.family, [task])),
        }
        times = interleaved(candidates, 3, self.family.device, 1, clock=time.process_time)
        pairs = zip(times["way"], times["default"], strict=True)
        return {"rows": asked, "time": [mine / its for mine, its in pairs]}


def open_studio(out: Path, base: str, truth: Path | None, seeds: int) -> Studio:
    """Trains both subjects and the judge, where they are not there."""
    (out / "sheets").mkdir(parents=True, exist_ok=True)
    family = load_base(BaseConfig(name=base), Runtime.from_config(BaseConfig()), tell=SILENT)
    adapters = {name: WeightedAdapter(_taught(name, out, base)) for name in world.SUBJECTS}
    return Studio(
        out, family, adapters, find(OWN, base).path,
        load_truth(truth or out / "truth.safetensors"), Scorer(tell=SILENT),
        range(201, 201 + seeds),
    )  # fmt: skip


def _taught(subject: str, out: Path, base: str) -> Path:
    folder = out / "runs" / subject
    if not Run.is_at(folder):
        who = world.SUBJECTS[subject]
        demo.render_photos(out / "photos" / subject, subject, seed=0)
        given = {
            "subject.token": who.token, "subject.noun": who.class_noun, "base.name": base,
            "data.photos": out / "photos" / subject, "train.tensorboard": False,
        }  # fmt: skip
        train.train(build(override({}, given), subject), folder)
    return Run.open(folder).adapter_path


# --- what is kept -------------------------------------------------------------------------------


def summary(found: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """What is kept of each way: means, and differences of pairs from the default."""
    return {
        name: {
            "rows": one["rows"], "time": round(statistics.median(one["time"]), 4),
            "pictures": len(one["subject"]),
            **{
                m: {
                    "mean": round(statistics.fmean(one[m]), 5),
                    "gap": _gap(one[m], found[DEFAULT][m]),
                }
                for m in MEASURES
            },
        }
        for name, one in found.items()
    }  # fmt: skip


def _gap(values: Sequence[float], default: Sequence[float]) -> list[float]:
    """Mean and interval of pairs; pictures of one scene and subject hang together."""
    mine, its = _by_scene(values), _by_scene(default)
    pairs = [
        (a - b, scene)
        for scene, (ours, theirs) in enumerate(zip(mine, its, strict=True))
        for a, b in zip(ours, theirs, strict=False)  # its first seeds, where it has more
    ]
    gap = clustered([one for one, _ in pairs], [scene for _, scene in pairs])
    return [round(value, 6) for value in (gap.mean, gap.low, gap.high)]


def _by_scene(values: Sequence[float]) -> list[Sequence[float]]:
    """What each subject and scene got on each seed."""
    seeds = len(values) // (len(SCENES) * len(world.SUBJECTS))
    return [values[i : i + seeds] for i in range(0, len(values), seeds)]


def wanted(flags: argparse.Namespace) -> dict[str, int]:
    """How many seeds each way gets. The default first: the others are compared with it."""
    deciding = [
        name
        for name in ways()
        if name != DEFAULT and any(fnmatch.fnmatchcase(name, one) for one in flags.ways)
    ]
    others = dict.fromkeys(ways() if flags.all else (), flags.others or flags.seeds)
    return dict.fromkeys((DEFAULT, *deciding), flags.seeds) | {
        name: count for name, count in others.items() if name not in (DEFAULT, *deciding)
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("pictures"), help="folder; goes on in it")
    parser.add_argument("--base", default="miniature", help="miniature or miniature-xl")
    parser.add_argument("--truth", type=Path, help="the judge (default: OUT/truth.safetensors)")
    parser.add_argument("--seeds", type=int, default=10, help="of each scene: n is 20 times that")
    parser.add_argument("--ways", nargs="+", default=list(SMALL), metavar="NAME", help="globs")
    parser.add_argument("--all", action="store_true", help="every other way after these")
    parser.add_argument("--others", type=int, help="seeds of those others (default: as many)")
    kept.add_to(parser)
    flags = parser.parse_args()
    studio = open_studio(flags.out, flags.base, flags.truth, flags.seeds)
    rows = flags.out / "rows.json"
    found = json.loads(rows.read_text()) if rows.is_file() else {}
    for name, seeds in wanted(flags).items():
        if len(found.get(name, {}).get("subject", ())) < seeds * len(SCENES) * len(world.SUBJECTS):
            found[name] = studio.measure(name, ways()[name], seeds)
            rows.write_text(json.dumps(found))
            means = {one: round(statistics.fmean(found[name][one]), 3) for one in MEASURES}
            print(name, seeds, means, flush=True)
    short = summary(found)
    print(tables.ways(short))
    kept.keep(flags.keep, short)


if __name__ == "__main__":
    main()
