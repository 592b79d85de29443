"""The recipe of a picture: JSON and A1111 parameters inside its PNG, written and read."""

from __future__ import annotations

import io
import json
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
from kaiffin.foundation.samplers import BASE
from kaiffin.foundation.schema import MOST, SEEDS
from kaiffin.models.base import ModelFamily
from kaiffin.pictures import infotext, png, regions
from kaiffin.pictures.request import AdapterRef, Request, request


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


def save_png(
    image: Image.Image, path: Path, recipe: dict[str, Any] | None = None, *, sync: bool = False
) -> None:
    """Writes the picture with its recipe, or bare; whole or not at all. sync: it outlives a power
    cut; not needed where it can be made again. Raises RunError where the file system refuses."""
    info = PngImagePlugin.PngInfo()
    if recipe is not None:
        info.add_itxt("parameters", infotext.written(recipe))
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
        regions.read(found.get("regions", ()), len(found["adapters"]))
        str(found["base"]["name"]), str(found["base"]["revision"])
        if not 1 <= (batch := found.get("batch", 1)) <= MOST or type(batch) is not int:
            raise ValueError(f"a batch of {batch!r}")
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
