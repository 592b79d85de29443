"""The build reads its own flags."""

import pytest

from kaiffin.cli.main import main
from kaiffin.miniature.build import build


def test_the_words_of_a_build_reach_it(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[list[str]] = []
    monkeypatch.setattr(build, "main", found.append)
    words = ["--unet-channels", "32", "64", "--only", "unet", "--help"]
    assert main(["miniature", "build", *words]) == 0
    assert found == [words]
