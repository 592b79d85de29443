"""The pictures of an evaluation, kept by content."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from kaiffin.foundation.cache import content_key
from kaiffin.foundation.folder import file_sha256
from kaiffin.models.base import ModelFamily
from kaiffin.pictures.few import NONE, Few
from kaiffin.pictures.make import Task, WeightedAdapter, make
from kaiffin.pictures.recipe import save_png
from kaiffin.pictures.request import Request
from kaiffin.score.questions import PromptSet


@dataclass(frozen=True)
class Gallery:
    """The pictures of a run's evaluation. folder: <run>/evaluation; few: as `few_steps` has it."""

    folder: Path
    family: ModelFamily
    few: Few = NONE

    def paths(self, adapter: Path | None, asked: PromptSet) -> list[Path]:
        """Where the pictures are or will be, in order of the requests."""
        name = file_sha256(adapter)[:16] if adapter else BASE
        of_all = (self.family.revision, *self.few.facts.values())
        return [
            self.folder / name / f"{content_key(*of_all, request)[:16]}.png"
            for request in asked.requests
        ]

    def missing(self, adapter: Path | None, asked: PromptSet) -> list[tuple[Request, Path]]:
        pairs = zip(asked.requests, self.paths(adapter, asked), strict=True)
        return [(request, path) for request, path in pairs if not path.is_file()]

    def todo(self, adapters: Sequence[Path | None], asked: PromptSet) -> int:
        """How many pictures of the adapters are still to be made."""
        return sum(len(self.missing(adapter, asked)) for adapter in adapters)

    def make(
        self,
        adapter: Path | None,
        asked: PromptSet,
        advance: Callable[[int], None],
        batch_size: int,
    ) -> None:
        """Makes what is missing, each picture with its recipe inside."""
        todo = self.missing(adapter, asked)
        if not todo:
            return
        todo[0][1].parent.mkdir(parents=True, exist_ok=True)
        wanted = self.few.beside([WeightedAdapter(adapter)] if adapter else [])
        tasks = [Task(request, wanted) for request, _ in todo]
        for place, image in make(self.family, tasks, batch_size):
            save_png(image, todo[place][1], tasks[place].recipe(self.family, image))
            advance(1)


BASE = "base"  # the folder of the pictures without an adapter
