"""The service against its own description: nothing that is sent makes it fail (schemathesis)."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from served import World, jpeg, listening, lora

from kaiffin.foundation.run import Run
from kaiffin.foundation.settings import build

CHECKS = [
    not_a_server_error, status_code_conformance, content_type_conformance,
    response_headers_conformance, response_schema_conformance,
]  # fmt: skip
ENDLESS = "/api/v1/events"
LIGHT = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One that waits for no job, since nobody does any, and for no long plan."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kaiffin.serve.asking.WAIT_MOST", 0.01)
        patch.setattr("kaiffin.serve.openai.PATIENCE", 0.01)
        patch.setattr("kaiffin.serve.openai.LOOK_S", 0.01)
        made = World(tmp_path_factory.mktemp("served") / "studio")
        made.service.planner.seconds = 2.0
        yield made
        made.studio.close()


@pytest.fixture(scope="module")
def at(world: World) -> Iterator[str]:
    with listening(world) as address:
        yield address


def things(world: World, owner: str, at: str, headers: dict[str, str]) -> dict[str, dict[str, str]]:
    """One of each kind, by the part of a path that names the kind."""
    with httpx.Client(base_url=f"{at}/api/v1", headers=headers) as client:

        def made(path: str, **body: Any) -> str:
            return client.post(path, json=body).json()["id"]

        dataset = made("datasets")
        photo = client.post(f"datasets/{dataset}/photos", files={"file": ("a.jpg", jpeg())}).json()
        job, run = made("generate", base="miniature", prompts=["a"]), made("train", dataset=dataset)
    Run.create(world.studio.run(run), build({}, "test"))
    adapter = world.studio.path / "adapter"
    lora(adapter)
    imported = world.service.adapters.add(owner, adapter, "mine").id
    (image,) = world.paint(owner, job)
    found = {"jobs": job, "runs": run, "images": image, "adapters": imported}
    ids = {what: {"id": id} for what, id in found.items()}
    return ids | {"datasets": {"id": dataset, "photo": photo["id"]}}


def hold(operation: Any, examples: int, there: dict[str, str], headers: dict[str, str]) -> None:
    """So many requests to one route; half of them for things that are there."""

    @settings(
        max_examples=examples, deadline=None, database=None, suppress_health_check=LIGHT,
        phases=[Phase.generate],
    )  # fmt: skip
    @given(operation.as_strategy(), st.booleans())
    def answered(case: schemathesis.Case, is_real: bool) -> None:
        if is_real:
            known = {name: there[name] for name in case.path_parameters if name in there}
            case.path_parameters.update(known)
        case.call_and_validate(checks=CHECKS, headers=headers)

    answered()


def every_route(world: World, at: str, examples: int) -> int:
    """The number of routes."""
    secret = world.key("ada")
    headers, caller = {"authorization": f"Bearer {secret}"}, world.service.keys.caller(secret)
    assert caller is not None
    schema = schemathesis.openapi.from_dict(world.app.openapi())
    schema.config.update(base_url=at, headers=headers, request_timeout=120)
    count, there = 0, things(world, caller.owner, at, headers)
    for found in schema.get_all_operations():
        operation = found.ok()
        if operation.path == ENDLESS:
            continue
        count += 1
        kind = [*operation.path.split("/"), "", "", ""][3]
        hold(operation, examples, there.get(kind, {}), headers)
        if operation.method.upper() == "DELETE":
            there = things(world, caller.owner, at, headers)
    return count


def test_every_route(world: World, at: str) -> None:
    assert every_route(world, at, 2) > 50


@pytest.mark.slow  # more of the same
def test_every_route_for_long(world: World, at: str) -> None:
    assert every_route(world, at, 200) > 50
