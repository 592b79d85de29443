"""The photos that pictures are compared with, and pictures in folders. Torch-free."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kaiffin.data.files import account, photos_in
from kaiffin.foundation.errors import PhotoError, UserError
from kaiffin.foundation.folder import file_sha256, read_json
from kaiffin.foundation.run import Run
from kaiffin.foundation.several import number_of
from kaiffin.foundation.tell import SILENT, Tell
from kaiffin.foundation.whereabouts import photos_now
from kaiffin.pictures import png


@dataclass(frozen=True)
class Photos:
    """Files that show the subject: those that were trained on, and those that nobody trained on."""

    trained: tuple[Path, ...] = ()
    held_out: tuple[Path, ...] = ()

    @property
    def references(self) -> tuple[Path, ...]:
        """What pictures are to be compared with."""
        return self.held_out or self.trained


def subject_photos(runs: Sequence[Run], like: Path | None = None, *, tell: Tell = SILENT) -> Photos:
    """The photos of the runs that are still there, each once: those that any of them was trained
    on, and those that some held out and none was trained on.

    like: a folder of photos that nobody trained on, instead of those held out. PhotoError where it
    holds none.
    """
    found = [(path, is_held_out) for run in runs for path, is_held_out in _listed(run)]
    trained = {file_sha256(path): path for path, is_held_out in found if not is_held_out}
    others = {file_sha256(path): path for path, is_held_out in found if is_held_out}
    held_out = [path for sha, path in others.items() if sha not in trained]
    return Photos(tuple(trained.values()), tuple(in_folder(like, tell=tell) if like else held_out))


def _listed(run: Run) -> list[tuple[Path, bool]]:
    """(file, whether it was held out) of each photo of the run's subject that is still there."""
    folder = photos_now(run)[number_of(run.config)]
    if folder is None:
        return []
    files = [(folder / entry["file"], bool(entry.get("held_out"))) for entry in _entries(run)]
    return [(path, is_held_out) for path, is_held_out in files if path.is_file()]


def _entries(run: Run) -> list[dict[str, Any]]:
    return read_json(run.photos_manifest).get("photos", [])


def captions(run: Run) -> list[str]:
    """Every caption that the run was trained with, of its subject."""
    return [caption for entry in _entries(run) for caption in entry["captions"]]


# --- folders ------------------------------------------------------------------------------------


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

    Left out are what systems leave behind, other files, folders, and by name: masks, pictures of
    formats that cannot be read, links that lead nowhere, and the sheets on which `generate` repeats
    its pictures.
    """
    found = photos_in(folder)
    broken = [path for path in found if not path.is_file()]
    sheets = [path for path in found if path not in broken and png.is_sheet(path)]
    for what, paths in (("sheets of other pictures", sheets), ("links that lead nowhere", broken)):
        if paths:
            names = ", ".join(path.name for path in paths)
            tell.note(f"note: {folder}: left out, as {what}: {names}")
    for other in account(folder, found, below=False):
        if other.kind.is_picture:
            tell.note(f"note: {folder}: {other.what}")
    return [path for path in found if path not in broken and path not in sheets]
