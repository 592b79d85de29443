"""Where `kaiffin report` wrote its page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kaiffin.cli.terminal import console

if TYPE_CHECKING:
    from kaiffin.stories.report import Report


def report(written: Report) -> None:
    """The file to open."""
    console.print(f"open {written.path}")
