"""A service that the tests of a file share, and two who use it."""

from collections.abc import Iterator

import pytest
from served import World
from starlette.testclient import TestClient


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = World(tmp_path_factory.mktemp("served") / "studio")
    yield made
    made.studio.close()


@pytest.fixture(scope="module")
def ada(world: World) -> Iterator[TestClient]:
    with world.caller("ada") as client:
        yield client


@pytest.fixture(scope="module")
def bob(world: World) -> Iterator[TestClient]:
    with world.caller("bob") as client:
        yield client
