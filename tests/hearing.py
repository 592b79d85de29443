"""Listeners that keep what a story tells."""

from pathlib import Path

from kaiffin.foundation.tell import Tell


class Heard(Tell):
    """notes, warnings: lines; pictures: each with its text."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.warnings: list[str] = []
        self.pictures: list[tuple[Path, str]] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def warning(self, text: str) -> None:
        self.warnings.append(text)

    def picture(self, path: Path, text: str = "") -> None:
        self.pictures.append((path, text))


class HeardOnDisk(Heard):
    """Every picture is on the disk when it is told of."""

    def picture(self, path: Path, text: str = "") -> None:
        assert path.is_file()
        super().picture(path, text)
