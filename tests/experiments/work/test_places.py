"""The doors to where jobs run: what `--on` may say, and the place that is this process."""

from pathlib import Path

import pytest
import torch
from counting import job
from hearing import Heard

from kaiffin.experiments.work import places
from kaiffin.foundation.errors import ConfigError, Interrupted


@pytest.mark.parametrize(
    "on",
    ["there", "processes", "processes:0", "processes:x", "gpus:a", "ray:0", "ray://", "local:2"],
)
def test_places_that_are_none(on: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is no place to run"):
        places.place(on, tmp_path).__enter__()


def test_gpus_by_number_among_those_seen() -> None:
    assert places.gpus([], 3, "") == ["0", "1", "2"]
    assert places.gpus([2, 0], 3, "") == ["2", "0"]
    assert places.gpus([1], 2, "4,GPU-1234") == ["GPU-1234"]
    for wrong in ([2], [1, 1]):
        with pytest.raises(ConfigError, match=f"{wrong[0]} is not there, or there twice.*0 to 1"):
            places.gpus(wrong, 2, "4,5")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="torch finds no GPU on this machine"):
        places.place("gpus", tmp_path).__enter__()


def test_here_a_job_is_done_when_it_has_been_started(tmp_path: Path) -> None:
    told = Heard()
    with places.place("local", tmp_path, told) as here:
        here.start(job(tmp_path, to=4))
        (end,) = here.ended(0)
        assert here.ended(0) == []
    assert (end.name, end.result) == ("one", {"failed": {}, "sum": 10})
    assert told.notes == ["one: left, right", "counts to 4"]


def test_here_a_stop_is_no_failure(tmp_path: Path) -> None:
    with places.place("local", tmp_path) as here, pytest.raises(Interrupted):
        here.start(job(tmp_path, wrong="stopped"))


def test_worker_processes_are_as_many_as_asked_for(tmp_path: Path) -> None:
    with places.place("processes:3", tmp_path) as beside:
        assert beside.slots == 3
