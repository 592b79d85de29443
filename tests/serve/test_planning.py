"""A plan by a worker: what it is given, and what becomes of one that does not answer."""

import asyncio
from pathlib import Path

import pytest
from served import World

from kaiffin.foundation.errors import UserError
from kaiffin.serve.planning import Planner, placed
from kaiffin.serve.requests import Train

ID, OTHER = "a" * 16, "b" * 16


def test_ids_become_places(world: World) -> None:
    phases = [{"name": "one"}, {"name": "two"}]
    asked = Train(
        dataset=ID, init_from=OTHER, config={"phases": phases}, phase_datasets={"two": OTHER}
    )
    config = placed(world.studio, asked.frozen())
    assert config["data"]["photos"] == str(world.studio.dataset(ID))
    assert config["adapter"]["init_from"] == str(world.studio.adapter(OTHER))
    assert [one["photos"] for one in config["phases"]] == [None, str(world.studio.dataset(OTHER))]
    assert config["score"]["like"] is None


def test_each_of_several_subjects_is_placed(world: World) -> None:
    two = {"subjects": [{"token": "kai"}, {"token": "tobbul"}]}
    config = placed(world.studio, Train(dataset=ID, config=two, subject_datasets=(OTHER,)).frozen())
    places = [str(world.studio.dataset(id)) for id in (ID, OTHER)]
    assert [one["photos"] for one in config["subjects"]] == places
    assert config["data"]["photos"] == places[0]


def test_a_plan_that_nobody_waits_for_is_not_made(tmp_path: Path) -> None:
    async def gone() -> bool:
        return True

    with pytest.raises(UserError, match="nobody waits"):
        asyncio.run(Planner(tmp_path / "plans").plan({}, gone))
    assert not (tmp_path / "plans").exists()


def test_a_worker_that_does_not_answer(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="could not be made"):
        asyncio.run(Planner(tmp_path / "plans", 0.01).plan({}))
    assert not (tmp_path / "plans").exists()
