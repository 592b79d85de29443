"""The photos that pictures are compared with, and pictures in folders. Torch-free."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from kaiffin.data.images import SUFFIXES, open_photo
from kaiffin.foundation.errors import PhotoError, UserError
from kaiffin.foundation.folder import file_sha256, read_json
from kaiffin.foundation.run import Run


@dataclass(frozen=True)
class Photos:
    """Files that show the subject: those that were trained on, and those that nobody trained on."""

    trained: tuple[Path, ...] = ()
    held_out: tuple[Path, ...] = ()

    @property
    def references(self) -> tuple[Path, ...]:
        """What pictures are to be compared with."""
        return self.held_out or self.trained


def subject_photos(runs: Sequence[Run], like: Path | None = None) -> Photos:
    """The photos of the runs that are still there, each once: those that any of them was trained
    on, and those that some held out and none was trained on.

    like: a folder of photos that nobody trained on, instead of those held out. PhotoError where it
    holds none.
    """
    found = [(path, is_held_out) for run in runs for path, is_held_out in _listed(run)]
    trained = {file_sha256(path): path for path, is_held_out in found if not is_held_out}
    others = {file_sha256(path): path for path, is_held_out in found if is_held_out}
    held_out = [path for sha, path in others.items() if sha not in trained]
    return Photos(tuple(trained.values()), tuple(in_folder(like) if like else held_out))


def _listed(run: Run) -> list[tuple[Path, bool]]:
    """(file, whether it was held out) of each photo of the run that is still there."""
    folder = run.config.data.photos
    if folder is None:
        return []
    files = [(folder / entry["file"], bool(entry.get("held_out"))) for entry in _entries(run)]
    return [(path, is_held_out) for path, is_held_out in files if path.is_file()]


def _entries(run: Run) -> list[dict[str, Any]]:
    return read_json(run.photos_manifest).get("photos", [])


def in_folder(folder: Path) -> list[Path]:
    """The photos of a folder that a person named with --like; PhotoError when it holds none."""
    if not folder.is_dir():
        raise PhotoError(f"--like {folder}: is no folder with photos.")
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not found:
        raise PhotoError(f"--like {folder}: holds no photos.")
    return found


def captions(run: Run) -> list[str]:
    """Every caption that the run was trained with."""
    return [caption for entry in _entries(run) for caption in entry["captions"]]


def pictures_in(places: Sequence[Path]) -> list[Path]:
    """Files as they are, folders by what they hold; sheets are left out. UserError for nothing."""
    found: list[Path] = []
    for place in places:
        found += filter(_is_picture, sorted(place.iterdir())) if place.is_dir() else [place]
    if not found:
        raise UserError(f"{', '.join(map(str, places))}: no pictures there.")
    return found


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not is_sheet(path)


def is_sheet(path: Path) -> bool:
    """Whether the file is one of the sheets that repeat the pictures beside them: sheet.png,
    best.png, best-2.png, ..., but not a picture whose prompt begins with these words."""
    return bool(re.fullmatch(r"(sheet|best)(-\d+)?", path.stem))


def photos_in(folder: Path) -> list[Image.Image]:
    """The photos of a folder; UserError when it holds none."""
    if not folder.is_dir():
        raise UserError(f"{folder}: is no folder with photos.")
    return [open_photo(path).image for path in pictures_in([folder])]
