"""Where what a run needs is now: files and folders known by their content. Torch-free.

A run and its photos may be moved, together or not, and asked from any working folder. So what a run
names is stored as absolute paths, and as seen from the run; and it is known again by hashes.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from kaiffin.foundation.config import Config
from kaiffin.foundation.folder import expanded, file_sha256, read_json
from kaiffin.foundation.run import PHOTOS_MANIFEST, Run
from kaiffin.foundation.settings import changed, flat

SAMPLE = 16  # photos by which a folder is known
LEVELS = 3  # folders above a run in which it may have been begun: runs/sweep/kaiffin


def content_sha256(path: Path) -> str:
    """Hex digest of a file, or of all files in a folder with their names; "" where there is neither
    or it cannot be read."""
    try:
        if path.is_file():
            return file_sha256(path)
        files = sorted(one for one in path.rglob("*") if one.is_file())
        named = [f"{one.relative_to(path).as_posix()}\n{file_sha256(one)}\n" for one in files]
    except OSError:
        return ""
    return hashlib.sha256("".join(named).encode()).hexdigest() if named else ""


# --- paths in a config --------------------------------------------------------------------------

# Settings that say where something is: what is there is what counts.
PLACES = ("data.photos", "adapter.init_from", "base.name", "base.vae")
PATHS = ("data.photos", "adapter.init_from", "score.like", "score.prompts")
OR_NAMES = ("base.name", "base.vae", "score.judge", "score.identity_judge")  # or a hub id


def anchored(config: Config) -> Config:
    """The config with its paths absolute, so that it means the same from any working folder."""
    given = flat(config)
    paths = [name for name in PATHS if given[name] is not None]
    paths += [name for name in OR_NAMES if given[name] is not None and _is_path(given[name])]
    made = changed(config, **{name: str(absolute(Path(given[name]))) for name in paths})
    phases = [
        phase.model_copy(update={"photos": phase.photos and absolute(phase.photos)})
        for phase in config.phases
    ]
    return made.model_copy(update={"phases": tuple(phases)})


def absolute(path: Path) -> Path:
    """As seen from the root; links stay as they are named."""
    return Path(os.path.abspath(expanded(path)))


def _is_path(name: str) -> bool:
    """Whether what may also be an alias (a plain word) or a hub id is a file or folder here."""
    return Path(name).name != name and expanded(Path(name)).exists()


# --- photos -------------------------------------------------------------------------------------


def photo_folders(config: Config) -> list[Path | None]:
    """Every folder of photos that a phase of `config` trains on, each once, in order."""
    named = [phase.photos or config.data.photos for phase in config.phases]
    return list(dict.fromkeys(named or [config.data.photos]))


def with_photo_folders(config: Config, folders: Sequence[Path]) -> Config:
    """The config with others in place of its `photo_folders`."""
    now = dict(zip(photo_folders(config), folders, strict=True))
    data = config.data.model_copy(
        update={"photos": now.get(config.data.photos, config.data.photos)}
    )
    phases = [
        phase.model_copy(update={"photos": phase.photos and now[phase.photos]})
        for phase in config.phases
    ]
    return config.model_copy(update={"data": data, "phases": tuple(phases)})


def place(run: Run, folder: Path | None) -> dict[str, str]:
    """A folder by its path, and as seen from the run: the two may be moved together."""
    path = absolute(folder or Path())
    try:
        from_run = os.path.relpath(path, absolute(run.path))
    except ValueError:  # on another drive
        from_run = str(path)
    return {"folder": str(path), "from_run": from_run}


def photos_now(run: Run) -> list[Path | None]:
    """Where each of the run's `photo_folders` is now; as the config says where none is found."""
    folders = photo_folders(run.config)
    found = [find_photos(run, *each) for each in zip(folders, recorded_photos(run), strict=False)]
    return [now or before for now, before in zip_longest(found, folders)]


def recorded_photos(run: Run) -> list[dict[str, Any]]:
    """What the run has recorded of each of its `photo_folders`: its `place`, and `photos`; of an
    older run what stands in its manifests, which may be damaged."""
    if begun := run.beginning().get("photos"):
        return begun
    found = []
    for number, folder in enumerate(photo_folders(run.config), 1):
        listed = read_json(run.photos_folder(number) / PHOTOS_MANIFEST).get("photos")
        entries = listed if isinstance(listed, list) else []
        known = [
            {what: one[what] for what in ("file", "sha256", "captions") if what in one}
            for one in entries
            if isinstance(one, dict) and {"file", "sha256"} <= one.keys()
        ]
        found.append(place(run, folder) | {"photos": known})
    return found


def find_photos(run: Run, folder: Path | None, recorded: Mapping[str, Any]) -> Path | None:
    """The folder that holds what was recorded of one of the run's folders of photos, or some of it.

    folder: as the config names it now; recorded: its `place` when the run began, and `photos`, the
    `file` and `sha256` of each. None where no place holds any of them.
    """
    known = [(str(one["file"]), one["sha256"]) for one in recorded["photos"]]
    if folder is None or not known:
        return None
    sample = known[:: max(1, len(known) // SAMPLE)]
    places = dict.fromkeys(_places(run, folder, recorded))
    return next((path for path in places if _holds_any(path, sample)), None)


def _places(run: Run, folder: Path, recorded: Mapping[str, Any]) -> Iterator[Path]:
    """Where it may be, the likeliest first: where the config was edited to say; as seen from the
    run, since both may have been moved or copied; where it was; below the working folder; and in
    any neighbour of these, as a folder may have been renamed."""
    before, path = Path(recorded.get("folder", absolute(folder))), absolute(run.path)
    if absolute(folder) != before:
        yield absolute(folder)
    yield absolute(path / recorded.get("from_run", before))
    yield before
    yield absolute(Path(before.name))
    for above in path.parents[:LEVELS]:  # older runs have it as seen from where they were begun
        yield absolute(above / folder)
    for above in (before.parent, path.parent, Path.cwd()):
        if above.is_dir():
            yield from sorted(path for path in above.iterdir() if path.is_dir())


def _holds_any(path: Path, sample: Sequence[tuple[str, str]]) -> bool:
    return any(
        (path / name).is_file() and content_sha256(path / name) == wanted for name, wanted in sample
    )
