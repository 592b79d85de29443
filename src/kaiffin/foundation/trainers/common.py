"""What several programs have in common: subjects, bases, optimizers, steps. Torch-free."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kaiffin.foundation.errors import ConfigError
from kaiffin.foundation.samplers import SAMPLERS, elsewhere
from kaiffin.foundation.subject import fill
from kaiffin.foundation.trainers.rows import Draft, Taken, Unlike, as_kind

SCHEDULES = {
    "constant": "constant", "constant_with_warmup": "constant", "linear": "linear",
    "cosine": "cosine",
}  # fmt: skip
NO_SCHEDULE = "constant, linear and cosine are here; ours is cosine unless train.schedule says else"
OPTIMIZERS = {
    "adamw": "adamw", "adamw8bit": "adamw8bit", "pagedadamw8bit": "adamw8bit",
    "adamw_8bit": "adamw8bit", "adam8bit": "adamw8bit", "adam": "adamw", "lion": "lion",
    "prodigy": "prodigy", "adafactor": "adafactor", "adamwschedulefree": "schedulefree",
    "schedule_free_adamw": "schedulefree", "muon": "muon",
}  # fmt: skip
NO_OPTIMIZER = f"choose one of {', '.join(dict.fromkeys(OPTIMIZERS.values()))}: train.optimizer"
PRECISIONS = {
    "no": "fp32", "float": "fp32", "float32": "fp32", "fp32": "fp32", "float_32": "fp32",
    "fp16": "fp16", "float16": "fp16", "float_16": "fp16", "bf16": "bf16", "bfloat16": "bf16",
    "bfloat_16": "bf16", "tfloat_32": "fp32",
}  # fmt: skip
NO_SAMPLER = (
    f"previews are made with dpm++2m unless sample.sampler says else: {', '.join(SAMPLERS)}"
)
MOVED = {"runwayml/stable-diffusion-v1-5": "sd15", "runwayml/stable-diffusion-inpainting": ""}
# Words that stand for a subject in the examples of the field.
RARE = re.compile(r"sks|tok|ohwx|zwx|p3r5on|\[trigger\]|<[^>]+>", re.IGNORECASE)


def base(value: Any) -> Taken:
    """A hub id, a folder or a checkpoint."""
    name = str(value)
    if name.lower().endswith((".ckpt", ".pt", ".bin")):
        raise Unlike("pickles are not opened: give --base a .safetensors file or a hub id")
    note = ""
    if name in MOVED:
        note = "that repository is gone; sd15 is the same base" if MOVED[name] else ""
        name = MOVED[name] or name
    return Taken({"base.name": name}, note)


def buckets(value: Any) -> Taken:
    return Taken({"data.crop": "bucket" if as_kind(value, bool) else "square"})


def crops(value: Any) -> Taken:
    if not as_kind(value, bool):
        return Taken({"data.crops": "fixed"})
    return Taken({"data.crops": "random"}, "up to 1.25 times nearer, too; data.variants of a photo")


def kept_tags(draft: Draft, theirs: str) -> None:
    """So many of the first tags stay where the others are shuffled or left out; there none do
    unless it is said."""
    if draft.settings.get("data.shuffle_tags") or draft.settings.get("data.tag_dropout"):
        draft.take(theirs, {"data.keep_tags": int(draft.number(theirs) or 0)})


def extension(value: Any) -> Taken:
    if str(value).lower().lstrip(".") in ("txt", "caption"):
        return Taken({})
    raise Unlike("captions are read from .txt and .caption: rename the files")


def masks(value: Any) -> Taken:
    return Taken({"data.masks": "alpha" if as_kind(value, bool) else "none"})


def precision(value: Any) -> Taken:
    word = str(value).lower()
    if word not in PRECISIONS:
        raise Unlike("fp32, fp16 and bf16 are here: train.precision")
    return Taken({"train.precision": PRECISIONS[word], "base.dtype": PRECISIONS[word]})


def resolution(value: Any) -> Taken:
    """`512`, `512,768`, `[512, 768]`: the side of the square of equal area, divisible by 8."""
    parts = value if isinstance(value, (list, tuple)) else re.split(r"[,x]", str(value))
    sides = [as_kind(str(part).strip(), int) for part in parts]
    if len(sides) == 1 or sides[0] == sides[-1]:
        side = round(sides[0] / 8) * 8
        return Taken({"data.resolution": side}, "" if side == sides[0] else "divisible by 8 here")
    side = round(math.sqrt(sides[0] * sides[1]) / 8) * 8
    return Taken(
        {"data.resolution": side}, "the square of equal area; data.crop bucket keeps shapes"
    )


def clip(value: Any) -> Taken:
    number = as_kind(value, float)
    if number > 0:
        return Taken({"train.clip": number})
    return Taken({"train.clip": 1e9}, "is never reached: as good as no clipping")


def dropout(value: Any) -> Taken:
    return Taken({"adapter.dropout": as_kind(value or 0, float)})


def clip_skip(value: Any) -> Taken:
    left_out = max(0, as_kind(value, int) - 1)
    note = "of pictures only: trainings read the last layer (SDXL: the penultimate)"
    return Taken({"sample.clip_skip": left_out}, note if left_out else "")


def sampler(value: Any) -> Taken:
    """A sampler, and its schedule where the name says that, too."""
    name, schedule = elsewhere(str(value))
    if name is None:
        raise Unlike(NO_SAMPLER)
    return Taken({"sample.sampler": name} | ({"sample.schedule": schedule} if schedule else {}))


# --- what needs more than one setting ---------------------------------------------------------


def sampler_of(draft: Draft, theirs: str, name: Any) -> Mapping[str, Any]:
    """The settings of a sampler that stands beside a prompt; none, and that is said, without."""
    try:
        return sampler(name).settings if name else {}
    except Unlike as reason:
        draft.miss(f"{theirs} {name}", str(reason))
        return {}


def subject_of_words(words: str) -> Mapping[str, str]:
    """Token and noun of `sks dog`, as folders and class tokens are named."""
    token, _, noun = words.strip().partition(" ")
    return {"subject.token": token, "subject.noun": noun.strip()}


def subject_of_prompt(prompt: str, plain: str = "") -> Mapping[str, str]:
    """Token, noun and template of `a photo of sks dog`. plain: the prompt of the class, if any.

    Without a word that gives itself away the last but one is taken for the token.
    """
    words, common = prompt.split(), [word.lower() for word in plain.split()]
    rare = [word for word in words if RARE.fullmatch(word.strip(",."))]
    own = [word for word in words if word.lower() not in common] if common else []
    token = next(iter([*rare, *own, *words[-2:]]), "").strip(",.")
    rest = prompt.partition(token)[2].strip()
    noun = re.split(r"[,.]| (?:in|on|at|with|by|and) ", rest, maxsplit=1)[0].strip()
    phrase, marks = (f"{token} {noun}", "{token} {noun}") if noun else (token, "{token}")
    template = prompt.replace(phrase, marks, 1) if token else prompt
    return {"subject.token": token, "subject.noun": noun, "data.template": template}


def with_marks(prompt: str, draft: Draft) -> str:
    """A prompt with the subject's phrase as `{token} {noun}`, where it is in it."""
    known = draft.settings | draft.ours
    token, noun = known.get("subject.token") or "", known.get("subject.noun") or ""
    for phrase, marks in ((f"{token} {noun}", "{token} {noun}"), (token, "{token}")):
        if phrase.strip() and re.search(rf"(?<!\w){re.escape(phrase)}(?!\w)", prompt):
            return prompt.replace(phrase, marks, 1)
    return prompt


def class_prompt(settings: Mapping[str, Any]) -> str:
    """The class as the template shows it, for prior preservation."""
    from kaiffin.foundation.config import SubjectConfig

    template = str(settings.get("data.template") or "a photo of {token} {noun}")
    plain = template.replace("{token} ", "").replace("{token}", "").strip()
    noun = str(settings.get("subject.noun") or "thing")
    return fill(plain, SubjectConfig(token="-", noun=noun))


def steps_of_epochs(draft: Draft, name: str, folder: Path | None, repeats: int = 1) -> None:
    """Epochs as steps: how often each photo is seen stays the same."""
    epochs = draft.number(name) or 1
    count = draft.photos(folder) if folder else None
    if not count:
        where = f"{folder} is not here" if folder else "no folder of photos is named"
        draft.miss(name, f"{where}, so its photos cannot be counted: say --steps, else derived")
        return
    batch = int(draft.settings.get("train.batch_size") or 1)
    batch *= int(draft.settings.get("train.accumulate") or 1)
    steps = max(1, math.ceil(count * repeats / batch) * int(epochs))
    told = f"{int(epochs)} times {count} photos" + (
        f", each {repeats} times" if repeats > 1 else ""
    )
    draft.take(name, {"train.steps": steps}, f"{told}, by {batch}")


def warmup(draft: Draft, name: str, of_schedule: str) -> None:
    """Warm-up steps, or a share of all; a `constant` schedule has none there."""
    steps, given = draft.settings.get("train.steps"), draft.number(name) or 0
    if not given:
        return
    if of_schedule == "constant":
        draft.miss(
            name, "there, too, the schedule `constant` has no warm-up; here, train.warmup has"
        )
        return
    if given < 1:
        if not steps:
            draft.miss(name, f"a share of steps that are not known yet; say --train.warmup {name}")
            return
        given = round(given * steps)
    if steps and given >= steps:
        draft.miss(name, f"{int(given)} steps of warm-up leave nothing of {steps}")
        return
    draft.take(name, {"train.warmup": int(given)})


def candidates(draft: Draft, name: str, every: float | None) -> None:
    """Files saved on the way are candidates here: so many, evenly spaced."""
    steps = draft.settings.get("train.steps")
    if not every:
        return
    if not steps:
        draft.miss(name, "depends on the number of steps: score.candidates says how many are kept")
        return
    number = max(1, min(100, round(steps / every)))
    draft.take(name, {"score.candidates": number}, "so many files on the way, evenly spaced")


def pairs(value: Any) -> dict[str, str]:
    """`["conv_dim=4", "conv_alpha=1"]`, or the same as one text."""
    words = value if isinstance(value, (list, tuple)) else str(value or "").split()
    return dict(word.strip("\"'").split("=", 1) for word in map(str, words) if "=" in word)


def convolutions(draft: Draft, rank: int, alpha: float) -> dict[str, Any]:
    """Layers of 3 x 3 have a rank of their own there; the rest of the resnets has the usual one."""
    found: dict[str, Any] = {"adapter.targets": "all-linear+conv"}
    usual = draft.settings.get("adapter.rank"), draft.settings.get("adapter.alpha")
    if (rank, alpha) != usual:
        layers = ("*.conv1", "*.conv2", "*.downsamplers.0.conv", "*.upsamplers.0.conv")
        found["adapter.rules"] = [
            {"layers": f"unet.{one}", "rank": rank, "alpha": alpha} for one in layers
        ]
    return found


def optimizer_arguments(draft: Draft, theirs: str, given: Mapping[str, str]) -> None:
    """`weight_decay` and `betas`; the rest each optimizer has as its package sets it."""
    for name, value in given.items():
        if name == "weight_decay":
            draft.take(theirs, {"train.weight_decay": float(value)})
        elif name == "betas":
            pair = [float(part) for part in re.findall(r"[0-9.e-]+", value)][:2]
            draft.take(theirs, {"train.betas": pair})
        else:
            draft.miss(f"{theirs} {name}={value}", "train.weight_decay and train.betas can be set")


def scheduler(draft: Draft, theirs: str, name: str, cycles: float | None) -> None:
    if draft.settings.get("train.optimizer") == "schedulefree":
        draft.take(theirs, {"train.schedule": "constant"})
    elif name in SCHEDULES:
        draft.take(theirs, {"train.schedule": SCHEDULES[name]})
    elif name.startswith("cosine") and (cycles or 1) == 1:
        draft.take(theirs, {"train.schedule": "cosine"}, "one cycle")
    elif name == "polynomial":
        draft.take(theirs, {"train.schedule": "linear"}, "of power 1")
    else:
        draft.miss(theirs, NO_SCHEDULE)


_OPTION = re.compile(r"\s--([a-z]+)\s((?:(?!\s--[a-z]).)*)")
_MARKS = {"n": "sample.negative", "l": "sample.guidance", "g": "sample.guidance",
          "s": "sample.steps", "d": "sample.preview_seed"}  # fmt: skip


def prompts(draft: Draft, theirs: str, path: Path) -> None:
    """A file of prompts, one a line, with --n, --w, --h, --d, --s and --l behind them."""
    if not path.is_file() or path.suffix.lower() != ".txt":
        draft.miss(theirs, f"{path} is no text file here: write sample.preview_prompts")
        return
    lines = [
        line.strip() for line in path.read_text(encoding="utf-8", errors="replace").splitlines()
    ]
    lines = [line for line in lines if line and not line.startswith("#")]
    settings: dict[str, Any] = {
        "sample.preview_prompts": [with_marks(line.partition(" --")[0], draft) for line in lines]
    }
    first = dict(_OPTION.findall(lines[0])) if lines else {}
    kinds = {"n": str, "l": float, "g": float, "s": int, "d": int}
    for mark, ours in _MARKS.items():
        if mark in first:
            settings[ours] = kinds[mark](first[mark].strip())
    if {"w", "h"} <= first.keys():
        settings["sample.size"] = [int(first["w"]), int(first["h"])]
    settings |= sampler_of(draft, theirs, first.get("ss"))
    draft.take(theirs, settings, "what stands behind the first prompt counts for all")


def refuse(what: str, program: str) -> ConfigError:
    """For a training that Kaiffin does not do at all."""
    return ConfigError(
        f"this {program} training is {what}.",
        "Kaiffin teaches SD 1.x and SDXL with LoRA and its relatives.",
    )
