"""A hub with SD 1.5 on it, as it is published but tiny."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hub import SD15, Hub, Repo, serving, shaped


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    with serving(monkeypatch, tmp_path / "home") as served:
        yield served


@pytest.fixture(scope="module")
def tree(sd_path: Path) -> dict[str, bytes]:
    return shaped(SD15, sd_path)


@pytest.fixture
def sd15(hub: Hub, tree: dict[str, bytes]) -> Repo:
    hub.repos[SD15] = Repo(dict(tree), licence="creativeml-openrail-m")
    return hub.repos[SD15]
