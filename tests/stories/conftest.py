"""What the tests of stories share."""

from pathlib import Path

import pytest
from made_adapters import one_alpha, varied

from kaiffin.adapters.files import writing
from kaiffin.models.base import ModelFamily


@pytest.fixture
def file(sd: ModelFamily, tmp_path: Path) -> Path:
    """An adapter of the tiny base, in kohya's layout."""
    path = tmp_path / "a.safetensors"
    writing.write(one_alpha(varied(sd)), path, "kohya")
    return path
