"""Adapter files without torch: the same numbers and the same errors as with it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from kaiffin.adapters.files import arrays, safe
from kaiffin.foundation.errors import AdapterError

DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_the_numbers_are_those_of_torch(dtype: torch.dtype, tmp_path: Path) -> None:
    rng, path = torch.Generator().manual_seed(0), tmp_path / "a.safetensors"
    given = {
        "x": torch.randn(5, 3, generator=rng),
        "y.alpha": torch.tensor(3.0),
        "z": torch.ones(0),
    }
    save_file({name: value.to(dtype) for name, value in given.items()}, path, {"a": "b"})
    found, metadata = arrays.read(path)
    expected, same = safe.read(path)
    assert metadata == same == {"a": "b"}
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert np.array_equal(found[name], value.to(torch.float64).numpy()), name
        assert found[name].shape == tuple(value.shape)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_the_errors_are_those_of_torch(dtype: torch.dtype, value: float, tmp_path: Path) -> None:
    broken, empty, whole = (tmp_path / f"{name}.safetensors" for name in "abc")
    save_file({"x": torch.tensor([1.0, value], dtype=dtype)}, broken)
    save_file({}, empty)
    save_file({"x": torch.ones(2, dtype=torch.int32)}, whole)
    for path in (broken, empty, whole, tmp_path / "none.safetensors"):
        said = []
        for read in (arrays.read, safe.read):
            with pytest.raises(AdapterError) as caught:
                read(path)
            said.append(str(caught.value))
        assert said[0] == said[1]


def test_a_number_is_of_the_library_and_the_dtype_of_its_neighbours() -> None:
    half = torch.ones(2, dtype=torch.float16)
    assert arrays.number(2, half).dtype == torch.float16
    assert arrays.number(2, half, "float32").dtype == torch.float32
    assert arrays.number(2, half, "nonsense").dtype == torch.float16
    plain = arrays.number(2, np.ones(2))
    assert isinstance(plain, np.ndarray)
    assert plain == 2
