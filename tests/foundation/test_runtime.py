"""Draws are functions of what they are for."""

import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from kaiffin.foundation import runtime
from kaiffin.foundation.config import BaseConfig
from kaiffin.foundation.errors import ConfigError
from kaiffin.foundation.runtime import (
    Runtime,
    choose_threads,
    contained,
    derived_seed,
    dropped,
    make_deterministic,
    randn,
    seed_dropout,
    uniform,
)


def test_draws_are_pure_and_independent() -> None:
    torch.manual_seed(1)
    first = randn((1000,), 7, "noise", 3)
    torch.manual_seed(2)
    assert torch.equal(first, randn((1000,), 7, "noise", 3))
    others = [randn((1000,), *key) for key in ((8, "noise", 3), (7, "noise", 4), (7, "t", 3))]
    for other in others:
        assert abs(torch.corrcoef(torch.stack([first, other]))[0, 1]) < 0.15
    assert derived_seed(1, "a", "b") != derived_seed(1, "ab")


def test_uniform_is_uniform() -> None:
    values = [uniform(0, "u", i) for i in range(2000)]
    assert 0 <= min(values) < 0.01
    assert 0.99 < max(values) < 1
    assert sum(values) / 2000 == pytest.approx(0.5, abs=0.03)


def test_devices_and_dtypes() -> None:
    runtime = Runtime.from_config(BaseConfig(device="cpu"))
    assert (runtime.base_dtype, runtime.precision) == (torch.float32, torch.float32)
    half = Runtime.from_config(BaseConfig(device="cpu", dtype="bf16"))
    assert half.precision == torch.bfloat16
    with pytest.raises(ConfigError, match="fp16"):
        Runtime.from_config(BaseConfig(device="cpu", dtype="fp16"))
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match=r"base\.device = 'cuda'"):
            Runtime.from_config(BaseConfig(device="cuda"))


def test_what_is_set_for_the_process_is_put_back() -> None:
    """Also where it was not the default, and where the story fails."""

    @contained()
    def story(fails: bool) -> tuple[int, bool]:
        make_deterministic()
        choose_threads(64, torch.device("cpu"))
        if fails:
            raise ConfigError("fails")
        return torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()

    torch.set_num_threads(3)
    torch.use_deterministic_algorithms(True)  # stricter than ours
    torch.backends.cudnn.benchmark = True
    try:
        assert story(False) == (1, True)
        with pytest.raises(ConfigError):
            story(True)
        assert torch.get_num_threads() == 3
        assert not torch.is_deterministic_algorithms_warn_only_enabled()
        assert torch.backends.cudnn.benchmark
    finally:
        torch.set_num_threads(1)
        torch.use_deterministic_algorithms(False)
        torch.backends.cudnn.benchmark = False


def test_an_item_loses_the_same_in_whatever_batch_it_is() -> None:
    x = torch.ones(4, 50, 8)
    seed_dropout([11, 12, 13, 14])
    whole = dropped(x, 0.25, "a")
    assert torch.equal(whole, dropped(x, 0.25, "a"))  # as a checkpointed layer computes it again
    assert not torch.equal(whole, dropped(x, 0.25, "b"))
    assert not torch.equal(whole[0], whole[1])
    assert (whole == 0).float().mean().item() == pytest.approx(0.25, abs=0.05)
    assert whole.mean().item() == pytest.approx(1, abs=0.05)
    seed_dropout([13, 14])
    assert torch.equal(whole[2:], dropped(x[2:], 0.25, "a"))
    twice = dropped(torch.ones(4, 50, 8), 0.25, "a")  # two rows of each item
    assert torch.equal(twice[0], whole[2])
    assert not torch.equal(twice[0], twice[1])


def test_one_file_knows_the_accelerators() -> None:
    """No path that CUDA alone can take: elsewhere nobody names a kind or calls torch's module."""
    source = Path(runtime.__file__).parents[1]
    named = re.compile(r"""torch\.(cuda|xpu|mps|backends\.mps)\b|["'](cuda|xpu)["']""")
    found = {
        path.relative_to(source).as_posix()
        for path in source.rglob("*.py")
        if named.search(path.read_text(encoding="utf-8"))
    }
    assert found == {"foundation/runtime.py", "foundation/sections.py"}


@pytest.mark.parametrize("kind", ["cuda", "xpu", "mps"])
def test_what_an_accelerator_is_asked_is_in_its_module(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without one at hand: each function that is called is torch's own, by its name there."""
    real = torch.get_device_module(kind)
    asked = []

    class Module:
        def __getattr__(self, name: str) -> Callable:
            asked.append(name)
            assert callable(getattr(real, name))
            there = {"mem_get_info": (3, 9), "device_count": 1, "is_available": True}
            return lambda *_: there.get(name, SimpleNamespace(name="card", total_memory=9))

    monkeypatch.setattr(runtime, "_module", lambda name: Module() if name == kind else Off)
    device = torch.device(kind)
    monkeypatch.setattr(runtime, "ORDER", (kind,))
    assert runtime.fastest() == Runtime.from_config(BaseConfig(device=kind)).device == device
    runtime.cards(device)
    runtime.let_go()
    runtime.memory_held(device)
    if kind == "mps":
        runtime.memory_room(device)
        assert {"current_allocated_memory", "recommended_max_memory"} <= set(asked)
    else:
        assert runtime.cards(device) == [("card", 9)]
        assert {"get_device_properties", "memory_allocated", "empty_cache"} <= set(asked)


class Off:
    """An accelerator that is not there."""

    @staticmethod
    def is_available() -> bool:
        return False
