"""What the miniature can do, in numbers with intervals, written to miniature.md.

Prompts name combinations of species, colour, scene and accessory that training never drew. Two
judges answer for each picture: the CLIP that is shipped, choosing among captions that differ in
one word, and an independent CNN trained on renders.
"""

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from kaiffin.miniature import nets, stages, world
from kaiffin.miniature.build import BuildConfig, draw, load_tokenizer, open_pool, sheet, trained
from kaiffin.miniature.judge import load_judge
from kaiffin.miniature.pool import render_pool
from kaiffin.score.statistics import wilson

log = logging.getLogger("kaiffin.miniature")

QUESTIONS: dict[str, tuple] = {
    "scene": tuple(world.SCENES),
    "species": world.SPECIES,
    "colour": tuple(world.COLOURS),
}
HELD_OUT_SEED = 2


def held_out_specs(count: int) -> list[world.Spec]:
    """Reserved combinations with a character in them."""
    specs = (world.random_spec(HELD_OUT_SEED, index, True) for index in range(count))
    return list(specs)


@torch.no_grad()
def _text_features(config: BuildConfig, clip, texts: list[str]) -> Tensor:
    tokens = stages.tokenize(load_tokenizer(config), texts, full=False)
    return F.normalize(clip.get_text_features(input_ids=tokens).pooler_output, dim=-1)


@torch.no_grad()
def _image_features(clip, images: np.ndarray) -> Tensor:
    pixels = nets.to_pixels(torch.from_numpy(images))
    return F.normalize(clip.get_image_features(pixel_values=pixels).pooler_output, dim=-1)


def _alternative(spec: world.Spec, question: str, answer: str) -> world.Spec:
    """`spec` with one answer changed; a time of day does not follow a scene indoors."""
    time = "day" if question == "scene" else spec.time
    return replace(spec, time=time, **{question: answer})


def clip_answers(config: BuildConfig, images: np.ndarray, specs: list[world.Spec]) -> list[dict]:
    """For each picture and question, the answer whose caption CLIP finds nearest."""
    clip = trained(config, "clip")
    features = _image_features(clip, images)
    named = []
    for feature, spec in zip(features, specs, strict=True):
        row = {}
        for question, answers in QUESTIONS.items():
            texts = [world.full_caption(_alternative(spec, question, a)) for a in answers]
            row[question] = answers[int((_text_features(config, clip, texts) @ feature).argmax())]
        named.append(row)
    return named


COLUMNS = ("scene", "species", "colour", "accessory")


def accuracy(named: list[dict], specs: list[world.Spec]) -> dict[str, tuple[int, int]]:
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


@torch.no_grad()
def vae_psnr(config: BuildConfig, images: np.ndarray) -> float:
    """Decibels of the reconstruction of unseen renders, over all pixels together."""
    vae = trained(config, "vae")
    pixels = nets.to_pixels(torch.from_numpy(images))
    made = vae.decode(vae.encode(pixels).latent_dist.mean).sample.clamp(-1, 1)
    return float(10 * torch.log10(4 / (made - pixels).square().mean()))


def clip_retrieval(config: BuildConfig, images: np.ndarray, specs: list[world.Spec]) -> list[float]:
    """Share of captions whose own picture is the first, or among the first five."""
    clip = trained(config, "clip")
    texts = [world.caption(spec, 3, index) for index, spec in enumerate(specs)]
    scores = _text_features(config, clip, texts) @ _image_features(clip, images).T
    rank = (scores > scores.diagonal()[:, None]).sum(1)
    return [float((rank < k).float().mean()) for k in (1, 5)]


def sample_many(config: BuildConfig, texts: list[str], batch: int = 32) -> np.ndarray:
    """One picture per text at guidance 5 and 25 DDIM steps."""
    unet = trained(config, "unet")
    parts = [
        draw(config, unet, texts[at : at + batch], seed=100 + at)
        for at in range(0, len(texts), batch)
    ]
    return np.concatenate(parts)


def subject_renders() -> np.ndarray:
    """Both held-out characters in every scene; (16, 64, 64, 3) uint8."""
    return np.stack(
        [
            np.asarray(world.subject_render(name, scene, nets.SIZE))
            for name in world.SUBJECTS
            for scene in world.SCENES
        ]
    )


def _sheets(config: BuildConfig, folder: Path, images: np.ndarray) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    page = sheet(images[:48], 8)
    page.resize((page.width * 2, page.height * 2), 0).save(folder / "miniature-samples.png")
    sheet(subject_renders(), 8).resize((1024, 256), Image.Resampling.NEAREST).save(
        folder / "miniature-subjects.png"
    )


def _costs(config: BuildConfig) -> list[str]:
    """What each stage took, from the note it left when it was done."""
    rows = []
    for stage in ("clip", "vae", "unet"):
        note = config.out / stage / "done"
        if note.exists():
            samples, seconds = note.read_text().split()
            millions = sum(p.numel() for p in trained(config, stage).parameters()) / 1e6
            rows.append(
                f"| {stage} | {millions:.2f} M | {int(samples):,} | {float(seconds) / 60:.1f} min |"
            )
    return rows


def measure(config: BuildConfig, count: int = 1000) -> dict:
    """All numbers of the report. Renders go through the same judges, as their ceiling."""
    specs = held_out_specs(1000)
    pool = render_pool(
        config.out / "held_out.npy", 1000, nets.SIZE, HELD_OUT_SEED, config.workers, reserved=True
    )
    renders, asked = np.array(pool), specs[:count]
    samples = sample_many(config, [world.full_caption(spec) for spec in asked])
    judge = load_judge(config.out / "judge.safetensors", open_pool(config).pixels, config.seed)
    return {
        "samples": samples,
        "rows": [
            _row("CLIP", "samples", accuracy(clip_answers(config, samples, asked), asked)),
            _row("CNN", "samples", accuracy(judge.name(samples), asked)),
            _row("CLIP", "renders", accuracy(clip_answers(config, renders[:count], asked), asked)),
            _row("CNN", "renders", accuracy(judge.name(renders), specs)),
        ],
        "psnr": vae_psnr(config, renders[:256]),
        "subject_psnr": vae_psnr(config, subject_renders()),
        "recall": clip_retrieval(config, renders, specs),
        "count": count,
    }


def write_report(config: BuildConfig, docs: Path) -> None:
    """Measure, then write miniature.md and its pictures into `docs`."""
    facts = measure(config)
    _sheets(config, docs / "images", facts["samples"])
    template = (Path(__file__).parent / "report_template.md").read_text(encoding="utf-8")
    text = template.format(
        count=facts["count"],
        table="\n".join(facts["rows"]),
        costs="\n".join(_costs(config)),
        psnr=facts["psnr"],
        subject_psnr=facts["subject_psnr"],
        recall1=facts["recall"][0],
        recall5=facts["recall"][1],
        pictures=config.pictures,
        latents=len(np.load(config.out / "latents.npy", mmap_mode="r")),
        megabytes=sum(f.stat().st_size for f in config.weights_folder.rglob("*.*")) / 1e6,
    )
    (docs / "miniature.md").write_text(text, encoding="utf-8")
    log.info("report\n%s", "\n".join(facts["rows"]))
