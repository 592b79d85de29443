"""`kaiffin report`: runs as one self-contained page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kaiffin.experiments.report import evidence
from kaiffin.experiments.report.page import write
from kaiffin.foundation.errors import RunError
from kaiffin.foundation.run import Run


def report(folders: Sequence[Path], out: Path | None = None) -> Path:
    """Writes the page of the runs in `folders` and returns where.

    folders: run folders, or folders of sweeps, which hold runs/; out: default is report.html in the
    run, or here for many. Raises RunError for a folder without a run and for a file that is there
    already and is no report.
    """
    found = [run for folder in folders for run in runs_in(folder)]
    runs = list({run.path.resolve(): run for run in found}.values())
    target = out or (runs[0].report_path if len(runs) == 1 else Path("report.html"))
    return write([evidence.read(run) for run in runs], target)


def runs_in(folder: Path) -> list[Run]:
    """The run, or the runs of a sweep in order of their names."""
    if (folder / "config.yaml").is_file() or not (folder / "runs").is_dir():
        return [Run.open(folder)]
    found = sorted(path.parent for path in (folder / "runs").glob("*/config.yaml"))
    if not found:
        raise RunError(f"{folder / 'runs'}: holds no runs.", "Run `kaiffin sweep` to its end.")
    return [Run.open(path) for path in found]
