"""A build of the miniature on the terminal: a line for what is there, none for what is not."""

from pathlib import Path

import pytest

from kaiffin.cli.show.miniature import built
from kaiffin.stories.miniature import Built


def test_only_what_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    built(Built(("vae", "unet"), Path("weights"), None, None, 600.0))
    assert capsys.readouterr().out.splitlines() == ["the miniature: weights", "vae, unet: 10 min"]
    built(Built(("all",), Path("a"), Path("b"), Path("r.md"), 30.0))
    assert capsys.readouterr().out.splitlines() == [
        "the miniature: a", "its XL twin: b", "report: r.md", "all: 30 s",
    ]  # fmt: skip
