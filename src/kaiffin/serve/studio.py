"""The data folder of a service: everything that it keeps, and who may use it. Torch-free.

    studio.sqlite  lock                     the database, and who has it open
    datasets/<id>/  runs/<id>/              photos, and trainings (see foundation.run)
    images/<aa>/<id>.png  thumbs/           pictures with their recipes
    adapters/<id>.safetensors               that were imported
    uploads/<id>.png                        what is painted over, for a day
    made/<id>/                              what other jobs made, and the photos as they were when
                                            a job was submitted, by the job's id
    work/                                   jobs at their workers (see experiments.work)

Every name in it is an id that the service made. Copied while no server runs, or by the way that
docs/serving.md shows, it is a backup.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kaiffin.foundation.errors import RunError
from kaiffin.foundation.folder import Folder, explained
from kaiffin.serve.database import LETTERS, Database
from kaiffin.serve.events import Events
from kaiffin.serve.jobs import Job, Jobs, NotFound


class Studio(Folder):
    """An open data folder. No other process has it open meanwhile."""

    def __init__(self, path: Path) -> None:
        super().__init__(path.absolute())
        self._open = contextlib.ExitStack()
        self.db: Database
        self.events: Events
        self.jobs: Jobs

    @classmethod
    def open(cls, path: Path) -> Studio:
        """The data folder at `path`, made where there is none. RunError where another server has
        it, or where it is of a newer Kaiffin."""
        studio = cls(path)
        for name in ("", "datasets", "runs", "images", "thumbs", "adapters", "uploads", "made",
                     "work/jobs"):  # fmt: skip
            studio.folder(name)
        try:
            studio._open.enter_context(studio.lock())
        except RunError as error:
            raise RunError(
                f"{error.message.removesuffix('.')}, which serves it already.",
                "Use that server, stop it, or choose another --data.",
            ) from None
        try:
            studio.db = Database(studio.path / "studio.sqlite")
        except RunError:
            studio._open.close()
            raise
        studio._open.callback(studio.db.close)
        studio.events = Events(studio.db)
        studio.jobs = Jobs(studio.db, studio.events, freeze=studio.freeze)
        studio._tidy()
        return studio

    def freeze(self, job: Job) -> None:
        """Keeps the photos of a job as they are now: links, since no file here is ever changed but
        by another in its place. NotFound for photos that are not there."""
        if job.kind == "scan":
            return  # the photos as they are when it begins
        try:
            for name, dataset in _photos_of(job.request):
                self._copy(dataset, self.made(job.id) / name)
            for name, id in begun_from(job.request):
                self._keep(id, self.made(job.id) / f"{name}.png")
        except BaseException:
            shutil.rmtree(self.made(job.id), ignore_errors=True)
            raise

    def _copy(self, dataset: str, copy: Path) -> None:
        source = self.dataset(dataset)
        if not source.is_dir():
            raise NotFound(f"there is no dataset {dataset}.", "Name one that is there.")
        with explained(copy):
            copy.mkdir(parents=True, exist_ok=True)
            for file in source.iterdir():
                if file.is_file():
                    _link(file, copy / file.name)

    def _keep(self, id: str, copy: Path) -> None:
        """A picture of the gallery, or one that was uploaded."""
        source = next((p for p in (self.image(id), self.upload(id)) if p.is_file()), None)
        if source is None:
            raise NotFound(f"there is no picture {id}.", "Send it again.")
        with explained(copy):
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, copy)

    def _tidy(self) -> None:
        """Removes the photos of jobs whose submission was not written down."""
        known = {row["id"] for row in self.db.rows("SELECT id FROM jobs")}
        for folder in (self.path / "made").iterdir():
            if folder.name not in known:
                shutil.rmtree(folder, ignore_errors=True)

    def close(self) -> None:
        self._open.close()

    # --- names ------------------------------------------------------------------------------

    @property
    def work(self) -> Path:
        """The folder of jobs at their workers."""
        return self.path / "work"

    def dataset(self, id: str) -> Path:
        return self.path / "datasets" / _checked(id)

    def run(self, id: str) -> Path:
        return self.path / "runs" / _checked(id)

    def adapter(self, id: str) -> Path:
        return self.path / "adapters" / f"{_checked(id)}.safetensors"

    def image(self, id: str) -> Path:
        return self.path / "images" / _checked(id)[:2] / f"{id}.png"

    def upload(self, id: str) -> Path:
        return self.path / "uploads" / f"{_checked(id)}.png"

    def made(self, id: str) -> Path:
        """The folder of what the job `id` made."""
        return self.path / "made" / _checked(id)

    def partial(self, id: str) -> Path:
        """A picture in the making, as it was some steps ago."""
        return self.work / "partial" / f"{_checked(id)}.png"


def _photos_of(request: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(folder that the job finds them in, dataset)"""
    for field, name in (("dataset", "photos"), ("like", "like")):
        if request.get(field):
            yield name, request[field]
    for phase, dataset in (request.get("phase_datasets") or {}).items():
        yield f"phase-{phase}", dataset
    for number, dataset in enumerate(request.get("subject_datasets") or (), 2):
        yield f"subject-{number}", dataset


def begun_from(request: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(image or mask, the id of the picture that it is)"""
    start = request.get("start") or {}
    yield from ((name, start[name]) for name in ("image", "mask") if start.get(name))


def _link(file: Path, copy: Path) -> None:
    try:
        os.link(file, copy)
    except OSError:  # another file system, or one without links
        shutil.copyfile(file, copy)


def _checked(id: str) -> str:
    """The id; NotFound for what none can be, so that no caller's text becomes a path."""
    if not id or len(id) > 32 or not set(id) <= {*LETTERS, "-"}:
        raise NotFound(f"{id[:40]!r} is no id.", "Take one that the service gave.")
    return id
