"""The bases inside the package are there, whole, and of the families they claim."""

import json

import pytest

from kaiffin.foundation.tell import SILENT
from kaiffin.models.families.spec import SPECS
from kaiffin.models.files.embedded import EMBEDDED
from kaiffin.models.files.resolve import locate


@pytest.mark.parametrize(("name", "family"), [("miniature", "sd1"), ("miniature-xl", "sdxl")])
def test_they_are_whole(name: str, family: str) -> None:
    found = locate(name, tell=SILENT)
    assert (found.kind, found.path, found.family) == ("folder", EMBEDDED[name], family)
    index = json.loads((found.path / "model_index.json").read_text())
    for tower in (*SPECS[family].towers, "vae"):
        assert tower in index
        assert list((found.path / tower).glob("*.safetensors"))
