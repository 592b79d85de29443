"""The photos that pictures are compared with, and pictures in folders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kaiffin.data.images import SUFFIXES
from kaiffin.foundation.errors import PhotoError, UserError
from kaiffin.foundation.folder import file_sha256
from kaiffin.foundation.run import Run
from kaiffin.foundation.tell import SILENT, Tell
from kaiffin.pictures import png


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


def in_folder(folder: Path, *, tell: Tell = SILENT) -> list[Path]:
    """The photos right in a folder, by name, as they are `listed`. PhotoError for none."""
    if not folder.is_dir():
        raise PhotoError(f"{folder}: is no folder with photos.")
    found = listed(folder, tell=tell)
    if not found:
        raise PhotoError(f"{folder}: holds no photos.")
    return found


def pictures_in(places: Sequence[Path], *, tell: Tell = SILENT) -> list[Path]:
    """Files as they are, folders by what is `listed` of them. UserError for nothing."""
    found: list[Path] = []
    for place in places:
        found += listed(place, tell=tell) if place.is_dir() else [place]
    if not found:
        raise UserError(f"{', '.join(map(str, places))}: no pictures there.")
    return found


def listed(folder: Path, *, tell: Tell = SILENT) -> list[Path]:
    """The picture files right in a folder, by name.

    Left out are hidden and other files, folders, and the sheets on which `generate` repeats its
    pictures, which are named.
    """
    files = sorted(
        path for path in folder.iterdir()
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    )  # fmt: skip
    sheets = [path for path in files if png.is_sheet(path)]
    if sheets:
        names = ", ".join(path.name for path in sheets)
        tell.note(f"note: {folder}: left out, as sheets of other pictures: {names}")
    return [path for path in files if path not in sheets]


def captions(run: Run) -> list[str]:
    listed = run.read_json("data/manifest.json").get("photos", [])
    return [caption for entry in listed for caption in entry["captions"]]
