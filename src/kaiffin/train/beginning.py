"""What a run was begun with, kept by content, and whether it still is that.

The record (`Run.beginning`) is written when the first session of a run is opened; every later one
is held against it: settings (see edits.py), photos, captions, masks, class pictures, the base.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from kaiffin.data import sources
from kaiffin.data.prepare import Example, Prepared
from kaiffin.data.sources import Listing, Listings, Source
from kaiffin.foundation.cache import content_key
from kaiffin.foundation.errors import RunError
from kaiffin.foundation.folder import expanded, read_json
from kaiffin.foundation.paths import absolute
from kaiffin.foundation.run import Run
from kaiffin.foundation.settings import flat
from kaiffin.foundation.tell import Tell
from kaiffin.foundation.text import counted, first_few
from kaiffin.foundation.whereabouts import (
    FILES,
    by_folder,
    content_sha256,
    files_now,
    find_photos,
    known_place,
    photo_folders,
    place,
    recorded_photos,
    with_photo_folders,
)
from kaiffin.models.files.embedded import EMBEDDED
from kaiffin.train import edits
from kaiffin.train.edits import Edits

SHOWN = 20  # photos that are named of each kind of difference
NEW_RUN = "or start a new run"
Photos = Mapping[str, Mapping[str, Any]]  # what the record holds of each photo, by its file


def check(run: Run, tell: Tell) -> tuple[Edits, Listings]:
    """Holds a run against its record before anything is loaded; what was edited and may be, and
    what is in the folders of photos that were looked at for it.

    Photos that were moved are found, and the run's config says where from now on. Raises RunError
    for everything that is not as it was. Where there is no record, nothing has begun yet; but for
    a run that is older than the record, of which the photos that were used are known.
    """
    found: Edits = edits.edits_of(run)
    listings: Listings = {}
    if record := run.beginning():
        edits.say(found, run, tell)
        run.config = files_now(run, run.config, FILES, tell)
        _check_start(run, record)
        listings = _check_photos(run, tell)
    elif run.latest_restart_point() and not run.config.data.skip_bad:
        listings = _check_photos(run, tell)
    return found, listings


def _check_photos(run: Run, tell: Tell) -> Listings:
    every = recorded_photos(run)
    begun = len(every)
    if len(photo_folders(run.config)) != begun:
        raise RunError(
            f"{run.config_path}: names {counted(len(photo_folders(run.config)), 'folder')} of"
            f" photos, and the run was begun with {begun}.",
            f"Put them back, {NEW_RUN}.",
        )
    folders = [
        _found(run, folder, recorded, tell)
        for folder, recorded in zip(photo_folders(run.config), every, strict=True)
    ]
    owners = [own.subject for own in by_folder(run.config)]
    run.config = with_photo_folders(run.config, folders)
    listings: dict[Path | None, Listing] = {}
    for folder, owner, recorded in zip(folders, owners, every, strict=True):
        before = {one["file"]: one for one in recorded["photos"]}
        data = run.config.data.model_copy(update={"photos": folder})
        listings[folder] = sources.read(data, owner)
        _refuse_differences(run, folder, before, _photos(folder, listings[folder].sources))
    return listings


def begin(run: Run, revision: str, looked_at: Sequence[Prepared], found: Edits) -> None:
    """Writes the record of a run whose config has nothing left open; in one that is there, what was
    edited and where the photos are now.

    revision: content hash of the base; looked_at: each of the run's `photo_folders`.
    """
    record = run.beginning()
    folders = photo_folders(run.config)
    if record:
        record["settings"] = edits.settings_of(run.config)
        record["changes"] += edits.as_records(found, run)
        record["places"] = _places_of(run)
        record["photos"] = [
            {**recorded, **place(run, folder)}
            for folder, recorded in zip(folders, record["photos"], strict=True)
        ]
    else:
        known = {e.path: e.sha256 for p in looked_at for e in (*p.examples, *p.held_out)}
        start = run.config.adapter.init_from
        record = {
            "settings": edits.settings_of(run.config),
            "base": revision,
            "init_from": content_sha256(start) if start else "",
            "photos": [
                {**place(run, folder), "photos": list(_photos(folder, one.listed, known).values())}
                for folder, one in zip(folders, looked_at, strict=True)
            ],
            "places": _places_of(run),
            "class_pictures": {},
            "changes": [],
        }
        record = {"id": _identity(record)} | record
    run.write_json(run.beginning_path.name, record)


def _identity(record: Mapping[str, Any]) -> str:
    """A name for what is learnt: equal for runs that differ in nothing that is taught, wherever
    they lie and however long they are."""
    settings = {k: v for k, v in record["settings"].items() if not edits.may_change(k)}
    photos = [folder["photos"] for folder in record["photos"]]
    return content_key(
        json.dumps([settings, record["base"], record["init_from"], photos], sort_keys=True)
    )[:16]


def header(run: Run) -> dict[str, str]:
    """What adapter files say of their run: which it is, and whether its length was changed so that
    its rates are not those of its config."""
    record = run.beginning()
    told = [
        f"train.steps {one['from']} -> {one['to']} after step {one['after']}"
        for one in record["changes"]
        if one["bends"]
    ]
    return {"kaiffin.run": record["id"]} | ({"kaiffin.changed": "; ".join(told)} if told else {})


def is_prolonged(run: Run, step: int) -> bool:
    """Whether the run was given more steps when `step` of them were done."""
    changes = run.beginning().get("changes", ())
    return any(one["setting"] == "train.steps" and one["after"] == step for one in changes)


# --- adapter and base, which may have been moved ------------------------------------------------


def _places_of(run: Run) -> dict[str, Any]:
    """Of each of FILES that is on this machine by a path: where, and how it is known again."""
    given = {name: value for name, value in flat(run.config).items() if name in FILES}
    paths = {name: Path(value) for name, value in given.items() if value}
    return {n: known_place(run, p) for n, p in paths.items() if p.is_absolute() and p.exists()}


# --- base and class pictures --------------------------------------------------------------------


def refuse_other_base(run: Run, revision: str, name: str) -> None:
    """RunError where the base, VAE included, has other weights than the run was begun on."""
    before = run.beginning().get("base")
    if before is None and run.latest_restart_point():  # an older run
        before = read_json(run.manifest_path).get("base", {}).get("revision")
    if before not in (None, revision):
        raise RunError(
            f"{run.path}: was begun on base weights {before[:10]}, and {name} is now"
            f" {revision[:10]}.",
            "Install the Kaiffin that they came with, or start a new run." if name in EMBEDDED
            else "Put the old weights back, or start a new run.",
        )  # fmt: skip


def _check_start(run: Run, record: Mapping[str, Any]) -> None:
    start = run.config.adapter.init_from
    if (content_sha256(start) if start else "") != record["init_from"]:
        raise RunError(
            f"{run.config_path}: adapter.init_from = {start} is not the adapter that the run was"
            f" begun from (SHA-256 {record['init_from'][:12]}), but another, or nothing.",
            f"Put that back, or name it there, {NEW_RUN}.",
        )


def hold_class_pictures(run: Run, examples: Sequence[Example]) -> None:
    """Takes the class pictures of a phase into the record; RunError where they are others than
    those that are there."""
    record = run.beginning()
    before = record["class_pictures"]
    now = {ex.path.relative_to(run.cache).as_posix(): ex.sha256 for ex in examples}
    other = [name for name, sha256 in now.items() if before.get(name, sha256) != sha256]
    if other:
        raise RunError(
            f"{run.cache}: class pictures are not those that the run was begun with:"
            f" {first_few(other, SHOWN)}.",
            f"Put them back, {NEW_RUN}.",
        )
    if now.keys() - before.keys():
        record["class_pictures"] = before | now
        run.write_json(run.beginning_path.name, record)


# --- photos -------------------------------------------------------------------------------------


def _photos(
    folder: Path | None, listed: Iterable[Source], known: Mapping[Path, str] | None = None
) -> Photos:
    """Every photo of a folder with all that a training takes from it, in order.

    known: hashes of files that need not be read again.
    """
    known = known or {}
    top = expanded(folder or Path())
    made = [
        {
            "file": source.path.relative_to(top).as_posix(),
            "sha256": known.get(source.path) or content_sha256(source.path),
            "captions": list(source.captions),
            "repeats": source.repeats,
            "mask": content_sha256(source.mask_path) if source.mask_path else None,
        }
        for source in listed
    ]
    return {str(one["file"]): one for one in made}


def _found(run: Run, folder: Path | None, recorded: Mapping[str, Any], tell: Tell) -> Path:
    """Where a folder of photos is now: where the config was edited to say, or as it was found."""
    if folder and str(absolute(folder)) != recorded["folder"]:
        return absolute(folder)
    at_least = (absolute(run.path / recorded["from_run"]), folder or Path())
    found = find_photos(run, folder, recorded)
    found = found or next((path for path in at_least if path.is_dir()), None)
    if found is None:
        names = [one["file"] for one in recorded["photos"]]
        raise RunError(
            f"{run.path}: its photos are gone: {first_few(names, SHOWN)}; they are neither in"
            f" {recorded['folder']} nor at {recorded['from_run']} from the run, nor in a folder"
            " beside these.",
            f"Name their folder as data.photos in {run.config_path} (of a phase or one of several"
            " subjects: its photos).",
        )
    if found != folder:
        tell.note(f"note: the photos of {folder} are now in {found}")
    return found


def _refuse_differences(run: Run, folder: Path, before: Photos, now: Photos) -> None:
    """RunError that names every photo that is not as it was, by what became of it."""
    kinds = _differences(before, now)
    told = "; ".join(f"{kind}: {first_few(names, SHOWN)}" for kind, names in kinds.items() if names)
    if told:
        raise RunError(
            f"{run.path}: the photos in {folder} are not those that it was begun with: {told}.",
            f"Put them back as they were, {NEW_RUN}.",
        )


def _differences(before: Photos, now: Photos) -> dict[str, list[str]]:
    both = [name for name in now if name in before]
    gone = {before[name]["sha256"]: name for name in before if name not in now}
    new = [name for name in now if name not in before]
    renamed = {name: gone.pop(now[name]["sha256"]) for name in new if now[name]["sha256"] in gone}

    def other(what: str) -> list[str]:
        return [name for name in both if before[name].get(what, now[name][what]) != now[name][what]]

    return {
        "replaced": other("sha256"),
        "missing": list(gone.values()),
        "new": [name for name in new if name not in renamed],
        "renamed": [f"{old} to {name}" for name, old in renamed.items()],
        "captioned otherwise": other("captions"),
        "with another mask": other("mask"),
        "repeated otherwise": other("repeats"),
    }
