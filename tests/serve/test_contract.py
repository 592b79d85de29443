"""The service against its own description: nothing that is sent makes it fail (schemathesis)."""

from collections.abc import Iterator

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from served import World, listening

CHECKS = [
    not_a_server_error, status_code_conformance, content_type_conformance,
    response_headers_conformance, response_schema_conformance,
]  # fmt: skip
ENDLESS = "/api/v1/events"
LIGHT = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One that waits for no job: nobody does any."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kaiffin.serve.asking.WAIT_MOST", 0.01)
        patch.setattr("kaiffin.serve.openai.PATIENCE", 0.01)
        patch.setattr("kaiffin.serve.openai.LOOK_S", 0.01)
        made = World(tmp_path_factory.mktemp("served") / "studio")
        yield made
        made.studio.close()


@pytest.fixture(scope="module")
def at(world: World) -> Iterator[str]:
    with listening(world) as address:
        yield address


def every_route(world: World, at: str, examples: int) -> int:
    """So many requests to each; the number of routes."""
    headers = {"authorization": f"Bearer {world.key('ada')}"}
    schema = schemathesis.openapi.from_dict(world.app.openapi())
    schema.config.update(base_url=at, headers=headers, request_timeout=20)
    count = 0
    for found in schema.get_all_operations():
        operation = found.ok()
        if operation.path == ENDLESS:
            continue
        count += 1

        @settings(
            max_examples=examples, deadline=None, database=None, suppress_health_check=LIGHT,
            phases=[Phase.generate],
        )  # fmt: skip
        @given(operation.as_strategy())
        def hold(case: schemathesis.Case) -> None:
            case.call_and_validate(checks=CHECKS, headers=headers)

        hold()
    return count


def test_every_route(world: World, at: str) -> None:
    assert every_route(world, at, 2) > 50


@pytest.mark.slow  # more of the same
def test_every_route_for_long(world: World, at: str) -> None:
    assert every_route(world, at, 200) > 50
