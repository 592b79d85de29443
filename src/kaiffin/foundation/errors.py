"""The errors that a person may see: one line that says what was found and the way out.

Everything else that is raised is a bug in Kaiffin and keeps its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any


class UserError(Exception):
    """Something the user can mend. `cli` prints it as one line and exits with `exit_code`.

    message: what was wrong, naming the field or file and the value found.
    fix: the way out, as a full sentence or command.
    """

    exit_code = 2

    def __init__(self, message: str, fix: str = "") -> None:
        self.message, self.fix = _one_line(message), _one_line(fix)
        super().__init__(f"{self.message} {self.fix}".strip())

    def __reduce__(self) -> tuple[Any, ...]:
        """On the way from a worker process it keeps its parts, whatever it was made of."""
        return _again, (type(self), str(self), vars(self))


def _again(kind: type[UserError], text: str, parts: dict[str, Any]) -> UserError:
    error = kind.__new__(kind, text)
    vars(error).update(parts)
    return error


def _one_line(text: str) -> str:
    """Without line breaks and control characters: names in files may come from strangers."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


class ConfigError(UserError):
    """A configuration that is unknown, impossible or contradictory."""


class SettingError(ConfigError):
    """A value that one setting cannot have.

    source: the file or the flag that it came from; field: the setting's dotted name.
    """

    def __init__(self, source: str, field: str, value: object, reason: str) -> None:
        where = f"{source} = " if source == f"--{field}" else f"{source}: {field} = "
        super().__init__(f"{where}{value!r}: {reason}.")
        self.source, self.field, self.value, self.reason = source, field, value, reason

    def given_by(self, flag: str) -> SettingError:
        """The same, naming the flag that the value was given by."""
        return SettingError(flag, self.field, self.value, self.reason)


class PhotoError(UserError):
    """A photo, caption or photo folder that cannot be used as it is."""


class MissingWeightsError(UserError):
    """A base model, VAE or scoring model that is not on this machine."""


class AdapterError(UserError):
    """An adapter file that is broken or belongs to another base."""


class RunError(UserError):
    """A run folder that is locked, incomplete, from another version, or cannot be written."""


class DivergedError(UserError):
    """A loss that is not finite; names the photos and timesteps of the batch."""


class Interrupted(UserError):
    """Stopped by Ctrl-C or SIGTERM after saving; exit code 128 + signal, as shells expect."""

    def __init__(self, message: str, fix: str, signal: int) -> None:
        super().__init__(message, fix)
        self.exit_code = 128 + signal


def nearest(name: str, known: Iterable[str], otherwise: str = "") -> str:
    """A hint such as `Did you mean "rank"?`; when none is near `otherwise`, or the list of known
    names."""
    options = sorted(known)
    close = difflib.get_close_matches(name, options, n=1, cutoff=0.6)
    if close:
        return f'Did you mean "{close[0]}"?'
    return otherwise or f"Known: {', '.join(options)}."
