"""What a training would cost, computed in a child process: the server itself loads no torch.

The child (`python -m kaiffin.serve.planning`) reads a config as JSON and answers with the plan.
Torch-free until that child runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import Mapping
from typing import Any

from kaiffin.foundation.errors import UserError
from kaiffin.foundation.settings import build, changed
from kaiffin.serve.studio import Studio

SECONDS = 300.0


class Planner:
    """One plan at a time: each needs the base in memory."""

    def __init__(self, seconds: float = SECONDS) -> None:
        self.seconds, self._turn = seconds, asyncio.Lock()

    async def plan(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """config: with its paths. UserError for what cannot be trained."""
        async with self._turn:
            child = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "kaiffin.serve.planning", stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
                start_new_session=True,
            )  # fmt: skip
            try:
                told, _ = await asyncio.wait_for(
                    child.communicate(json.dumps(config).encode()), self.seconds
                )
                answer = json.loads(told.splitlines()[-1])
            except (TimeoutError, ValueError, IndexError):
                raise UserError(
                    "the plan could not be made.", "Ask again, or for a smaller training."
                ) from None
            finally:
                with contextlib.suppress(ProcessLookupError):
                    child.kill()
                await child.wait()
        if "problem" in answer:
            raise UserError(answer["problem"], answer["fix"])
        return answer


def placed(studio: Studio, request: Mapping[str, Any]) -> dict[str, Any]:
    """The config of a frozen request for a training, with the places of what it names by id."""
    config = changed(
        build(request["config"], "config"),
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


def main() -> None:
    print(json.dumps(_answered(json.loads(sys.stdin.read()))), flush=True)


def _answered(config: Mapping[str, Any]) -> dict[str, Any]:
    from kaiffin.stories.plan import plan

    try:
        found = plan(build(config, "config"))
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


if __name__ == "__main__":
    main()
