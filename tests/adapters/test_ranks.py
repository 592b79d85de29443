"""Ranks that depend on the timestep: the paper's rule, in the header, in pictures, step by step."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from made_adapters import made, randomise
from torch import Tensor

from kaiffin.adapters.files import reading, safe, writing
from kaiffin.adapters.load import load_adapter
from kaiffin.adapters.ranks import HEADER, RankSchedule, read
from kaiffin.adapters.stack import Stack
from kaiffin.foundation.errors import AdapterError
from kaiffin.models.base import Conditioning, ModelFamily
from kaiffin.pictures.make import Task, WeightedAdapter, make
from kaiffin.pictures.request import Request

TIMES = 1000


def rule(t: float, rank: int, least: int, power: float) -> int:
    """The paper's."""
    return int(((TIMES - t) / TIMES) ** power * (rank - least)) + least


@pytest.mark.parametrize(("least", "power"), [(8, 1.0), (1, 1.0), (4, 2.0), (3, 0.5), (16, 1.0)])
def test_so_many_act_as_the_paper_says(least: int, power: float) -> None:
    schedule, times = RankSchedule(least, power), torch.arange(TIMES)
    for rank in (1, 3, 11, 16):
        wanted = [rule(t, rank, min(least, rank), power) for t in range(TIMES)]
        assert schedule.count(times / TIMES, rank).tolist() == wanted
        for number, share in enumerate(schedule.shares(rank)):
            acts = sum(count > number for count in wanted) / TIMES
            assert share == pytest.approx(acts, abs=1.01 / TIMES)


PLAIN = {"unet.a": {"lora_down.weight": torch.zeros(2, 3), "lora_up.weight": torch.zeros(4, 2)}}


def test_what_a_header_says() -> None:
    assert read({}, PLAIN) is None
    schedule = RankSchedule(3, 0.5)
    assert read(schedule.header(), PLAIN) == schedule


@pytest.mark.parametrize(
    "value", ["", "[]", "{}", '{"min_rank": 0, "power": 1}', '{"min_rank": 2, "power": -1}',
              '{"min_rank": 2, "power": NaN}', '{"min_rank": 1e999, "power": 1}'],
)  # fmt: skip
def test_a_header_that_cannot_be_meant(value: str) -> None:
    with pytest.raises(AdapterError, match=f"{HEADER} = .*cannot be read"):
        read({HEADER: value}, PLAIN)


def test_only_plain_lora_has_such_ranks() -> None:
    header, dora = RankSchedule(1).header(), {"dora_scale": torch.zeros(4, 1)}
    read(header, {"text_encoder.a": {**PLAIN["unet.a"], **dora}})  # which is whole
    with pytest.raises(AdapterError, match="dora has no ranks that could be left out"):
        read(header, {"unet.a": {**PLAIN["unet.a"], **dora}})


def saved(family: ModelFamily, path: Path, schedule: RankSchedule | None) -> Path:
    adapter = made(family)
    randomise(adapter)
    found = reading.from_state(adapter.state(), family.name)
    header = schedule.header() if schedule else {}
    safe.save(path, writing.to_kohya(found, family.layers_per_block), header)
    return path


class Naive:
    """Cuts a whole adapter by hand before each prediction of a family."""

    def __init__(self, family: ModelFamily, stack: Stack, least: int, power: float) -> None:
        self.least, self.power = least, power
        self.layers = {n: one for n, one in stack.adapters[""].layers.items() if n[:4] == "unet"}
        self.whole = {name: layer.up.detach().clone() for name, layer in self.layers.items()}
        self.predict, self.times = family.predict, set[float]()

    @torch.no_grad()
    def __call__(self, x_t: Tensor, t: Tensor, cond: Conditioning) -> Tensor:
        (time,) = set(t.tolist())
        self.times.add(time)
        for name, layer in self.layers.items():
            layer.up.copy_(self.whole[name])
            layer.up[:, rule(time, layer.rank, self.least, self.power) :] = 0
        return self.predict(x_t, t, cond)


def test_pictures_are_those_of_a_loop_that_cuts_by_hand(
    family: ModelFamily, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two pictures at once, guided, the adapter weaker in the negative half, at odd times too."""
    call = {"width": 64, "height": 64, "steps": 4, "negative_strength": 0.5}
    asked = [
        Request(prompt, seed, schedule=schedule, **call)
        for schedule in ("leading", "karras")
        for seed, prompt in enumerate(("a dog", "a cat"))
    ]

    def pictures(path: Path) -> list[bytes]:
        tasks = [Task(one, (WeightedAdapter(path),)) for one in asked]
        return [image.tobytes() for _, image in sorted(make(family, tasks), key=lambda p: p[0])]

    def cut(*given: Any) -> Stack:
        loaded = load_adapter(*given)
        loops.append(Naive(family, loaded, 1, 0.5))
        monkeypatch.setattr(family, "predict", loops[-1])
        return loaded

    loops: list[Naive] = []
    whole = saved(family, tmp_path / "whole.safetensors", None)
    all_ranks = pictures(whole)
    timed = pictures(saved(family, tmp_path / "timed.safetensors", RankSchedule(1, 0.5)))
    monkeypatch.setattr("kaiffin.pictures.make.load_adapter", cut)
    by_hand = pictures(whole)
    monkeypatch.undo()
    (loop,) = loops
    assert len({rule(t, 4, 1, 0.5) for t in loop.times}) > 2
    assert timed == by_hand
    assert all(one != other for one, other in zip(timed, all_ranks, strict=True))


def test_as_many_as_there_are_is_plain_lora_to_the_bit(sd: ModelFamily, tmp_path: Path) -> None:
    found = []
    for name, schedule in (("plain", None), ("all", RankSchedule(4)), ("two", RankSchedule(2))):
        path = saved(sd, tmp_path / f"{name}.safetensors", schedule)
        assert json.loads(safe.header(path)[1].get(HEADER, "null")) == (
            schedule and {"min_rank": schedule.min_rank, "power": 1.0}
        )
        task = Task(Request("a dog", 1, width=64, height=64, steps=2), (WeightedAdapter(path),))
        ((_, image),) = make(sd, [task])
        found.append(image.tobytes())
    assert found[0] == found[1] != found[2]
