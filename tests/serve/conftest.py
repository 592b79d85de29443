"""A service that the tests of a file share, and two who use it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from served import Hand, World, listening
from starlette.testclient import TestClient

if TYPE_CHECKING:
    from playwright.sync_api import Browser


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


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    from paged import launched

    with launched() as found:
        yield found


@pytest.fixture(scope="module")
def at(world: World) -> Iterator[str]:
    """A server without workers: a hand paints what is asked for."""
    with listening(world) as address, Hand(world):
        yield address
