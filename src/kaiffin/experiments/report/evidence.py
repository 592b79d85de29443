"""What a run folder tells about itself, read for a report. Torch-free.

Everything is optional but the config: a training that was stopped, photos that were moved away and
pictures that were deleted are said, not refused. No path that a file names leaves its folder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kaiffin.foundation.errors import RunError
from kaiffin.foundation.folder import expanded, read_json
from kaiffin.foundation.run import PHOTOS_MANIFEST, Run
from kaiffin.foundation.several import number_of
from kaiffin.foundation.whereabouts import photos_now
from kaiffin.pictures import png
from kaiffin.score import choice
from kaiffin.score.choice import Choice, inside


@dataclass(frozen=True)
class PhotoRecord:
    """A photo of the subject. path: None where it is gone or is no longer what was trained on."""

    name: str
    path: Path | None
    sha256: str
    size: tuple[int, int]
    captions: tuple[str, ...]
    held_out: bool


@dataclass(frozen=True)
class Evidence:
    """All that is known of a run, of one of its subjects. name: its folder's, with the subject's
    word where the run has several."""

    run: Run
    name: str
    manifest: Mapping[str, Any]
    proof: Mapping[str, Any]
    metrics: Sequence[Mapping[str, Any]]
    photos: Sequence[PhotoRecord]
    notes: Sequence[str]  # findings of `prepare` about the photos, and what was left out
    choice: Choice | None
    images: Sequence[Path]
    previews: Sequence[Path]

    @property
    def step(self) -> int:
        """The step the training has reached."""
        return self.metrics[-1]["step"] if self.metrics else 0

    @property
    def seconds(self) -> float:
        return sum(entry.get("seconds") or 0 for entry in self.metrics)


def read(run: Run) -> Evidence:
    """Raises RunError for a JSON file of the run that is damaged."""
    chosen = read_json(run.choice_path)
    photos, notes = _photos(run)
    name = run.path.resolve().name
    if len(run.config.subjects) > 1:
        name += f": {run.config.subject.token}"
    return Evidence(
        run, name, read_json(run.manifest_path), read_json(run.proof_path),
        run.metrics(), photos, notes, choice.read(chosen, run.path) if chosen else None,
        _pictures(run.images), _pictures(run.previews),
    )  # fmt: skip


def _pictures(folder: Path) -> list[Path]:
    """PNG files, oldest name first, without the sheets that repeat them."""
    found = sorted(folder.glob("*.png")) if folder.is_dir() else []
    return [path for path in found if not png.is_sheet(path)]


# --- photos -----------------------------------------------------------------------------------


def _photos(run: Run) -> tuple[list[PhotoRecord], list[str]]:
    """Photos of every folder that a phase trained on, or of the run's subject, and what was said
    about them."""
    photos: list[PhotoRecord] = []
    notes: list[str] = []
    folders = list(enumerate(photos_now(run), 1))
    for number, folder in folders[number_of(run.config) :][:1] if run.config.subjects else folders:
        path = run.photos_folder(number) / PHOTOS_MANIFEST
        manifest = read_json(path)
        try:
            photos += [_photo(folder, entry) for entry in manifest.get("photos", ())]
            notes += _notes(manifest)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise RunError(f"{path}: is damaged ({error}).") from None
    return photos, notes


def _notes(manifest: Mapping[str, Any]) -> list[str]:
    refused = [f"left out: {r['what']}: {r['reason']}" for r in manifest.get("refused", ())]
    findings = [f for f in manifest.get("findings", ()) if f["level"] != "info"]
    return refused + [f"{f['photo'] or 'the set'}: {f['what']}" for f in findings]


def _photo(folder: Path | None, entry: Mapping[str, Any]) -> PhotoRecord:
    name = str(entry.get("file", ""))
    path = inside(expanded(folder), name) if folder else None
    width, height = entry.get("size") or (0, 0)
    captions = tuple(str(caption) for caption in entry.get("captions", ()))
    held_out = bool(entry.get("held_out"))
    return PhotoRecord(
        name, path, str(entry.get("sha256", "")), (width, height), captions, held_out
    )
