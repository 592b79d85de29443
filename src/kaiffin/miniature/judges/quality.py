"""What the miniature and its XL twin can do, in numbers with intervals, for miniature.md.

Prompts name combinations of species, colour, scene and accessory that training never drew; the
pictures are made as `kaiffin generate` makes them. Two judges answer for each picture: the CLIP
that is shipped, choosing among captions that differ in one word, and an independent CNN trained on
renders.
"""

from collections.abc import Callable
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from kaiffin.foundation.folder import write_bytes, write_json
from kaiffin.foundation.tell import SILENT, Tell
from kaiffin.miniature.build import nets, stages
from kaiffin.miniature.build.marathon import read_losses
from kaiffin.miniature.build.pool import render_pool
from kaiffin.miniature.build.recipe import BuildConfig
from kaiffin.miniature.build.twin import picture_embeddings
from kaiffin.miniature.build.workshop import load_tokenizer, open_pool, trained
from kaiffin.miniature.judges.judge import Judge, load_judge
from kaiffin.miniature.judges.looking import draw, sheet, size_sheet
from kaiffin.miniature.judges.showing import subject_renders, vae_facts
from kaiffin.miniature.world import world
from kaiffin.miniature.world.vocabulary import (
    ACCESSORIES,
    COLOURS,
    INDOORS,
    SCENES,
    SPECIES,
    TIMES,
    Spec,
)
from kaiffin.models.files.embedded import FAST
from kaiffin.score.statistics import wilson

QUESTIONS: dict[str, tuple] = {
    "scene": tuple(SCENES),
    "species": SPECIES,
    "colour": tuple(COLOURS),
}
REPORT = "miniature.md"
HELD_OUT_SEED = 2
NETWORKS = ("clip", "vae", "unet", "second", "twin", "grow")
DRAWN = 30  # points of a curve


def held_out_specs(count: int) -> list[Spec]:
    """Reserved combinations with a character in them."""
    specs = (world.random_spec(HELD_OUT_SEED, index, True) for index in range(count))
    return list(specs)


# --- pictures named ---------------------------------------------------------------------------


@torch.no_grad()
def _text_features(config: BuildConfig, clip, texts: list[str]) -> Tensor:
    tokens = stages.tokenize(load_tokenizer(config), texts, full=False)
    return F.normalize(clip.get_text_features(input_ids=tokens).pooler_output, dim=-1)


def _alternative(spec: Spec, question: str, answer: str) -> Spec:
    """`spec` with one answer changed; a time of day does not follow a scene indoors."""
    time = "day" if question == "scene" else spec.time
    return replace(spec, time=time, **{question: answer})


def clip_answers(config: BuildConfig, images: np.ndarray, specs: list[Spec]) -> list[dict]:
    """For each picture and question, the answer whose caption CLIP finds nearest."""
    clip = trained(config, "clip")
    features = picture_embeddings(clip, images)
    named = []
    for feature, spec in zip(features, specs, strict=True):
        row = {}
        for question, answers in QUESTIONS.items():
            texts = [world.full_caption(_alternative(spec, question, a)) for a in answers]
            row[question] = answers[int((_text_features(config, clip, texts) @ feature).argmax())]
        named.append(row)
    return named


COLUMNS = ("scene", "species", "colour", "accessory")


def accuracy(named: list[dict], specs: list[Spec]) -> dict[str, tuple[int, int]]:
    """(hits, count) of every question the judge answered, and of `all` where it answered all."""
    right = [
        {question: answer == getattr(spec, question) for question, answer in row.items()}
        for row, spec in zip(named, specs, strict=True)
    ]
    found = {q: (sum(row[q] for row in right), len(specs)) for q in named[0]}
    if set(COLUMNS) <= set(named[0]):
        found["all"] = (sum(all(row.values()) for row in right), len(specs))
    return found


def _row(judge: str, what: str, scores: dict[str, tuple[int, int]]) -> str:
    cells = []
    for question in (*COLUMNS, "all"):
        if question not in scores:
            cells.append("")
            continue
        hits, count = scores[question]
        low, high = wilson(hits, count)
        cells.append(f"{hits / count:.1%} ({low:.1%} to {high:.1%})")
    return f"| {what} | {judge} | {' | '.join(cells)} |"


# --- the CLIP -----------------------------------------------------------------------------------


Caption = Callable[[Spec, int], str]


def retrieval(
    config: BuildConfig, images: np.ndarray, specs: list[Spec], caption: Caption
) -> list[float]:
    """Share of captions whose own picture CLIP finds first, or among the first five."""
    clip = trained(config, "clip")
    texts = [caption(spec, index) for index, spec in enumerate(specs)]
    scores = _text_features(config, clip, texts) @ picture_embeddings(clip, images).T
    rank = (scores > scores.diagonal()[:, None]).sum(1)
    return [float((rank < k).float().mean()) for k in (1, 5)]


def drawn_caption(spec: Spec, index: int) -> str:
    """A caption as training draws it, with things left out."""
    return world.caption(spec, 3, index)


def whole_caption(spec: Spec, index: int = 0) -> str:
    """A caption that leaves nothing out that captions ever say."""
    worn = ACCESSORIES[spec.accessory][0] if spec.accessory else ""
    time = "" if spec.scene in INDOORS else TIMES[spec.time][-1]
    place = SCENES[spec.scene][0]
    parts = ("a photo of", f"a {spec.colour} {spec.species}", worn, spec.pose, place, time)
    return " ".join(part for part in parts if part)


def possible(specs: list[Spec], caption: Caption) -> float:
    """The share of firsts of a judge that errs never: a caption that fits n pictures gives 1/n."""

    def told(spec: Spec, text: str) -> list[tuple[str, str]]:
        words = {
            "species": (str(spec.species),),
            "colour": (spec.colour,),
            "scene": SCENES[spec.scene],
            "time": tuple(filter(None, TIMES[spec.time])),
            "pose": (spec.pose,),
            "accessory": ACCESSORIES[spec.accessory] if spec.accessory else (),
        }
        return [
            (field, getattr(spec, field))
            for field, ways in words.items()
            if any(f" {way} " in f" {text} " for way in ways)
        ]

    shares = []
    for index, spec in enumerate(specs):
        facts = told(spec, caption(spec, index))
        shares.append(1 / sum(all(getattr(s, f) == v for f, v in facts) for s in specs))
    return sum(shares) / len(shares)


def distinct_specs(count: int) -> list[Spec]:
    """Reserved specs of which no two have the same whole caption."""
    found: dict[str, Spec] = {}
    index = 0
    while len(found) < count:
        spec = world.random_spec(HELD_OUT_SEED + 1, index, reserved=True)
        found.setdefault(whole_caption(spec), spec)
        index += 1
    return list(found.values())


# --- the report -------------------------------------------------------------------------------


def individuals(count: int = 24) -> np.ndarray:
    """The first animals of unusual build in training; (count, SIDE, SIDE, 3) uint8."""
    specs = (world.training_spec(1, index) for index in range(20 * count))
    unusual = [spec for spec in specs if spec.individual is not None][:count]
    return np.stack([np.asarray(world.render(spec)) for spec in unusual])


def _costs(config: BuildConfig) -> str:
    """What each stage took, from the note it left when it was done."""
    rows = []
    for stage in NETWORKS:
        note = config.done(stage)
        if note.exists():
            samples, seconds = note.read_text().split()
            millions = sum(p.numel() for p in trained(config, stage).parameters()) / 1e6
            rows.append(
                f"| {stage} | {millions:.2f} M | {int(samples):,} | {float(seconds) / 60:.1f} min |"
            )
    return "\n".join(rows)


def curve(config: BuildConfig, stage: str) -> str:
    """The losses of a stage as a chart of Mermaid, which the pages of code hosts draw."""
    rows = np.array(read_losses(config.out / stage))
    if not len(rows):
        return "(No losses were kept.)"
    low, high = rows[0, 0], rows[-1, 0]
    place = np.minimum((rows[:, 0] - low) * DRAWN // max(1, high - low), DRAWN - 1)
    values = [f"{rows[place == p, 2].mean():.4f}" for p in np.unique(place)]
    thousands = f"{low / 1000:.0f} --> {high / 1000:.0f}"
    return "\n".join([
        "```mermaid", "xychart-beta", f'    title "{stage}: loss"',
        f'    x-axis "thousand samples" {thousands}', '    y-axis "loss"',
        f"    line [{', '.join(values)}]", "```",
    ])  # fmt: skip


def table(config: BuildConfig, weights: Path, count: int, also_renders: bool) -> dict:
    """Samples of a base on held-out prompts, and what the judges name in them."""
    asked = held_out_specs(count)
    samples = draw(weights, [world.full_caption(spec) for spec in asked])
    judge = _judge(config)
    named = [("samples", samples)]
    if also_renders:
        named.append(("renders", _renders(config)[:count]))
    rows = []
    for what, images in named:
        rows.append(_row("CLIP", what, accuracy(clip_answers(config, images, asked), asked)))
        rows.append(_row("CNN", what, accuracy(judge.name(images), asked)))
    return {"samples": samples, "rows": "\n".join(rows)}


def _judge(config: BuildConfig) -> Judge:
    return load_judge(config.judge, open_pool(config).pixels, config.seed)


def _renders(config: BuildConfig) -> np.ndarray:
    """1,000 renders of reserved combinations, in the order of `held_out_specs`."""
    path = config.out / "held_out.npy"
    pool = render_pool(path, 1000, nets.SIZE, HELD_OUT_SEED, config.workers, reserved=True)
    return np.array(pool)


def facts(config: BuildConfig) -> dict:
    """The numbers of the CLIP."""
    specs, renders = held_out_specs(1000), _renders(config)
    distinct = distinct_specs(1000)
    shown = np.stack([np.asarray(world.render(spec, nets.SIZE)) for spec in distinct])
    drawn, whole = (
        retrieval(config, images, asked, caption)
        for images, asked, caption in (
            (renders, specs, drawn_caption),
            (shown, distinct, whole_caption),
        )
    )
    return {
        "drawn1": drawn[0], "drawn5": drawn[1], "possible": possible(specs, drawn_caption),
        "whole1": whole[0], "whole5": whole[1],
    }  # fmt: skip


def _megabytes(folder: Path, files: str = "*.*") -> float:
    return sum(f.stat().st_size for f in folder.rglob(files)) / 1e6


def write_report(config: BuildConfig, docs: Path, count: int = 1000, tell: Tell = SILENT) -> Path:
    """Measure, then write miniature.md, its numbers and its pictures into `docs`; `make docs` puts
    in what personalising brings."""
    folder = docs / "images"
    folder.mkdir(parents=True, exist_ok=True)
    _judge(config), _renders(config)  # made once, before two processes want them
    jobs = [
        (config, config.weights_folder, count, True),
        (config, config.twin_folder, count, False),
    ]
    with get_context("spawn").Pool(min(2, config.workers)) as workers:
        base, twin = workers.starmap(table, jobs, chunksize=1)
    sheet(base["samples"][:48], 8).save(folder / "miniature-samples.png")
    sheet(twin["samples"][:48], 8).save(folder / "miniature-xl-samples.png")
    sheet(subject_renders(), 8).save(folder / "miniature-subjects.png")
    sheet(individuals(), 12).save(folder / "miniature-individuals.png")
    shown, pictures = vae_facts(config, held_out_specs(256))
    sheet(pictures, 8).save(folder / "miniature-grown.png")
    size_sheet(config.twin_folder).save(folder / "miniature-xl-sizes.png")
    found = {
        "count": count, "table": base["rows"], "twin_table": twin["rows"],
        "costs": _costs(config),
        "curves": "\n\n".join(curve(config, stage) for stage in ("unet", "twin")),
        "pictures": config.pictures, "megabytes": _megabytes(config.weights_folder),
        "twin_megabytes": _megabytes(config.twin_folder),
        "fast_megabytes": _megabytes(config.weights_folder, FAST), **shown, **facts(config),
    }  # fmt: skip
    write_json(docs / "measured" / "miniature.json", found)
    template = (Path(__file__).parents[1] / "report_template.md").read_text(encoding="utf-8")
    write_bytes(docs / REPORT, template.format(**found).encode())
    tell.note(f"report\n{base['rows']}\n{twin['rows']}")
    return docs / REPORT
