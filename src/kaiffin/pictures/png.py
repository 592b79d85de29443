"""The recipe inside a picture: JSON in a text chunk of its PNG, read with care. Torch-free."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from PIL import Image

from kaiffin.foundation.errors import UserError

RECIPE_KEY = "kaiffin"
RECIPE_LIMIT = 1 << 20  # characters of metadata that are read


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


def damaged(path: Path, error: Exception) -> UserError:
    """The error of a picture whose recipe is no recipe."""
    return UserError(f"{path}: its Kaiffin recipe is damaged ({error}).")
