"""Draws are functions of what they are for."""

import pytest
import torch

from kaiffin.foundation.config import BaseConfig
from kaiffin.foundation.errors import ConfigError
from kaiffin.foundation.runtime import Runtime, derived_seed, randn, uniform


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
