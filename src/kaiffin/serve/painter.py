"""The painter: a worker that keeps a base warm and makes pictures as they are asked for.

Pictures whose settings agree are computed together, whoever asked for them; each is the one that
`kaiffin generate` makes, to one grey level. It ends when it is told to, or has long been idle.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Collection, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from PIL import Image

from kaiffin.experiments.work import workers
from kaiffin.experiments.work.jobs import Job as Work
from kaiffin.experiments.work.jobs import Result, reason
from kaiffin.foundation.config import BaseConfig
from kaiffin.foundation.errors import UserError
from kaiffin.foundation.folder import explained
from kaiffin.foundation.runtime import Runtime, let_go
from kaiffin.foundation.tell import SILENT, Tell
from kaiffin.models.base import ModelFamily
from kaiffin.models.files.load import load_base
from kaiffin.pictures import make
from kaiffin.pictures.batches import Batches, kind_of
from kaiffin.pictures.recipe import save_png
from kaiffin.pictures.request import Request
from kaiffin.pictures.sample import Draw
from kaiffin.serve.orders import given_away, order_of, picture_facts
from kaiffin.serve.spool import Spool
from kaiffin.serve.studio import Studio
from kaiffin.serve.work import House, Task
from kaiffin.stories.generate import open_order, tasks_of

ADAPTERS = 8  # that stay in memory
BUSY_S, QUIET_S = 0.005, 0.05  # between looks for new jobs
QUIET_AFTER_S = 2.0


class Unwanted(Exception):
    """All pictures of a batch were cancelled."""


@dataclass(frozen=True)
class Wanted:
    """A picture that is still to be made."""

    task: Task
    number: int
    picture: make.Task

    @property
    def agrees(self) -> Hashable:
        """Equal for pictures that can be computed together."""
        return self.picture.worn, make.setting(self.picture)


@dataclass
class Painter:
    """What one painter knows. said: a text as callers may read it; left: how many pictures of a job
    are to come; noted: what was said of each."""

    spool: Spool
    batches: Batches
    said: Callable[[str], str]
    tell: Tell
    base: BaseConfig | None = None
    family: ModelFamily | None = None
    wardrobe: make.Wardrobe | None = None
    todo: list[Wanted] = field(default_factory=list)
    left: dict[str, int] = field(default_factory=dict)
    noted: dict[str, list[str]] = field(default_factory=dict)

    def look(self, task: Callable[[str, dict[str, Any]], Task]) -> None:
        """Takes what is new, and drops what is no longer wanted."""
        for id, arguments in self.spool.taken():
            one = task(id, arguments)
            try:
                self._open(one)
            except Exception as error:
                self._fail([id], error)
        gone = self.spool.cancelled()
        self.todo = [one for one in self.todo if one.task.id not in gone]

    def _open(self, task: Task) -> None:
        order, changes = order_of(task)
        opened = open_order(order, changes, tell=_Asking(self, {task.id}))
        family = self._loaded(opened.config.base)
        pictures = tasks_of(order, opened, family, tell=self.tell)
        self.todo = [one for one in self.todo if one.task.id != task.id]  # given a second time
        self.todo += [Wanted(task, number, one) for number, one in enumerate(pictures)]
        self.left[task.id] = len(pictures)

    def _loaded(self, base: BaseConfig) -> ModelFamily:
        if self.family is None or self.base != base:
            self.family = self.wardrobe = None  # its memory first
            self.family = load_base(base, Runtime.from_config(base), self.tell)
            self.base, self.wardrobe = base, make.Wardrobe(self.family, ADAPTERS)
        return self.family

    def work(self) -> bool:
        """Makes one batch; False where there is nothing to do."""
        if not self.todo or self.family is None:
            return False
        first = self.todo[0]
        asked = first.picture.request
        key = kind_of(self.family, asked.size, len(first.picture.regions))
        alike = [one for one in self.todo if one.agrees == first.agrees]
        batch = alike[: self.batches.most(key, len(alike))]
        self.spool.compute({one.task.id for one in batch})
        try:
            self._make(batch, key)
        except Unwanted:
            self.tell.note("cancelled")
        except torch.OutOfMemoryError as error:
            let_go()
            if len(batch) > 1:
                self.batches.failed(key, len(batch))
                return True  # once more, fewer at once
            self._fail([first.task.id], UserError(str(error), "Ask for a smaller picture."))
        except Exception as error:
            self._fail({one.task.id for one in batch}, error)
        done = set(map(id, batch))
        self.todo = [one for one in self.todo if id(one) not in done]
        return True

    def _make(self, batch: Sequence[Wanted], key: str) -> None:
        assert self.family is not None
        by_request = {id(one.picture.request): one for one in batch}
        begun = time.perf_counter()

        def watch(requests: Sequence[Request], step: int, draw: Draw) -> None:
            gone = self.spool.cancelled()
            seen = [by_request[id(one)] for one in requests]
            if gone and all(one.task.id in gone for one in seen):
                raise Unwanted
            self._show(seen, step, draw)

        tasks, asking = (
            [one.picture for one in batch],
            _Asking(self, {one.task.id for one in batch}),
        )
        for place, image in make.make(
            self.family, tasks, len(tasks), watch=watch, wardrobe=self.wardrobe, tell=asking
        ):
            self._keep(batch[place], image)
        seconds = time.perf_counter() - begun
        self.batches.took(key, len(batch), seconds / batch[0].picture.request.steps)

    def _show(self, batch: Sequence[Wanted], step: int, draw: Draw) -> None:
        """The pictures as they are by now, for those who want to see them."""
        steps = batch[0].picture.request.steps
        every = [one.task.request.get("preview_every") or 0 for one in batch]
        due = [bool(n) and step % n == 0 and step < steps for n in every]
        if not any(due):
            return
        for one, image, is_due in zip(batch, draw(), due, strict=True):
            if is_due:
                facts = picture_facts(one.task, one.number, one.picture.request)
                save_png(image, one.task.studio.partial(facts["id"]))
                self.spool.say(one.task.id, f"{one.number}.partial", {**facts, "step": step})

    def _keep(self, one: Wanted, image: Image.Image) -> None:
        assert self.family is not None
        facts = picture_facts(one.task, one.number, one.picture.request)
        recipe = given_away(one.picture.recipe(self.family, image))
        save_png(image, one.task.studio.image(facts["id"]), recipe, sync=True)
        self.spool.say(one.task.id, str(one.number), facts)
        self.left[one.task.id] -= 1
        if not self.left[one.task.id]:
            self._end(one.task.id, {})

    def _fail(self, ids: Any, error: Exception) -> None:
        """The jobs cannot be done; the painter goes on, unless that is what a library made of an
        interruption."""
        if workers.told.is_set():
            raise KeyboardInterrupt from error
        said = reason(error, self.tell)
        problem, way = (error.message, error.fix) if isinstance(error, UserError) else (said, "")
        problem, way = self.said(problem), self.said(way)
        for id in ids:
            self.todo = [one for one in self.todo if one.task.id != id]
            self._end(id, {"problem": problem, "way_out": way})

    def _end(self, id: str, facts: dict[str, str]) -> None:
        self.left.pop(id, None)
        self.noted.pop(id, None)
        self.spool.say(id, "end", facts)

    def note(self, ids: Collection[str], text: str) -> None:
        """Says something to those who asked for these jobs, once to each."""
        text = self.said(text)
        for id in ids:
            before = self.noted.setdefault(id, [])
            if text not in before:
                self.spool.say(id, f"{len(before)}.note", {"text": text})
                before.append(text)


class _Asking(Tell):
    """Those who asked for some jobs: notes are for them."""

    def __init__(self, painter: Painter, ids: Collection[str]) -> None:
        self.painter, self.ids = painter, ids

    def note(self, text: str) -> None:
        self.painter.note(self.ids, text)


def paint(work: Work, *, tell: Tell = SILENT) -> Result:
    """arguments: `house`; `idle`, after so many seconds without a job it ends."""
    studio, house = Studio(work.out.parent), House(**work.arguments["house"])
    spool = Spool(studio.work / "paint" / work.name)
    with explained(studio.work):
        (studio.work / "partial").mkdir(parents=True, exist_ok=True)
    said = functools.partial(house.without_places, studio)
    painter = Painter(spool, Batches(studio.work / "batches.json"), said, tell)

    def task(id: str, arguments: dict[str, Any]) -> Task:
        return Task(id, arguments["kind"], arguments["request"], studio, house)

    busy = time.monotonic()
    while time.monotonic() - busy < work.arguments["idle"]:
        painter.look(task)
        if painter.work():
            busy = time.monotonic()
        else:
            time.sleep(BUSY_S if time.monotonic() - busy < QUIET_AFTER_S else QUIET_S)
    return {"idle": work.arguments["idle"]}
