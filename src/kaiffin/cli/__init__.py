"""The command line: `kaiffin`, and `python -m kaiffin`."""

from kaiffin.cli.main import main

__all__ = ["main"]
