"""Short names that the user gives to bases on this machine. Torch-free.

They stand in one small file of the user's, `bases.json` in `~/.kaiffin` (or in KAIFFIN_HOME).
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from kaiffin.foundation.errors import MissingWeightsError
from kaiffin.foundation.folder import expanded, read_json, write_json
from kaiffin.models.files.embedded import EMBEDDED
from kaiffin.models.files.published import ALIASES

NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,63}")


def file() -> Path:
    """Where the names are kept."""
    home = os.environ.get("KAIFFIN_HOME")
    return (Path(home) if home else Path.home() / ".kaiffin") / "bases.json"


def names() -> dict[str, Path]:
    """Every name with its file or folder, which may be gone."""
    return {name: Path(str(path)) for name, path in read_json(file()).items()}


def find(name: str) -> Path | None:
    """The file or folder behind a name; None where nobody gave it; an error where it is gone."""
    path = names().get(name)
    if path and not path.exists():
        raise MissingWeightsError(
            f"base {name!r} is {path}, and nothing is there.",
            f"Put it back, or say where it is: `kaiffin bases add PATH --name {name}`.",
        )
    return path


def add(path: Path, name: str) -> Path:
    """Gives a name to a file or folder; answers with its absolute path.

    Raises MissingWeightsError for a name that is no plain word, Kaiffin's own, or another's.
    """
    if not NAME.fullmatch(name):
        raise MissingWeightsError(
            f"--name {name!r}: must be one word of letters, digits and . _ -",
            "Such as --name mine.",
        )
    if name in EMBEDDED or name in ALIASES:
        raise MissingWeightsError(f"--name {name}: is a name of Kaiffin's.", "Choose another.")
    known, found = names(), Path(os.path.abspath(expanded(path)))
    before = known.get(name, found)
    if before != found and before.exists():
        raise MissingWeightsError(
            f"--name {name}: is {before} already.", f"Choose another, or take it out of {file()}."
        )
    write_json(file(), {key: str(value) for key, value in (known | {name: found}).items()})
    return found
