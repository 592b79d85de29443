"""A run folder: the only module that knows its layout. Torch-free.

    config.yaml  beginning.json  manifest.json  proof.json  metrics.jsonl  lock  README.md
    report.html  <token>.safetensors
    checkpoints/step-00000500/{adapter.safetensors, optimizer.safetensors, state.json}
    candidates/<token>-step-00000500.safetensors  best.safetensors  choice.json  evaluation/
    data/  cache/  previews/  images/  tensorboard/

Every file is written aside, synced and renamed, so that a reader or a restart sees all of it or
none. What lies in checkpoints/ are restart points: all that a training needs to go on, each a
folder that appears by one rename; the old ones go last. Candidates are adapters ready for use.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kaiffin.foundation.config import Config
from kaiffin.foundation.errors import RunError
from kaiffin.foundation.folder import Folder, explained, file_name, read_json, write_folder
from kaiffin.foundation.paths import anchored
from kaiffin.foundation.settings import dump, load
from kaiffin.foundation.several import by_subject, number_of

PREFIX = "step-"
# What lies in a folder that `prepare` or a training wrote about photos.
PHOTOS_MANIFEST, CONTACT_SHEET = "manifest.json", "contact_sheet.png"
MASKS = "masks"  # a folder of those that the base made


class Run(Folder):
    """One training: a folder. Make it with `create` or `open`."""

    def __init__(self, path: Path, config: Config) -> None:
        super().__init__(path)
        self.config = config

    # --- making and opening -----------------------------------------------------------------

    @classmethod
    def create(cls, path: Path, config: Config) -> Run:
        """A new run at `path`. A folder in which nothing has been trained yet is taken over."""
        run = cls(path, config)
        if run.latest_restart_point() or run.finished:
            raise RunError(
                f"{path}: holds a run already.",
                f"Go on with `kaiffin resume {path}`, or choose another --out.",
            )
        if path.is_dir() and any(_holds(path)) and not run.config_path.is_file():
            raise RunError(f"{path}: is a folder with other things in it.", "Choose another --out.")
        with explained(path):
            path.mkdir(parents=True, exist_ok=True)
        with run.lock():  # another process may train in it and have saved nothing yet
            run.beginning_path.unlink(missing_ok=True)
            run.save_config(config)
        return run

    @staticmethod
    def is_at(path: Path) -> bool:
        """Whether there is a run at `path`."""
        return (path / "config.yaml").is_file()

    @classmethod
    def open(cls, path: Path) -> Run:
        """The run at `path`, its config `anchored`; raises `RunError` if there is none."""
        if not cls.is_at(path):
            raise RunError(
                f"{path}: is no run folder (no config.yaml).", "Name a folder that train has made."
            )
        return cls(path, anchored(load(path / "config.yaml"), path))

    def save_config(self, config: Config) -> None:
        """Replaces the config, as when `preset` has filled what was left open."""
        self.config = config
        self.write("config.yaml", dump(config).encode())

    def by_subject(self) -> list[Run]:
        """The run as it is of each of its subjects; itself, where it has one."""
        return [Run(self.path, config) for config in by_subject(self.config)]

    # --- names ------------------------------------------------------------------------------

    @property
    def config_path(self) -> Path:
        return self.path / "config.yaml"

    @property
    def adapter_path(self) -> Path:
        return self.path / f"{file_name(self.config.everyone[0].token)}.safetensors"

    def part_path(self, part: str) -> Path:
        """`<token>-<part>.safetensors`: the adapter of one phase, or the embedding."""
        return self.adapter_path.with_name(f"{self.adapter_path.stem}-{part}.safetensors")

    def layout_path(self, layout: str) -> Path:
        """Folder with the adapter in a layout beside kohya's: diffusers or peft."""
        return self.path / layout

    @property
    def manifest_path(self) -> Path:
        """What the run is made of: versions, base, photos, what was derived."""
        return self.path / "manifest.json"

    @property
    def beginning_path(self) -> Path:
        """What the run was begun with, by content (see train.beginning)."""
        return self.path / "beginning.json"

    def beginning(self) -> dict[str, Any]:
        """What the run was begun with; empty before that, and in older runs."""
        return read_json(self.beginning_path)

    @property
    def workflow_path(self) -> Path:
        """For ComfyUI, with the adapter in it."""
        return self.adapter_path.with_suffix(".comfyui.json")

    @property
    def best_path(self) -> Path:
        """The candidate that `choose` recommends."""
        return self.path / "best.safetensors"

    @property
    def proof_path(self) -> Path:
        """Whether others read its adapter to what was trained."""
        return self.path / "proof.json"

    @property
    def choice_path(self) -> Path:
        """What `choose` measured and recommends; its sheet has the same name and ends in .png. Of
        several subjects each has its own."""
        number = number_of(self.config) + 1
        return self.path / ("choice.json" if number == 1 else f"choice-{number}.json")

    def photos_folder(self, number: int = 1) -> Path:
        """What was found in the photos: manifest and contact sheet; one for each folder of
        photos that is trained on, by its 1-based number."""
        return self.path / ("data" if number == 1 else f"data-{number}")

    @property
    def photos_manifest(self) -> Path:
        """Of the subject's folder of photos, or the first: every file, its crop and captions."""
        return self.photos_folder(number_of(self.config) + 1) / PHOTOS_MANIFEST

    @property
    def evaluation(self) -> Path:
        """Pictures that were made to be scored."""
        return self.path / "evaluation"

    @property
    def cache(self) -> Path:
        """What can be computed again: latents, text states, class pictures, scores."""
        return self.path / "cache"

    @property
    def images(self) -> Path:
        """Pictures that `generate` makes, unless told otherwise."""
        return self.path / "images"

    @property
    def previews(self) -> Path:
        """Sheets made on the way."""
        return self.path / "previews"

    @property
    def metrics_path(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def grids(self) -> Path:
        """Grids that were made with it, unless told otherwise."""
        return self.path / "grids"

    @property
    def report_path(self) -> Path:
        return self.path / "report.html"

    @property
    def finished(self) -> bool:
        return self.adapter_path.is_file()

    def reopen(self) -> None:
        """Makes a finished run one that goes on; its adapter stays among the candidates."""
        self.proof_path.unlink(missing_ok=True)
        self.adapter_path.unlink(missing_ok=True)

    # --- metrics ----------------------------------------------------------------------------

    def metrics(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl with a step and a finite loss; torn lines are left out."""
        path, found = self.metrics_path, []
        for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
            with contextlib.suppress(ValueError, KeyError, TypeError):
                entry = json.loads(line)
                if math.isfinite(entry["loss"]) and entry["step"] > 0:
                    found.append(entry)
        return found

    # --- candidates -------------------------------------------------------------------------

    def candidate_path(self, step: int) -> Path:
        """The adapter as it was after `step`, ready for use."""
        name = f"{self.adapter_path.stem}-{PREFIX}{step:08d}.safetensors"
        return self.path / "candidates" / name

    def candidates(self) -> list[tuple[int, Path]]:
        """Adapters kept along the way as (step, file), oldest first; the last is the final one."""
        found = (self.path / "candidates").glob(f"*-{PREFIX}*.safetensors")
        return sorted((int(path.stem.rpartition(PREFIX)[2]), path) for path in found)

    # --- restart points ---------------------------------------------------------------------

    @property
    def _restart_points(self) -> Path:
        return self.path / "checkpoints"

    def restart_points(self) -> list[tuple[int, Path]]:
        """Complete ones as (step, folder), oldest first."""
        folder = self._restart_points
        names = folder.iterdir() if folder.is_dir() else ()
        found = [path for path in names if path.name.startswith(PREFIX)]
        return sorted((int(path.name.removeprefix(PREFIX)), path) for path in found)

    def latest_restart_point(self) -> Path | None:
        every = self.restart_points()
        return every[-1][1] if every else None

    def new_restart_point(self, step: int, files: Mapping[str, bytes], keep: int) -> Path:
        """Writes one by one rename, then removes all but the newest `keep`."""
        final = self._restart_points / f"{PREFIX}{step:08d}"
        write_folder(final, files)
        for _, old in self.restart_points()[:-keep]:
            # Renamed first: a kill in the middle of removing must not leave half of one.
            doomed = old.with_name(f".{old.name}.old")
            os.replace(old, doomed)
            shutil.rmtree(doomed, ignore_errors=True)
        return final

    def clean(self) -> None:
        """Removes what a killed training left half-written; what `choose` and `generate` write may
        be in the making."""
        folders = [self.path, self._restart_points, self.path / "candidates", self.previews]
        for folder in (*folders, *self.path.glob("data*"), *self.cache.glob("*")):
            for path in folder.glob(".*.part") if folder.is_dir() else ():
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink()
        for path in self._restart_points.glob(".*.old"):
            shutil.rmtree(path, ignore_errors=True)

    def truncate_metrics(self, step: int) -> None:
        """Drops the lines after `step`, which a resumed training will write again."""
        if not self.metrics_path.is_file():
            return
        kept = []
        for line in self.metrics_path.read_text(encoding="utf-8").splitlines():
            with contextlib.suppress(ValueError, KeyError, TypeError):
                if json.loads(line)["step"] <= step:
                    kept.append(line + "\n")
        self.write("metrics.jsonl", "".join(kept).encode())


def _holds(folder: Path) -> Iterator[Path]:
    """What is in it, but for what a `create` leaves that was killed."""
    for path in folder.iterdir():
        if path.name not in ("lock", "lock.pid") and not path.match(".*.part"):
            yield path


def free_name(path: Path) -> Path:
    """`path`, or the first of path-2, path-3, ... in which nothing is or has been trained."""
    candidate, number = path, 1
    while _taken(candidate):
        number += 1
        candidate = path.with_name(f"{path.name}-{number}")
    return candidate


def _taken(path: Path) -> bool:
    trained = (path / "checkpoints").is_dir() or any(path.glob("*.safetensors"))
    return trained or ((path / "config.yaml").is_file() and Folder(path).in_use())
