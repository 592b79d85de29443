"""`base.compile`: what is compiled gives what is not, whatever adapter comes and goes."""

import os
from pathlib import Path

import fresh
import pytest
import torch
from made_adapters import varied

from kaiffin.adapters.files import writing
from kaiffin.adapters.load import load_adapter
from kaiffin.adapters.ranks import RankSchedule
from kaiffin.foundation.config import BaseConfig
from kaiffin.foundation.runtime import Runtime
from kaiffin.foundation.tell import SILENT
from kaiffin.models.base import ModelFamily
from kaiffin.models.files.load import load


def family(path: Path, compiled: bool) -> ModelFamily:
    base = BaseConfig(name=str(path), compile=compiled)
    return load(base, Runtime.from_config(base), SILENT)


@pytest.mark.slow  # the compiler takes its time
def test_pictures_and_gradients_are_those_of_the_plain_base(sd_path: Path, tmp_path: Path) -> None:
    """Without an adapter, with one that came later, whose ranks depend on the timestep, and
    without."""
    path = tmp_path / "a.safetensors"
    plain, compiled = family(sd_path, False), family(sd_path, True)
    found = varied(plain)
    found.metadata = RankSchedule(1).header()
    writing.write(found, path, "kohya", plain.layers_per_block)
    stacks = [load_adapter(path, one) for one in (plain, compiled)]
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(2, plain.latent_channels, 8, 8, generator=rng)

    def outputs() -> list[torch.Tensor]:
        return [
            one.predict(x, torch.tensor([5, 500]), one.encode_text(["a dog", "a cat"], []))
            for one in (plain, compiled)
        ]

    seen = []
    with torch.no_grad():
        for is_worn in (False, True, False):
            for one, stack in zip((plain, compiled), stacks, strict=True):
                stack.eject()
                if is_worn:
                    stack.inject(one)
            expected, got = outputs()
            torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)
            seen.append(expected)
    assert not torch.allclose(seen[0], seen[1], atol=1e-2), "the adapter does something"
    assert torch.equal(seen[0], seen[2])
    for one, stack in zip((plain, compiled), stacks, strict=True):
        stack.inject(one)
    for output in outputs():
        output.square().mean().backward()
    both = zip(*(stack.parameters() for stack in stacks), strict=True)
    for own, other in both:
        torch.testing.assert_close(other.grad, own.grad, rtol=1e-3, atol=1e-5)


@pytest.mark.slow  # a process of its own, which loads the compiler
def test_where_nothing_can_compile_it_is_said(sd_path: Path, tmp_path: Path) -> None:
    call = ["generate", str(sd_path), "a dog", "--base.compile", "true"]
    nowhere = os.environ | {"PATH": str(tmp_path), "CXX": "no-compiler"}
    done = fresh.run([*call, "--base.device", "cpu", "--out", str(tmp_path)], env=nowhere)
    assert done.returncode == 2
    assert "there is no C++ compiler here to compile with" in done.stderr
    assert not list(tmp_path.glob("*.png"))
