"""What the measuring commands hand on to their stories, and how their answers end."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kaiffin.cli.experiments import duration
from kaiffin.cli.main import main
from kaiffin.cli.show import grid as show_grid
from kaiffin.cli.show import sweep as show_sweep
from kaiffin.foundation.errors import ConfigError
from kaiffin.stories import grid, sweep


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("1.5 min", 90), ("2H", 7200), (None, None)]
)
def test_a_time(text: str | None, seconds: float | None) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["soon", "0", "0min", "-3s", "5 days", ""])
def test_no_time(text: str) -> None:
    with pytest.raises(ConfigError, match="Write 90s, 5min or 2h"):
        duration(text)


def test_a_grid_has_the_axes_that_were_given(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[Any] = []
    monkeypatch.setattr(grid, "grid", lambda order, **more: found.append((order, more)))
    monkeypatch.setattr(show_grid, "grid", lambda made: None)
    words = ["grid", "RUN", "a dog", "--x", "steps=1,2", "--z", "seed=1..2", "-n", "2", "--yes"]
    assert main([*words, "--guidance", "3", "--like", "photos"]) == 0
    ((order, more),) = found
    axes = {"x": "steps=1,2", "z": "seed=1..2"}
    assert order == grid.GridOrder("RUN", "a dog", axes, count=2, yes=True)
    assert more["changes"] == {"sample.guidance": "3", "score.like": "photos"}


@pytest.mark.parametrize(("failed", "code"), [({}, 0), ({"one": "why"}, 1)])
def test_a_sweep_ends_as_its_trials_did(
    failed: dict[str, str], code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders: list[Path] = []

    def swept(path: Path, out: Path, changes: Any, **more: Any) -> SimpleNamespace:
        folders.append(out)
        assert changes == {"train.lr": "1e-4"}
        assert more["on"] == "processes:2"
        return SimpleNamespace(failed=failed)

    monkeypatch.setattr(sweep, "sweep", swept)
    monkeypatch.setattr(show_sweep, "sweep", lambda made: None)
    words = ["sweep", "files/my sweep.yaml", "--on", "processes:2", "--train.lr", "1e-4"]
    assert main(words) == code
    assert folders == [Path("sweeps/my sweep")]
