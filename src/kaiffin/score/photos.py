"""The photos that pictures are compared with, and pictures in folders."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from kaiffin.data.images import SUFFIXES, open_photo
from kaiffin.foundation.errors import PhotoError, UserError
from kaiffin.foundation.folder import file_sha256
from kaiffin.foundation.run import Run


def photos_of_all(runs: Sequence[Run]) -> tuple[list[Path], list[Path]]:
    """(trained on by any of the runs, held out by some and trained on by none), each once."""
    pairs = [photos_of(run) for run in runs]
    trained = {file_sha256(path): path for own, _ in pairs for path in own}
    others = {file_sha256(path): path for _, own in pairs for path in own}
    return list(trained.values()), [path for sha, path in others.items() if sha not in trained]


def photos_of(run: Run) -> tuple[list[Path], list[Path]]:
    """(trained on, held out), of those that are still there."""
    folder = run.config.data.photos
    listed = run.read_json("data/manifest.json").get("photos", [])
    if folder is None:
        return [], []
    there = [entry for entry in listed if (folder / entry["file"]).is_file()]
    trained = [folder / e["file"] for e in there if not e.get("held_out")]
    return trained, [folder / e["file"] for e in there if e.get("held_out")]


def in_folder(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise PhotoError(f"--like {folder}: is no folder with photos.")
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not found:
        raise PhotoError(f"--like {folder}: holds no photos.")
    return found


def captions(run: Run) -> list[str]:
    listed = run.read_json("data/manifest.json").get("photos", [])
    return [caption for entry in listed for caption in entry["captions"]]


def pictures_in(places: Sequence[Path]) -> list[Path]:
    """Files as they are, folders by what they hold; sheets are left out. UserError for nothing."""
    found: list[Path] = []
    for place in places:
        found += filter(_is_picture, sorted(place.iterdir())) if place.is_dir() else [place]
    if not found:
        raise UserError(f"{', '.join(map(str, places))}: no pictures there.")
    return found


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not re.fullmatch(r"(sheet|best)(-\d+)?", path.stem)


def photos_in(folder: Path) -> list[Image.Image]:
    """The photos of a folder; UserError when it holds none."""
    if not folder.is_dir():
        raise UserError(f"{folder}: is no folder with photos.")
    return [open_photo(path).image for path in pictures_in([folder])]
