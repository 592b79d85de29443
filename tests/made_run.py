"""A run folder as `train` and `choose` leave it, made in a second: pictures with real recipes
inside, scores that rise, turn and fall."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from PIL import Image

from kaiffin.foundation.run import Run
from kaiffin.foundation.settings import build, override
from kaiffin.pictures.recipe import save_png
from kaiffin.pictures.request import AdapterRef, Request
from kaiffin.score.statistics import clustered

PROMPTS = {
    "scenes": ["a photo of {s} in the snow", "a photo of {s} on a beach"],
    "styles": ["an oil painting of {s}"],
    "class": ["a photo of a bird"],
    "unrelated": ["a red car"],
}
SEEDS = (1, 2)
STEPS = (40, 80, 120)
BASE = {"name": "miniature", "family": "sd1", "revision": "ab" * 32}
MEASURED = (
    "likeness", "prompt_share", "identity", "clip_t", "win", "copying", "copy", "drift", "leak",
)  # fmt: skip
Paint = Callable[[int, int, int], Image.Image]  # (step, prompt, seed) -> picture


def flat(step: int, prompt: int, seed: int) -> Image.Image:
    """A small picture unlike any other."""
    image = Image.new("RGB", (16, 16), (step, 40 * prompt, 90 * seed))
    image.putpixel((step % 16, prompt), (255, 255, 255))
    return image


def made_run(folder: Path, subject: str = "kaiffin", **settings: object) -> Run:
    """A finished run with two photos, one of them held out, and 120 steps of loss."""
    photos = folder.parent / "photos"
    photos.mkdir(parents=True, exist_ok=True)
    for name, colour in (("one.png", "red"), ("two.png", "blue")):
        Image.new("RGB", (64, 48), colour).save(photos / name)
    given = {"subject.token": subject, "subject.noun": "bird", "data.photos": str(photos)}
    run = Run.create(folder, build(override({}, given | settings)))
    lines = [
        {"step": i, "loss": 0.1 + 0.4 / i, "prior_loss": None, "seconds": 0.5}
        for i in range(1, 121)
    ]
    run.metrics_path.write_text("\n".join(json.dumps(line) for line in lines) + '\n{"torn')
    run.write_json(
        "manifest.json",
        {"kaiffin": "0.1.0", "base": BASE, "data": "d" * 64, "num_photos": 2, "trainable": 1234567,
         "versions": {"torch": "2.13.0"}, "refused": [], "phases": [{"name": "", "first": 0,
         "last": 120, "trains": ["unet"]}], "derived": ["adapter.rank = 16"]},
    )  # fmt: skip
    run.folder("data")
    run.write_json(
        "data/manifest.json",
        {
            "photos": [
                {
                    "file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
                    "size": [64, 48], "captions": [f"a photo of {subject}"],
                    "held_out": path.name == "two.png",
                }
                for path in sorted(photos.iterdir())
            ],
            "refused": [], "findings": [],
        },
    )  # fmt: skip
    layers = {"unet": 115, "text_encoder": 0}
    proof = {"layers": layers, "difference": 4e-7, "allowed": 1e-2, "holds": True, "problems": []}
    run.write_json("proof.json", proof)
    run.adapter_path.write_bytes(b"adapter")
    return run


def judge(
    run: Run, *, paint: Paint = flat, prompts: dict[str, list[str]] | None = None,
    steps: Sequence[int] = STEPS, seeds: Sequence[int] = SEEDS, chosen: int = 80,
) -> dict:  # fmt: skip
    """Writes choice.json with its pictures and best.safetensors, and returns what it holds."""
    subject = run.config.subject.phrase
    asked = [
        {
            "text": text.replace("{s}", subject),
            "plain": text.replace("{s}", "bird"),
            "section": name,
        }
        for name, texts in (prompts or PROMPTS).items()
        for text in texts
    ]
    stops = [_stop(run, step, asked, seeds, paint) for step in (0, *steps)]
    for stop in stops[1:]:
        stop["means"] = {}
        for name in MEASURED:
            scored = [row for row in stop["rows"] if row[name] is not None]
            if scored:
                values = [float(row[name]) for row in scored]
                mean = clustered(values, [row["prompt"] for row in scored])
                stop["means"][name] = asdict(mean)
        stop["overall"] = stop["means"]["likeness"]
    choice = {
        "version": 1, "judge": "miniature", "identity_judge": "miniature",
        "references": {"kind": "held-out", "photos": ["two.png"], "ceiling": 0.8,
                       "words": "compared with 1 photo that was not trained on"},
        "set": {"prompts": asked, "seeds": list(seeds), "sample": {"steps": 25}},
        "base": {"pictures": stops[0]["pictures"], "rows": stops[0]["rows"]},
        "candidates": stops[1:], "pareto": list(steps[:2]), "chosen": chosen,
        "highest": steps[-1], "against": None,
        "verdict": f"no difference between steps {chosen} and {steps[-1]}: take step {chosen}",
        "findings": ["overfitting begins near step 120: copying rises, the prompt falls"],
        "cost": {"pictures": len(asked) * len(seeds) * len(stops), "seconds": 61.0},
    }  # fmt: skip
    run.write_json("choice.json", choice)
    run.best_path.write_bytes(b"best")
    return choice


def _stop(
    run: Run, step: int, asked: Sequence[dict], seeds: Sequence[int], paint: Paint
) -> dict[str, object]:
    pictures, rows = [], []
    adapter = AdapterRef("kaiffin.safetensors", f"kaiffin-step-{step}", "ef" * 32, 1.0)
    for i, prompt in enumerate(asked):
        for seed in seeds:
            path = run.folder("evaluation") / f"{step}-{i}-{seed}.png"
            save_png(paint(step, i, seed), path, _recipe(prompt["text"], seed, adapter, step))
            pictures.append(path.relative_to(run.path).as_posix())
            rows.append(_row(step, i, seed, prompt["section"]))
    file = f"candidates/kaiffin-step-{step:08d}.safetensors"
    return {"step": step, "adapter": file, "sha256": "ef" * 32, "loss": 0.2 - step / 1000,
            "pictures": pictures, "rows": rows}  # fmt: skip


def _recipe(prompt: str, seed: int, adapter: AdapterRef, step: int) -> dict:
    return {
        "kaiffin": "0.1.0", "torch": "2.13.0", "device": "cpu", "dtype": "float32",
        "base": {**BASE, "quantize": "none"}, "adapters": [asdict(adapter)] if step else [],
        "request": asdict(Request(prompt, seed, 16, 16)),
    }  # fmt: skip


def _row(step: int, prompt: int, seed: int, section: str) -> dict[str, object]:
    rng = np.random.default_rng((step, prompt, seed))
    noise = rng.normal(0, 0.01)
    row: dict[str, object] = {"prompt": prompt, "seed": seed, "section": section}
    row |= dict.fromkeys((*MEASURED, "nearest"))
    if section in ("class", "unrelated"):
        row["drift"] = step / 1000
        return row | ({"leak": step / 500} if section == "class" else {})
    return row | {
        "likeness": min(step, 80) / 100 + (noise if step else 0),
        "prompt_share": 1 - step / 400 + (noise if step else 0),
        "identity": 0.3 + min(step, 80) / 200 + noise, "clip_t": 0.35 - step / 2000 + noise,
        "win": float(step < 120 or seed == 1), "copying": 0.3 + step / 250 + noise,
        "copy": step == 120 and seed == 2, "nearest": "one.png",
    }  # fmt: skip
