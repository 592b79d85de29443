"""Jobs for tests: of a dataset of three photos, on a tiny base or the miniature."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from kaiffin.foundation.settings import build, override
from kaiffin.miniature.world.vocabulary import SIDE
from kaiffin.serve.database import Database
from kaiffin.serve.events import Events
from kaiffin.serve.jobs import Job, Jobs
from kaiffin.serve.studio import Studio

DATASET = "photos0000000000"
SETTINGS = {
    "subject.token": "kai", "subject.noun": "thing", "data.prior.weight": 0, "adapter.rank": 2,
    "adapter.targets": "attention", "train.tensorboard": False, "train.checkpoint_every": 1000,
    "score.candidates": 2, "sample.steps": 2,
}  # fmt: skip


def open_studio(path: Path) -> Studio:
    """A new one with a dataset, the same in all."""
    studio = Studio.open(path)
    if not studio.dataset(DATASET).is_dir():
        studio.dataset(DATASET).mkdir()
        numbers = np.random.default_rng(0)
        for i in range(3):
            pixels = numbers.integers(0, 255, (SIDE, SIDE, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(studio.dataset(DATASET) / f"{i}.png")
    return studio


def training(base: object = "miniature", steps: int = 4, **more: Any) -> dict[str, Any]:
    """The frozen request of a training; more: settings, dots written as `__`."""
    given = {name.replace("__", "."): value for name, value in more.items()}
    given = SETTINGS | {"base.name": str(base), "train.steps": steps} | given
    config = build(override({}, given)).model_dump(mode="json")
    return {"dataset": DATASET, "config": config}


def pictures(base: object = "miniature", **more: Any) -> dict[str, Any]:
    """The frozen request of pictures."""
    asked: dict[str, Any] = {
        "run": None, "base": str(base), "adapters": [], "sample": {"steps": 2}, "seed": 0,
        "count": 1, "prompts": ["a red car"], "checkpoint": None, "embeddings": [], "best": None,
        "preview_every": 0,
    }  # fmt: skip
    return asked | ({"base": None} if "run" in more else {}) | more


def job_of(folder: Path) -> Callable[..., Job]:
    """Makes jobs of a table that nothing works at: (owner, kind, request) -> job."""
    db = Database(folder / "jobs.sqlite")
    return Jobs(db, Events(db)).submit
