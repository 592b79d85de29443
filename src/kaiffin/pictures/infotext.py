"""The `parameters` text of A1111's web UI, which most viewers and galleries read: written so that
it is read back as it was, there and here. Torch-free."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from kaiffin.adapters import strength
from kaiffin.foundation.prompts import escaped, in_tag, untagged
from kaiffin.foundation.samplers import BASE, SAMPLERS, SCHEDULES, elsewhere
from kaiffin.pictures.start import Start

NEGATIVE = "Negative prompt:"
FACT = re.compile(r'\s*(\w[\w \-/]*):\s*("(?:\\.|[^\\"])*"|[^,]*)(?:,|$)')
LEAST = 3  # facts that make a line one of facts
SYNTAX = "Prompt syntax"  # ours: which the weights are of
INTERVAL = "CFG interval"  # ours, in sigma
HIGHEST = 10_000.0  # above any sigma
WEAKER = "CFG negative strength"  # ours


@dataclass(frozen=True)
class Parameters:
    """What such a text says. prompt: with its tags; sample: as `sample` has its settings, those
    that are said and known here."""

    prompt: str
    seed: int | None
    sample: Mapping[str, Any]


def written(recipe: Mapping[str, Any]) -> str:
    """The text of a picture's recipe."""
    request, base = recipe["request"], recipe["base"]
    schedule = SCHEDULES[request.get("schedule", BASE)]  # an older recipe says neither
    syntax = request.get("prompt_syntax", "plain")
    tags = "".join(f" {tag(one['name'], one['weight'])}" for one in recipe["adapters"])
    facts = {
        "Steps": request["steps"],
        "Sampler": SAMPLERS[request["sampler"]].a1111,
        "Schedule type": schedule.a1111,
        "CFG scale": _number(request["guidance"]),
        "CFG Rescale": _unless(0.0, request.get("guidance_rescale", 0)),
        **_part_of_guidance(request),
        "Seed": request["seed"],
        "Size": f"{request['width']}x{request['height']}",
        **(Start(**request["start"]).parameters() if request.get("start") else {}),
        "Model hash": base["revision"][:10],
        "Model": base["name"],
        "Clip skip": request["clip_skip"] + 1,
        "Eta DDIM": _unless(0.0, request["eta"]),
        SYNTAX: syntax if syntax == "comfyui" else "",
        "Lora hashes": _hashes(recipe["adapters"]),
        "TI hashes": _hashes(recipe.get("embeddings", ())),
        "RNG": "CPU",
        "Version": f"Kaiffin {recipe['kaiffin']}",
    }
    line = ", ".join(f"{name}: {_quoted(value)}" for name, value in facts.items() if value != "")
    prompt, other = (_said(request[name], syntax) for name in ("prompt", "negative"))
    negative = f"\n{NEGATIVE} {other}" if other else ""
    return f"{prompt}{tags}{negative}\n{line}"


def _part_of_guidance(request: Mapping[str, Any]) -> dict[str, str]:
    """Where guidance acts, and with which adapters in its negative half. An older recipe says
    neither."""
    low, high = request.get("guidance_interval") or (0.0, 0.0)
    return {
        INTERVAL: f"{_number(low)} {_number(high)}" if high else "",
        "NGMS": _unless(0.0, low),
        "NGMS all steps": "True" if low else "",
        WEAKER: _unless(1.0, request.get("negative_strength", 1.0)),
    }


def read(text: str) -> Parameters:
    """Raises ValueError for a text without such a line of facts."""
    *lines, last = text.strip(" \n").split("\n")
    found = FACT.findall(last)
    if len(found) < LEAST:
        raise ValueError("no line of settings")
    facts = {name.strip(): _unquoted(value) for name, value in found}
    negative_from = next((i for i, s in enumerate(lines) if s.strip().startswith(NEGATIVE)), None)
    prompt, other = lines[:negative_from], [] if negative_from is None else lines[negative_from:]
    negative = "\n".join(other).strip().removeprefix(NEGATIVE).strip()
    seed = int(facts["Seed"]) if facts.get("Seed", "").isdecimal() else None
    return Parameters("\n".join(prompt).strip(), seed, {"negative": negative, **_sample(facts)})


def _sample(facts: Mapping[str, str]) -> dict[str, Any]:
    sampler, schedule = elsewhere(facts.get("Sampler", ""), facts.get("Schedule type", ""))
    size = re.fullmatch(r"(\d+)x(\d+)", facts.get("Size", ""))
    skip = int(facts["Clip skip"]) - 1 if "Clip skip" in facts else None
    number = {
        ours: float(facts[theirs])
        for ours, theirs in (
            ("guidance", "CFG scale"), ("guidance_rescale", "CFG Rescale"), ("eta", "Eta DDIM"),
            ("negative_strength", WEAKER),
        )
        if theirs in facts
    }  # fmt: skip
    found = {
        "steps": int(facts["Steps"]) if "Steps" in facts else None, **number, "sampler": sampler,
        "schedule": schedule, "size": [int(size[1]), int(size[2])] if size else None,
        "clip_skip": skip, "prompt_syntax": facts.get(SYNTAX),
        "guidance_interval": _interval(facts),
    }  # fmt: skip
    return {name: value for name, value in found.items() if value is not None}


def _interval(facts: Mapping[str, str]) -> tuple[float, float] | None:
    """A1111 knows no end of it above."""
    if INTERVAL in facts:
        low, high = map(float, facts[INTERVAL].split())
        return low, high
    above = "NGMS" in facts and facts.get("NGMS all steps") == "True"
    return (float(facts["NGMS"]), HIGHEST) if above else None


def tag(name: str, weight: float | str) -> str:
    """`<lora:NAME:0.8>`, or with a weight for the text encoders and one for the denoiser. What
    changes on the way is said as it is at the first step, and other parts not at all."""
    weights = strength.parse(str(weight))
    text, unet = weights.at("text_encoder.", 0.0), weights.at("unet.", 0.0)
    said = _number(unet) if text == unet else f"{_number(text)}:{_number(unet)}"
    return f"<lora:{in_tag(name)}:{said}>"


def _said(text: str, syntax: str) -> str:
    """A prompt as the web UI reads it: AND is the word that it is here, and no line looks like
    another part of the text."""
    said = escaped(text) if syntax == "plain" else untagged(re.sub(r"\bAND\b", "and", text))
    return re.sub(rf"(?m)^([^\S\n]*)(?={NEGATIVE}|Steps:)", r"\1\\", said)


def _hashes(files: Sequence[Mapping[str, Any]]) -> str:
    """`name: hash` of each as A1111 and Forge write it: 12 digits, and no mark in the name that
    would end it early. An older recipe knows the file's own hash alone."""
    named = ((one["name"].replace(":", "").replace(",", ""), one) for one in files)
    return ", ".join(f"{n}: {(one.get('model_hash') or one['sha256'])[:12]}" for n, one in named)


def _number(value: float) -> str:
    """All of its digits, and no exponent."""
    return f"{Decimal(repr(value)).normalize():f}"


def _unless(usual: float, value: float) -> str:
    return "" if value == usual else _number(value)


def _quoted(value: object) -> str:
    """JSON quotes where a comma, colon or line break would end the value early."""
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if any(c in text for c in ',:\n"') else text


def _unquoted(value: str) -> str:
    try:
        return str(json.loads(value)) if value.startswith('"') else value.strip()
    except ValueError:
        return value
