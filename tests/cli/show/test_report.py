"""A report on the terminal: the file to open."""

from pathlib import Path

import pytest

from kaiffin.cli.show.report import report
from kaiffin.stories.report import Report


def test_the_page_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    report(Report(Path("runs/a [b]/report.html"), (Path("runs/a [b]"),)))
    assert capsys.readouterr().out == "open runs/a [b]/report.html\n"
