"""/api/v1/recipes: the settings inside a PNG that Kaiffin or A1111 made. Torch-free."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from fastapi import APIRouter, UploadFile
from fastapi.concurrency import run_in_threadpool
from PIL import Image
from pydantic import BaseModel

from kaiffin.foundation.errors import UserError
from kaiffin.models.files.embedded import FAST
from kaiffin.pictures import infotext, png
from kaiffin.serve.requests import ID, Sampling
from kaiffin.serve.routes.common import incoming
from kaiffin.serve.service import Painter, Served

router = APIRouter(prefix="/api/v1", tags=["recipes"])
KEPT = tuple(name for name in Sampling.model_fields if name != "size")
NONE = UserError(
    "this file carries no settings.", "Only PNG files as Kaiffin or A1111 made them do."
)


class Recipe(BaseModel):
    """As pictures are asked for; base: only where no adapter was worn."""

    base: str | None = None
    prompts: list[str]
    seed: int | None = None
    sample: dict[str, Any]


@router.post("/recipes")
async def read(file: UploadFile, caller: Painter, service: Served) -> Recipe:
    """The file is not kept."""
    async with incoming(service, file) as path:
        return await run_in_threadpool(_of_file, path)


def _of_file(path: Path) -> Recipe:
    try:
        with Image.open(path, formats=("PNG",)) as image:  # its texts come before its pixels
            own, foreign = image.info.get(png.RECIPE_KEY), image.info.get("parameters")
        return _own(json.loads(own)) if own else _a1111(str(foreign))
    except (OSError, SyntaxError, ValueError, LookupError, TypeError, RecursionError):
        raise NONE from None


def _own(found: Any) -> Recipe:
    """Adapters that a prompt or an id named are named again; a run's is not known by its file."""
    asked, is_fast = found["request"], [one["path"] == FAST for one in found["adapters"]]
    worn = [one for one, fast in zip(found["adapters"], is_fast, strict=True) if not fast]
    is_read = asked.get("prompt_syntax", "plain") != "plain"
    named = [one for one in worn if is_read and _is_named(one)]
    tags = [infotext.tag(one["name"], one["weight"]) for one in named]
    base = found["base"]["name"] if len(named) == len(worn) else None
    sample = {name: asked[name] for name in KEPT if name in asked}
    sample["fast"] = any(is_fast)
    size = [asked["width"], asked["height"]]
    return Recipe(
        base=base,
        prompts=[" ".join([asked["prompt"], *tags])],
        seed=asked["seed"],
        sample={**sample, "size": size},
    )


def _is_named(adapter: Any) -> bool:
    name = adapter["name"]
    return name != Path(adapter["path"]).stem or re.fullmatch(ID, name) is not None


def _a1111(text: str) -> Recipe:
    """Its tags stay in the prompt: they name adapters here, too."""
    found = infotext.read(text)
    return Recipe(prompts=[found.prompt], seed=found.seed, sample=dict(found.sample))
