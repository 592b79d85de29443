"""Everything that a request names is looked up, and counted."""

import asyncio
from pathlib import Path

import pytest
from served import World

from kaiffin.foundation.errors import UserError
from kaiffin.serve.asking import failure, named, pictures, submit, wait
from kaiffin.serve.errors import Refused
from kaiffin.serve.jobs import NotFound
from kaiffin.serve.keys import SCOPES, Caller
from kaiffin.serve.requests import (
    Asked,
    Choose,
    Generate,
    Grid,
    Rank,
    Report,
    Sweep,
    Train,
    Worn,
)

ID, OTHER, THIRD = "a" * 16, "b" * 16, "c" * 16
ADA = Caller("ada", "ada", frozenset(SCOPES))


def test_what_a_request_names() -> None:
    train = Train(
        dataset=ID, like=OTHER, init_from=THIRD, config={"phases": [{"name": "one"}]},
        phase_datasets={"one": OTHER},
    )  # fmt: skip
    assert sorted(named(train.frozen())) == [
        ("adapter", THIRD), ("base", "miniature"), ("dataset", ID), ("dataset", OTHER),
        ("dataset", OTHER),
    ]  # fmt: skip
    worn = Generate(run=ID, prompts=["a"], adapters=[Worn(adapter=OTHER)], embeddings=[THIRD])
    assert sorted(named(worn.frozen())) == [("adapter", OTHER), ("adapter", THIRD), ("run", ID)]
    ranked = Rank(images=[ID, OTHER], prompt="a", like=THIRD).frozen()
    assert sorted(named(ranked)) == [("dataset", THIRD), ("image", ID), ("image", OTHER)]


@pytest.mark.parametrize(
    "asked",
    [
        Train(dataset=ID), Generate(run=ID, prompts=["a"]), Rank(images=[ID], prompt="a"),
        Generate(base="miniature", prompts=["a"], adapters=[Worn(adapter=ID)]),
        Generate(base="miniature", prompts=["a"], embeddings=[ID]),
    ],
)  # fmt: skip
def test_what_is_not_there_is_no_job(world: World, asked: Asked) -> None:
    with pytest.raises(NotFound):
        submit(world.service, ADA, type(asked).__name__.lower(), asked)  # ty: ignore[invalid-argument-type]
    assert world.studio.jobs.count("ada") == 0


def test_bases_are_the_operators(world: World) -> None:
    with pytest.raises(UserError, match="not served"):
        submit(world.service, ADA, "generate", Generate(base="sd15", prompts=["a"]))


def test_a_run_whose_base_is_gone_is_said_with_the_way_out(world: World) -> None:
    config = {"base": {"name": "sd15"}}
    world.studio.folder(f"datasets/{ID}")
    run = world.studio.jobs.submit("ada", "train", {"dataset": ID, "name": "", "config": config}).id
    world.finish(run)
    for kind, asked in (
        ("generate", Generate(run=run, prompts=["a"])),
        ("choose", Choose(run=run)),
    ):
        with pytest.raises(UserError, match="'sd15', which this training was made with") as refused:
            submit(world.service, ADA, kind, asked)
        assert "train again with another base" in refused.value.fix
    assert submit(world.service, ADA, "report", Report(runs=[run])).state == "queued"
    world.service.bases = (*world.service.bases, "sd15")
    assert submit(world.service, ADA, "choose", Choose(run=run)).state == "queued"


def test_how_many_pictures() -> None:
    made = Generate(base="miniature", prompts=["a", "b"], count=3)
    assert pictures("generate", made.frozen()) == 6
    x, y = ({"name": name, "values": ["1", "2"]} for name in ("steps", "guidance"))
    assert pictures("grid", Grid(base="miniature", prompt="a", x=x, y=y, count=2).frozen()) == 8
    sweep = Sweep(dataset=ID, prompts=["a", "b"], grid={"train.seed": [1, 2, 3]}, count=2)
    assert pictures("sweep", sweep.frozen()) == 12
    assert pictures("scan", {}) == 0


def test_waiting_ends_with_the_service(tmp_path: Path) -> None:
    world = World(tmp_path / "studio")
    job = submit(world.service, ADA, "generate", Generate(base="miniature", prompts=["a"]))

    async def ended() -> str:
        waiting = asyncio.create_task(wait(world.service, "ada", job.id, 300))
        await asyncio.sleep(0)
        world.studio.events.end()
        return (await asyncio.wait_for(waiting, 60)).state

    assert asyncio.run(ended()) == "queued"
    world.studio.close()


def test_waiting_ends_with_the_job_or_the_time(world: World) -> None:
    job = submit(world.service, ADA, "generate", Generate(base="miniature", prompts=["a"]))

    async def both() -> list[str]:
        short = await wait(world.service, "ada", job.id, 0.05)
        until = asyncio.create_task(wait(world.service, "ada", job.id, 30))
        await asyncio.to_thread(world.studio.jobs.cancel, "ada", job.id)
        return [short.state, (await until).state]

    assert asyncio.run(both()) == ["queued", "cancelled"]
    assert "cancelled" in str(failure(world.studio.jobs.get("ada", job.id)))
    with pytest.raises(Refused):
        submit(world.service, Caller("ada", "ada", frozenset({"read"})), "generate",
               Generate(base="miniature", prompts=["a"]))  # fmt: skip
