"""The recipe inside a picture: JSON in a text chunk of its PNG, read with care. Torch-free."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from PIL import Image

from kaiffin.foundation.errors import UserError

RECIPE_KEY = "kaiffin"
RECIPE_LIMIT = 1 << 20  # characters of metadata that are read
SHEET = re.compile(r"(sheet|best)(-\d+)?\.png")  # pictures are called <prompt>-seed<n>.png


def read(path: Path) -> Any:
    """What stands under RECIPE_KEY, whatever its shape. UserError when there is nothing, or no
    JSON: names in a picture may come from strangers."""
    try:
        with Image.open(path) as image:
            image.load()
            text = image.info.get(RECIPE_KEY)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{path}: cannot be read as a picture: {error}.") from None
    if not isinstance(text, str):
        raise UserError(
            f"{path}: carries no Kaiffin recipe.",
            "Only PNG files written by `kaiffin generate` without --no-metadata do.",
        )
    try:
        return json.loads(text[:RECIPE_LIMIT])
    except (ValueError, RecursionError) as error:
        raise damaged(path, error) from None


def is_sheet(path: Path) -> bool:
    """Whether it is a sheet that `generate` wrote beside its pictures: by its exact name, and since
    it has no recipe as pictures do."""
    if not SHEET.fullmatch(path.name):
        return False
    try:
        read(path)
    except UserError:
        return True
    return False


def damaged(path: Path, error: Exception) -> UserError:
    """The error of a picture whose recipe is no recipe."""
    return UserError(f"{path}: its Kaiffin recipe is damaged ({error}).")
