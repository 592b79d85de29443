"""Where what a run needs is now: files and folders known by their content. Torch-free.

A run and its photos may be moved, together or not, and asked from any working folder. So what a run
names is stored as absolute paths, and as seen from the run; and it is known again by hashes.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from kaiffin.foundation.config import Config
from kaiffin.foundation.errors import RunError
from kaiffin.foundation.folder import read_json
from kaiffin.foundation.hashes import kept_sha256
from kaiffin.foundation.paths import absolute
from kaiffin.foundation.run import PHOTOS_MANIFEST, Run
from kaiffin.foundation.settings import changed, flat
from kaiffin.foundation.several import by_subject
from kaiffin.foundation.tell import Tell

SAMPLE = 16  # photos by which a folder is known
LEVELS = 3  # folders above a run in which it may have been begun: runs/sweep/kaiffin


def content_sha256(path: Path) -> str:
    """Hex digest of a file, or of all files in a folder with their names; "" where there is neither
    or it cannot be read."""
    try:
        if path.is_file():
            return kept_sha256(path)
        files = sorted(one for one in path.rglob("*") if one.is_file())
        named = [f"{one.relative_to(path).as_posix()}\n{kept_sha256(one)}\n" for one in files]
    except OSError:
        return ""
    text = "".join(named).encode("utf-8", "surrogateescape")  # names are bytes to the system
    return hashlib.sha256(text).hexdigest() if named else ""


# --- photos -------------------------------------------------------------------------------------


def photo_folders(config: Config) -> list[Path | None]:
    """Every folder of photos that `config` trains on, each once, in order: one for each of its
    subjects, or those of its phases."""
    if config.subjects:
        return [one.photos for one in config.subjects]
    named = [phase.photos or config.data.photos for phase in config.phases]
    return list(dict.fromkeys(named or [config.data.photos]))


def by_folder(config: Config) -> list[Config]:
    """The config as it is of each of its `photo_folders`: its photos, and whom they show."""
    if config.subjects:
        return by_subject(config)
    sections = (
        config.data.model_copy(update={"photos": folder}) for folder in photo_folders(config)
    )
    return [config.model_copy(update={"data": data}) for data in sections]


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
    subjects = [
        one.model_copy(update={"photos": now.get(one.photos, one.photos)})
        for one in config.subjects
    ]
    return config.model_copy(
        update={"data": data, "phases": tuple(phases), "subjects": tuple(subjects)}
    )


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
    known = recorded["photos"]
    if folder is None or not known:
        return None
    return _find(run, folder, recorded, known[:: max(1, len(known) // SAMPLE)])


# --- other files --------------------------------------------------------------------------------

BASE = ("base.name", "base.vae")
FILES = ("adapter.init_from", *BASE)  # settings that name some


def known_place(run: Run, path: Path) -> dict[str, Any]:
    """The `place` of an adapter or a base, and how it is known again: by its file, or by the
    largest of its files in a folder."""
    below = path.rglob("*.safetensors") if path.is_dir() else [path]
    sizes = {file: file.stat().st_size for file in below if file.is_file()}
    largest = max(sizes, key=lambda file: sizes[file], default=None)
    known = {
        "file": largest.relative_to(path).as_posix(), "bytes": sizes[largest],
        "sha256": kept_sha256(largest),
    } if largest else {}  # fmt: skip
    return place(run, path) | {"known": known}


def find_file(run: Run, path: Path, recorded: Mapping[str, Any]) -> Path | None:
    """Where a file or folder is now of which `known_place` was recorded; None where it is nowhere.

    path: as the config names it now.
    """
    return _find(run, path, recorded, [recorded["known"]]) if recorded["known"] else None


def files_now(run: Run, config: Config, names: Iterable[str], tell: Tell) -> Config:
    """`config` with where the files and folders are now that the run has recorded of `names`, those
    of FILES that are looked for. What was found elsewhere is said.

    What `config` was edited to name otherwise stays as it says. Raises RunError for what is gone;
    what is there is not compared.
    """
    places, given = run.beginning().get("places", {}), flat(config)
    for name in (name for name in names if name in places):
        recorded, before = places[name], Path(places[name]["folder"])
        if given[name] != str(before):
            continue
        now = find_file(run, before, recorded)
        if now is None and not before.exists():
            raise RunError(
                f"{run.path}: {name} is gone or replaced: its content is neither at {before} nor at"
                f" {recorded['from_run']} from the run, nor beside these under another name.",
                f"Put it back, or name it as {name} in {run.config_path}.",
            )
        if now not in (None, before):
            tell.note(f"note: {name}: {before} is now {now}")
            config = changed(config, **{name: str(now)})
    return config


def base_now(run: Run, config: Config, given: Container[str], tell: Tell) -> Config:
    """`config` of pictures with a run, with where its base is now; as in `files_now`.

    given: the settings that were named for these pictures: they count as they are.
    """
    return files_now(run, config, [name for name in BASE if name not in given], tell)


# --- finding ------------------------------------------------------------------------------------


def _find(
    run: Run, path: Path, recorded: Mapping[str, Any], known: Sequence[Mapping[str, Any]]
) -> Path | None:
    """The first place with any of the files in `known`: its `file` within, `sha256`, `bytes`."""
    places = dict.fromkeys(_places(run, path, recorded))
    return next((one for one in places if any(_holds(one, file) for file in known)), None)


def _holds(path: Path, known: Mapping[str, Any]) -> bool:
    file = path / str(known["file"])
    if not os.path.isfile(file) or known.get("bytes") not in (None, file.stat().st_size):
        return False
    return content_sha256(file) == known["sha256"]


def _places(run: Run, folder: Path, recorded: Mapping[str, Any]) -> Iterator[Path]:
    """Where it may be, the likeliest first: where the config was edited to say; as seen from the
    run, since both may have been moved or copied; where it was; below the working folder; and in
    any neighbour of these, as it may have been renamed."""
    before, path = Path(recorded.get("folder", absolute(folder))), absolute(run.path)
    if absolute(folder) != before:
        yield absolute(folder)
    yield absolute(path / recorded.get("from_run", before))
    yield before
    yield absolute(Path(before.name))
    for above in path.parents[:LEVELS]:  # older runs have it as seen from where they were begun
        yield absolute(above / folder)
    for above in (before.parent, path.parent, Path.cwd()):
        with contextlib.suppress(OSError):  # absent, or nobody may look into it
            yield from sorted(above.iterdir())
