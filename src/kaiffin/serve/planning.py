"""What a training would cost, computed by a worker: the server itself loads no torch.

The worker is born as those of jobs are, warm where that can be, and ends with its answer, so that
the base's memory is given back. Torch-free until then.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from fastapi.concurrency import run_in_threadpool

from kaiffin.experiments.work.jobs import Job as Work
from kaiffin.experiments.work.jobs import Result
from kaiffin.experiments.work.processes import Processes
from kaiffin.foundation.errors import UserError
from kaiffin.foundation.settings import build, changed
from kaiffin.foundation.several import with_photos
from kaiffin.foundation.tell import SILENT, Tell
from kaiffin.serve.studio import Studio

SECONDS = 300.0
LOOK_S = 0.05


class Planner:
    """One plan at a time: each needs the base in memory. folder: for what the worker is given."""

    def __init__(self, folder: Path, seconds: float = SECONDS) -> None:
        self.folder, self.seconds, self._turn = folder, seconds, asyncio.Lock()

    async def plan(
        self, config: Mapping[str, Any], gone: Callable[[], Awaitable[bool]] | None = None
    ) -> dict[str, Any]:
        """config: with its paths; gone: whether nobody waits for it any more, as when a page has
        asked for another meanwhile. UserError for what cannot be trained."""
        async with self._turn:
            if gone and await gone():
                raise UserError("nobody waits for this plan any more.", "Ask again.")
            answer = await run_in_threadpool(self._asked, config)
        if "steps" in answer:
            return dict(answer)
        problem = answer.get("problem", "the plan could not be made.")
        raise UserError(problem, answer.get("fix", "Ask again, or for a smaller training."))

    def _asked(self, config: Mapping[str, Any]) -> Result:
        """What the worker says; {} where it does not."""
        work = Work(self.folder, "plan", "kaiffin.serve.planning:told", {"config": config}, ())
        place, until = Processes([{}], self.folder), time.monotonic() + self.seconds
        try:
            work.write()
            place.start(work)
            while time.monotonic() < until:
                for end in place.ended(LOOK_S):
                    return end.result or {}
            return {}
        finally:
            for name in list(place.running) * 2:  # the second time it is ended
                place.interrupt(name)
            place.stop()
            shutil.rmtree(self.folder, ignore_errors=True)


def placed(studio: Studio, request: Mapping[str, Any]) -> dict[str, Any]:
    """The config of a frozen request for a training, with the places of what it names by id."""
    asked, datasets = build(request["config"], "config"), request["subject_datasets"]
    folders = [studio.dataset(id) for id in (request["dataset"], *datasets)]
    subjects = [one.model_dump() for one in asked.subjects]
    config = changed(
        asked,
        subjects=with_photos(subjects, folders),
        **{
            name: str(place)
            for name, place in {
                "data.photos": studio.dataset(request["dataset"]),
                "adapter.init_from": request["init_from"] and studio.adapter(request["init_from"]),
                "score.like": request["like"] and studio.dataset(request["like"]),
            }.items()
            if place
        },
    )
    own = request["phase_datasets"]
    phases = [
        phase.model_copy(update={"photos": studio.dataset(own[phase.name])})
        if phase.name in own
        else phase
        for phase in config.phases
    ]
    return config.model_copy(update={"phases": tuple(phases)}).model_dump(mode="json")


def told(work: Work, *, tell: Tell = SILENT) -> Result:
    """The plan of the config in `work`, or the `problem` with its `fix`."""
    from kaiffin.stories.plan import plan

    try:
        found = plan(build(work.arguments["config"], "config"), tell=tell)
    except UserError as error:
        return {"problem": error.message, "fix": error.fix}
    made, memory = found.plan, found.memory
    return {
        "steps": made.steps, "epochs": made.epochs, "trainable": made.trainable,
        "layers": made.modules, "seconds": found.seconds, "room": found.room,
        "memory": memory.peak if memory else made.memory, "fits": found.fits,
        "derived": list(found.derived),
        "helps": [{"settings": rung.settings, "price": rung.price, "memory": rung.peak}
                  for rung in found.rungs],
    }  # fmt: skip
