"""What a training does: LoRA, DreamBooth's prior, memorising."""

from __future__ import annotations

import chart
import stage
import torch
from PIL import Image
from stage import IDEAS, NEW, NEW_NAMES, note, pictures, save

from kaiffin.adapters.files import safe
from kaiffin.adapters.lora import Lora
from kaiffin.adapters.stack import full_modules
from kaiffin.adapters.strength import parse
from kaiffin.adapters.targets import LoraSpec
from kaiffin.foundation.run import Run
from kaiffin.pictures.make import WeightedAdapter
from kaiffin.score import measures

LEAD = "a photo of kaiffin penguin"


def worn(run: Run, strength: float = 1.0) -> list[WeightedAdapter]:
    return [WeightedAdapter(run.adapter_path, parse(f"{strength:g}"))]


def lora() -> None:
    """Strength on one seed, what the learnt matrices hold, and how small the kinds are."""
    run = stage.trained("lora")
    strengths = [i / 10 for i in range(16)]
    prompts = [f"{LEAD} in the snow", "a photo of a penguin in the snow"]
    rows = [[pictures([p], [1], worn(run, s))[0] for s in strengths] for p in prompts]
    for name, frames in zip(("lora-subject", "lora-class"), rows, strict=True):
        stage.strip(name, frames)
    picks = (0, 3, 6, 8, 10, 13, 15)
    labels = [f"strength {strengths[i]:g}" for i in picks]
    save("lora-strength", [row[i] for row in rows for i in picks], labels * 2, columns=len(picks))
    spectrum, tensors = {}, safe.read(run.adapter_path)[0]
    for name in sorted(n for n in tensors if n.endswith("lora_up.weight"))[::20][:4]:
        up = tensors[name].flatten(1).float()
        down = tensors[name.replace("lora_up", "lora_down")].flatten(1).float()
        values = torch.linalg.svdvals(up @ down)[: down.shape[0]]
        short = name.removeprefix("lora_unet_").removesuffix(".lora_up.weight")
        spectrum[".".join(short.split("_")[-3:])] = [
            (float(i + 1), max(float(v / values[0]), 1e-3)) for i, v in enumerate(values)
        ]
    chart.lines(
        IDEAS / "lora-spectrum.svg", spectrum, "singular value, largest first", "share of the first"
    )
    weights = sum(p.numel() for p in stage.family().towers["unet"].parameters())
    kinds = [f"`{kind}` | {sizes(kind, 16):,} | {sizes(kind, 4):,}" for kind in KINDS]
    note(
        "lora",
        f"The miniature's UNet has {weights:,} weights. What each kind trains beside them, in the"
        " layers of the preset:\n\n"
        + stage.table("kind | rank 16 | rank 4", kinds)
        + f"\n\nThe file of this page's training (rank 16): {run.adapter_path.stat().st_size:,}"
        " bytes.",
    )


KINDS = ("lora", "dora", "loha", "lokr", "oft")


def sizes(kind: str, rank: int) -> int:
    """How many weights an adapter of a kind trains."""
    modules = full_modules(stage.family())
    spec = LoraSpec("all-linear+conv", rank, float(rank), kind=kind)
    made = Lora.create({"unet": spec}, modules, seed=0)
    return sum(p.numel() for p in made.parameters())


def dreambooth() -> None:
    """The same training with and without pictures of the class."""
    weights = (0.0, 0.2, 1.0)
    seeds, rows, images, labels = range(4), [], [], []
    plain = [f"a photo of a penguin {place}" for place in NEW]
    before = pictures(plain, seeds)
    images += before[::4]
    labels += [f"the class before, {place}" for place in NEW_NAMES]
    judge = stage.scorer()
    for weight in weights:
        run = stage.trained(f"prior-{weight:g}", data__prior__weight=weight)
        after = pictures(plain, seeds, worn(run))
        mine = pictures([f"{LEAD} {place}" for place in NEW], seeds, worn(run))
        images += after[::4]
        labels += [f"prior {weight:g}: the class after"] * len(NEW)
        drift = 1 - (judge.embed_images(before) * judge.embed_images(after)).sum(1)
        right = sum(row["species"] == "kaiffin" for row in stage.named(mine))
        kept = sum(row["species"] == "penguin" for row in stage.named(after))
        rows.append(
            f"{weight:g} | {stage.share(right, len(mine))} | {stage.share(kept, len(after))} |"
            f" {stage.told_as(stage.mean(drift.tolist(), 4))}"
        )
    save("dreambooth", images, labels, columns=len(NEW))
    note(
        "dreambooth",
        f"One training each, {len(plain)} places that the photos do not show, 4 seeds; named by a"
        " network that was trained on renders alone:\n\n"
        + stage.table(
            "`data.prior.weight` | subject right | class kept | drift of the class", rows
        ),
    )


def memorising() -> None:
    """Three photos at too high a rate, with one caption for all, then each with its own."""
    settings = {
        "count": 3, "train__lr": 5e-3, "train__steps": 400, "train__schedule": "constant",
        "score__candidates": 8, "data__prior__weight": 0.0,
    }  # fmt: skip
    run = stage.trained("memorising", data__ignore_captions=True, **settings)
    told = stage.trained("memorising-told", **settings)
    photos = [Image.open(p) for p in sorted(run.config.data.photos.glob("*.png"))]
    judge, seeds = stage.scorer(), range(4)
    prompts = [f"{LEAD} {place}" for place in NEW]
    wanted = [name for name in NEW_NAMES for _ in seeds]
    rows, images, labels = [], [*photos], [f"photo {i + 1}" for i in range(len(photos))]
    images += [Image.new("RGB", photos[0].size, "white")] * (len(NEW) - len(photos))
    labels += [""] * (len(NEW) - len(photos))
    references, layouts = judge.embed_images(photos), torch.stack([*map(measures.layout, photos)])
    every = [(str(step), path) for step, path in run.candidates()]
    for step, path in [*every, ("400, with captions", told.candidates()[-1][1])]:
        made = pictures(prompts, seeds, [WeightedAdapter(path)])
        like = measures.identity(judge.embed_images(made), references, held_out=True)
        place = sum(
            row["scene"] == name for row, name in zip(stage.named(made), wanted, strict=True)
        )
        nearest = [float((layouts @ measures.layout(image)).max()) for image in made]
        rows.append(
            f"{step} | {stage.told_as(stage.mean(like.tolist(), 4))} |"
            f" {stage.share(place, len(made))} | {stage.told_as(stage.mean(nearest, 4))}"
        )
        if step in ("50", "100", "200", "400", "400, with captions"):
            images += made[::4]
            labels += [f"{name}: step {step}" for name in NEW_NAMES]
    save("memorising", images, labels, columns=len(NEW))
    head = "step | like the photos (CLIP-I) | place right | layout of the nearest photo"
    note(
        "memorising",
        f"Three photos, a constant rate of 5e-3, {len(prompts)} places that they do not show on 4"
        " seeds; one training:\n\n" + stage.table(head, rows),
    )


def captions() -> None:
    """The same photos and steps, with captions that name the place and without."""
    prompts, seeds = [f"{LEAD} {place}" for place in NEW], range(8)
    rows, images, labels = [], [], []
    wanted = [name for name in NEW_NAMES for _ in seeds]
    for told, off in (("captions", False), ("one template for all", True)):
        run = stage.trained(
            f"captions-{off}", count=12, train__steps=400, data__ignore_captions=off
        )
        made = pictures(prompts, seeds, worn(run))
        found = stage.named(made)
        subject = sum(row["species"] == "kaiffin" for row in found)
        place = sum(row["scene"] == name for row, name in zip(found, wanted, strict=True))
        rows.append(
            f"{told} | {len(made)} | {stage.share(subject, len(made))} |"
            f" {stage.share(place, len(made))}"
        )
        images += made[:: len(seeds)]
        labels += [f"{told}, {name}" for name in NEW_NAMES]
    save("captions", images, labels, columns=len(NEW))
    note("captions", stage.table("photos with | pictures | subject right | place right", rows))
