"""The recipe of a picture: JSON and A1111 parameters inside its PNG, written and read."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from PIL import Image, PngImagePlugin
from pydantic import ValidationError

from kaiffin import __version__
from kaiffin.foundation.errors import ConfigError
from kaiffin.foundation.folder import write_bytes
from kaiffin.foundation.imaging import SampleConfig
from kaiffin.foundation.prompts import escaped
from kaiffin.foundation.samplers import BASE, SAMPLERS, SCHEDULES
from kaiffin.foundation.schema import SEEDS
from kaiffin.models.base import ModelFamily
from kaiffin.pictures import png
from kaiffin.pictures.request import AdapterRef, Request, request
from kaiffin.pictures.start import Start


def recipe(request: Request, family: ModelFamily, adapters: Sequence[AdapterRef]) -> dict[str, Any]:
    """All that is needed to make the picture again, as JSON data."""
    return {
        "kaiffin": __version__,
        "torch": str(torch.__version__),
        "device": family.device.type,
        "dtype": str(family.dtype).removeprefix("torch."),
        "base": {
            "name": family.base,
            "family": family.name,
            "revision": family.revision,
            "quantize": family.quantize,
        },
        "adapters": [asdict(adapter) for adapter in adapters],
        "request": request.as_json() | {"schedule": _schedule(request, family)},
    }


def _schedule(request: Request, family: ModelFamily) -> str:
    """By its own name: what the base says may change with its files."""
    return family.schedule.spacing if request.schedule == BASE else request.schedule


def parameters_text(recipe: dict[str, Any]) -> str:
    """The `parameters` text of A1111's web UI, which most viewers and galleries read."""
    request, base = recipe["request"], recipe["base"]
    schedule = SCHEDULES[request.get("schedule", BASE)]  # an older recipe says neither
    rescale = request.get("guidance_rescale", 0)
    tags = "".join(f" <lora:{a['name']}:{_number(a['weight'])}>" for a in recipe["adapters"])
    facts = {
        "Steps": request["steps"],
        "Sampler": SAMPLERS[request["sampler"]].a1111,
        "Schedule type": schedule.a1111,
        "CFG scale": f"{request['guidance']:g}",
        "CFG Rescale": f"{rescale:g}" if rescale else "",
        "Seed": request["seed"],
        "Size": f"{request['width']}x{request['height']}",
        **(Start(**request["start"]).parameters() if request.get("start") else {}),
        "Model hash": base["revision"][:10],
        "Model": base["name"],
        "Clip skip": request["clip_skip"] + 1,
        "Lora hashes": ", ".join(map(_lora_hash, recipe["adapters"])),
        "RNG": "CPU",
        "Version": f"Kaiffin {recipe['kaiffin']}",
    }
    line = ", ".join(f"{name}: {_quoted(value)}" for name, value in facts.items() if value != "")
    syntax = request.get("prompt_syntax", "plain")
    prompt, other = (_said(request[name], syntax) for name in ("prompt", "negative"))
    negative = f"\nNegative prompt: {other}" if other else ""
    return f"{prompt}{tags}{negative}\n{line}"


def _said(text: str, syntax: str) -> str:
    """A prompt as the web UI reads it: that of ours with its AND as the word that it is here."""
    return escaped(text) if syntax == "plain" else re.sub(r"\bAND\b", "and", text)


def _lora_hash(adapter: dict[str, Any]) -> str:
    """`name: hash` as A1111 and Forge write it: 12 digits, and no mark in the name that would end
    it early. An older recipe knows the file's own hash alone."""
    name = adapter["name"].replace(":", "").replace(",", "")
    return f"{name}: {(adapter.get('model_hash') or adapter['sha256'])[:12]}"


def _number(weight: float | str) -> str:
    """A weight as the web UI's tag can say it: of several, the first."""
    return f"{weight:g}" if isinstance(weight, (int, float)) else re.split(r",|\.\.", weight)[0]


def _quoted(value: object) -> str:
    """JSON quotes where a comma, colon or line break would end the value early."""
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if any(c in text for c in ',:\n"') else text


def save_png(
    image: Image.Image, path: Path, recipe: dict[str, Any] | None = None, *, sync: bool = False
) -> None:
    """Writes the picture with its recipe, or bare; whole or not at all. sync: it outlives a power
    cut; not needed where it can be made again. Raises RunError where the file system refuses."""
    info = PngImagePlugin.PngInfo()
    if recipe is not None:
        info.add_itxt("parameters", parameters_text(recipe))
        info.add_itxt(png.RECIPE_KEY, json.dumps(recipe, ensure_ascii=False, sort_keys=True))
    file = io.BytesIO()
    image.save(file, format="PNG", pnginfo=info)
    write_bytes(path, file.getvalue(), sync=sync)


def read_recipe(path: Path) -> dict[str, Any]:
    """The recipe that `save_png` put into a picture; raises `UserError` when there is none, or none
    that this Kaiffin could follow."""
    found = png.read(path)
    try:
        _check(Request.of(found["request"]))
        [AdapterRef(**adapter) for adapter in found["adapters"]]
        str(found["base"]["name"]), str(found["base"]["revision"])
    except (KeyError, TypeError, ValueError, ConfigError) as error:
        raise png.damaged(path, error) from None
    return found


def _check(asked: Request) -> None:
    """ValueError where a setting is none that a person may give: a recipe may be a stranger's."""
    options = asked.as_json()
    prompt, seed, _ = options.pop("prompt"), options.pop("seed"), options.pop("start", None)
    options["size"] = (options.pop("width"), options.pop("height"))
    try:
        same = request(prompt, seed, SampleConfig(**options), asked.start) == asked
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{first['loc'][0]}: {first['msg']}") from None
    if not (same and isinstance(prompt, str) and type(seed) is int and 0 <= seed < SEEDS):
        raise ValueError("a prompt, seed or setting of another type")
