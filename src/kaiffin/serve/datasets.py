"""Datasets: photos that were uploaded, with captions and crops, as a folder that trainings read.

    datasets/<id>/<photo>.jpg .txt     what is trained on: the photo or its crop, and its caption
    originals/<photo>.jpg              the whole of a photo that was cropped
    left-out/<photo>.jpg .txt          of a photo that is not to be trained on
    thumbs/<photo>-{shown,thumb}.jpg   what is shown: pixels alone, without the file's metadata

Torch-free.
"""

from __future__ import annotations

import builtins
import contextlib
import dataclasses
import json
import os
import shutil
import sqlite3
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi.concurrency import run_in_threadpool

from kaiffin.foundation.folder import explained, write_bytes
from kaiffin.serve.database import new_id
from kaiffin.serve.decoding import Decoder, Looked
from kaiffin.serve.jobs import Conflict, NotFound
from kaiffin.serve.studio import Studio

MOST = 10_000  # photos of a dataset
SUFFIXES = {
    "JPEG": ".jpg", "MPO": ".jpg", "PNG": ".png", "WEBP": ".webp", "BMP": ".bmp", "TIFF": ".tif",
    "AVIF": ".avif", "GIF": ".gif", "HEIF": ".heic",
}  # fmt: skip
LIVE = ("queued", "running", "pausing", "paused", "held")


@dataclass(frozen=True)
class Dataset:
    """subject, noun: the word that will mean it and what it is, "" until they are said; photos: how
    many, with those that are left out; cover: the first of them."""

    id: str
    name: str
    subject: str
    noun: str
    photos: int
    cover: str | None
    created: float


@dataclass(frozen=True)
class Photo:
    """width, height: upright, before the crop, which is None or left, top, width and height; notes:
    what was done to read it; name: what its owner called the file; left_out: not trained on."""

    id: str
    name: str
    width: int
    height: int
    bytes: int
    caption: str
    crop: Mapping[str, int] | None
    notes: tuple[str, ...]
    created: float
    left_out: bool
    dataset: str
    suffix: str


class Datasets:
    """All owners' datasets in a data folder."""

    def __init__(self, studio: Studio, decoder: Decoder) -> None:
        self.studio, self.db, self.decoder = studio, studio.db, decoder
        for name in ("originals", "left-out", "thumbs", "incoming"):
            studio.folder(name)
        for left in (studio.path / "incoming").iterdir():  # by a server that was killed
            left.unlink()

    def create(self, owner: str, name: str, subject: str = "", noun: str = "") -> Dataset:
        id = new_id()
        self.studio.folder(f"datasets/{id}")
        with self.db.transaction() as writer:
            writer.execute(
                "INSERT INTO datasets (id, owner, name, subject, noun, created)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (id, owner, name, subject, noun, time.time()),
            )
        return self.get(owner, id)

    def get(self, owner: str, id: str) -> Dataset:
        """Raises NotFound."""
        found = self._found("owner = ? AND id = ?", (owner, id), 1)
        if not found:
            raise NotFound(f"there is no dataset {id[:40]}.", "The list of datasets has yours.")
        return found[0]

    def list(self, owner: str, limit: int, before: str | None = None) -> builtins.list[Dataset]:
        """The newest first. before: the last one of the page before this."""
        if before is None:
            return self._found("owner = ?", (owner,), limit)
        self.get(owner, before)
        place = "owner = ? AND number < (SELECT number FROM datasets WHERE id = ?)"
        return self._found(place, (owner, before), limit)

    def _found(self, where: str, values: tuple[Any, ...], limit: int) -> builtins.list[Dataset]:
        rows = self.db.rows(
            "SELECT id, name, subject, noun, created,"
            " (SELECT COUNT(*) FROM photos WHERE dataset = datasets.id) AS photos,"
            " (SELECT id FROM photos WHERE dataset = datasets.id ORDER BY number LIMIT 1) AS cover"
            f" FROM datasets WHERE {where} ORDER BY number DESC LIMIT ?",
            (*values, limit),
        )
        return [Dataset(**dict(row)) for row in rows]

    def rename(self, owner: str, id: str, changes: Mapping[str, str]) -> Dataset:
        """changes: of name, subject and noun."""
        with self.db.transaction() as writer:  # one change after the other
            found = dataclasses.replace(self.get(owner, id), **changes)
            query = "UPDATE datasets SET name = ?, subject = ?, noun = ? WHERE id = ?"
            writer.execute(query, (found.name, found.subject, found.noun, id))
        return found

    def delete(self, owner: str, id: str) -> None:
        """Its photos, too. Conflict while a job that is not over has been given it."""
        self.get(owner, id)
        refuse_in_use(self.studio, owner, id)
        photos = self.photos(owner, id, MOST)
        with self.db.transaction() as writer:
            writer.execute("DELETE FROM photos WHERE dataset = ?", (id,))
            writer.execute("DELETE FROM datasets WHERE id = ?", (id,))
        for photo in photos:
            self._remove_files(photo)
        shutil.rmtree(self.studio.dataset(id), ignore_errors=True)

    # --- photos -----------------------------------------------------------------------------

    async def add(self, owner: str, dataset: str, incoming: Path, name: str, caption: str) -> Photo:
        """A photo out of a file that came in, which is moved; one that is there already is
        answered with as it is. PhotoError for what is none."""
        id = incoming.name
        if (await run_in_threadpool(self.get, owner, dataset)).photos >= MOST:
            raise Conflict(f"{MOST:,} photos are as many as a dataset takes.", "Begin another.")
        shown, thumb = self._pictures(id)
        looked = await self.decoder.look(incoming, shown=shown, thumb=thumb)
        return await run_in_threadpool(self._keep, dataset, incoming, name, caption, looked)

    def _keep(self, dataset: str, incoming: Path, name: str, caption: str, looked: Looked) -> Photo:
        id, suffix = incoming.name, SUFFIXES[looked.format]
        place = self.studio.dataset(dataset) / f"{id}{suffix}"
        try:
            with self.db.transaction() as writer:  # of two that are the same, one comes first
                same = self._rows("dataset = ? AND sha256 = ?", (dataset, looked.sha256))
                if not same:
                    writer.execute(
                        "INSERT INTO photos (id, dataset, name, suffix, sha256, bytes, width,"
                        " height, notes, created) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                        (id, dataset, name, suffix, looked.sha256, incoming.stat().st_size,
                         looked.width, looked.height, json.dumps(looked.notes), time.time()),
                    )  # fmt: skip
                    with explained(place):
                        os.replace(incoming, place)
        except BaseException:  # or a training would find what no list names
            _remove(place, *self._pictures(id))
            raise
        if same:
            _remove(*self._pictures(id))
            return same[0]
        if caption:
            self._caption(self._rows("id = ?", (id,))[0], caption)
        return self._rows("id = ?", (id,))[0]

    def photos(
        self, owner: str, dataset: str, limit: int, after: str | None = None
    ) -> builtins.list[Photo]:
        """In the order in which they came. after: the last one of the page before this."""
        self.get(owner, dataset)
        first = self.photo(owner, dataset, after) if after else None
        where = "dataset = ? AND number > IFNULL((SELECT number FROM photos WHERE id = ?), 0)"
        return self._rows(where, (dataset, first.id if first else ""), limit)

    def photo(self, owner: str, dataset: str, id: str) -> Photo:
        """Raises NotFound."""
        self.get(owner, dataset)
        found = self._rows("dataset = ? AND id = ?", (dataset, id))
        if not found:
            raise NotFound(f"there is no photo {id[:40]} in it.", "The dataset lists its photos.")
        return found[0]

    def _rows(self, where: str, values: tuple[Any, ...], limit: int = 1) -> builtins.list[Photo]:
        query = f"SELECT * FROM photos WHERE {where} ORDER BY number LIMIT ?"
        return [_photo(row) for row in self.db.rows(query, (*values, limit))]

    def picture(self, photo: Photo, *, thumb: bool) -> Path:
        """The JPEG that is shown of it."""
        return self._pictures(photo.id)[thumb]

    async def change(
        self, photo: Photo, *, caption: str | None = None, crop: Mapping[str, int] | None = None,
        uncrop: bool = False,
    ) -> Photo:  # fmt: skip
        """Another caption, or another part of it; uncrop: the whole again."""
        if caption is not None:
            await run_in_threadpool(self._caption, photo, caption)
        if crop is not None or uncrop:
            await self._crop(photo, None if uncrop else crop)
        return self._rows("id = ?", (photo.id,))[0]

    def leave_out(self, photo: Photo, left_out: bool) -> Photo:
        """Takes its files out of the folder that is trained on, or puts them back."""
        with self._now(photo) as (now, writer):
            writer.execute("UPDATE photos SET left_out = ? WHERE id = ?", (left_out, photo.id))
            there = dataclasses.replace(now, left_out=left_out)
            self.db.afterwards(lambda: self._move(now, self._folder(now), self._folder(there)))
        return self._rows("id = ?", (photo.id,))[0]

    def _move(self, photo: Photo, before: Path, after: Path) -> None:
        for file in self._files(before, photo) if before != after else ():
            with explained(after):
                if file.is_file():
                    os.replace(file, after / file.name)

    @contextlib.contextmanager
    def _now(self, photo: Photo) -> Iterator[tuple[Photo, sqlite3.Connection]]:
        """The photo as it is while the block lasts: one change after the other."""
        with self.db.transaction() as writer:
            found = self._rows("id = ?", (photo.id,))
            if not found:
                raise NotFound("this photo was deleted.", "The dataset lists its photos.")
            yield found[0], writer

    def _folder(self, photo: Photo) -> Path:
        if photo.left_out:
            return self.studio.path / "left-out"
        return self.studio.dataset(photo.dataset)

    def _files(self, folder: Path, photo: Photo) -> builtins.list[Path]:
        return [folder / f"{photo.id}{suffix}" for suffix in (photo.suffix, ".png", ".txt")]

    def _caption(self, photo: Photo, caption: str) -> None:
        """Beside the photo once the table has it: a full disk leaves both as they were."""
        made = self.studio.path / "incoming" / f"{new_id()}.txt"
        try:
            write_bytes(made, caption.encode())
            with self._now(photo) as (now, writer):
                writer.execute("UPDATE photos SET caption = ? WHERE id = ?", (caption, photo.id))
                path = self._folder(now) / f"{photo.id}.txt"
                self.db.afterwards(
                    lambda: os.replace(made, path) if caption else path.unlink(missing_ok=True)
                )
        finally:
            made.unlink(missing_ok=True)

    async def _crop(self, photo: Photo, crop: Mapping[str, int] | None) -> None:
        """The original stands aside while a part of it is in its place."""
        folder = self._folder(photo)
        whole, aside = folder / f"{photo.id}{photo.suffix}", self._original(photo)
        cut = folder / f"{photo.id}.png"
        shown, thumb = self._pictures(photo.id)
        source = aside if aside.is_file() else whole
        if crop is None:
            if aside.is_file():
                cut.unlink(missing_ok=True)
                os.replace(aside, whole)
            await self.decoder.look(whole, shown=shown, thumb=thumb)
        else:
            made = self.studio.path / "incoming" / f"{photo.id}.png"
            await self.decoder.look(source, shown=shown, thumb=thumb, crop=(made, crop))
            if source is whole:
                os.replace(whole, aside)
            os.replace(made, cut)
        with self.db.transaction() as writer:
            text = json.dumps(dict(crop)) if crop else None
            writer.execute("UPDATE photos SET crop = ? WHERE id = ?", (text, photo.id))

    def remove(self, owner: str, photo: Photo) -> None:
        """Conflict while a job that is not over works with the dataset."""
        refuse_in_use(self.studio, owner, photo.dataset)
        with self.db.transaction() as writer:
            writer.execute("DELETE FROM photos WHERE id = ?", (photo.id,))
        self._remove_files(photo)

    def _remove_files(self, photo: Photo) -> None:
        files = self._files(self._folder(photo), photo)
        _remove(*files, self._original(photo), *self._pictures(photo.id))

    def _original(self, photo: Photo) -> Path:
        return self.studio.path / "originals" / f"{photo.id}{photo.suffix}"

    def _pictures(self, id: str) -> tuple[Path, Path]:
        folder = self.studio.path / "thumbs"
        return folder / f"{id}-shown.jpg", folder / f"{id}-thumb.jpg"


def _remove(*paths: Path) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def refuse_in_use(studio: Studio, owner: str, id: str) -> None:
    """Conflict where a job that is not over has been given the thing."""
    rows = studio.db.rows(
        f"SELECT id FROM jobs WHERE owner = ? AND state IN ({', '.join('?' * len(LIVE))})"
        " AND instr(request, ?)",
        (owner, *LIVE, f'"{id}"'),
    )
    if rows:
        raise Conflict(f"job {rows[0]['id']} works with it.", "Cancel the job first.")


def _photo(row: sqlite3.Row) -> Photo:
    crop = json.loads(row["crop"]) if row["crop"] else None
    return Photo(
        row["id"], row["name"], row["width"], row["height"], row["bytes"], row["caption"], crop,
        tuple(json.loads(row["notes"])), row["created"], bool(row["left_out"]),
        row["dataset"], row["suffix"],
    )  # fmt: skip
