"""`kaiffin completion SHELL`, and what a shell is offered for a value. Torch-free and quick."""

from __future__ import annotations

import typing
from pathlib import Path
from typing import Any, Literal

import click
from click.shell_completion import CompletionItem

RUNS = {"run", "runs", "source"}  # fields that take a run
BASES = {"base", "into", "base.name"}  # and those that take a base


def offered(field: str, kind: Any, started: str) -> list[CompletionItem]:
    """What fits behind `started` as a value of a field or setting of type `kind`."""
    known = [str(one) for one in _literals(kind)] or ["true", "false"] * (kind is bool)
    if field in BASES:
        known = _bases()
    elif field in RUNS:
        known = _runs()
    fits = [one for one in known if one.startswith(started) or Path(one).name.startswith(started)]
    if fits or field in BASES or _literals(kind):
        return [CompletionItem(one) for one in fits]
    return [CompletionItem(started, type="file")]


def _literals(kind: Any) -> tuple[Any, ...]:
    """The words of a Literal, also where None is allowed beside them."""
    if typing.get_origin(kind) is Literal:
        return typing.get_args(kind)
    return tuple(word for one in typing.get_args(kind) for word in _literals(one))


def _runs() -> list[str]:
    return [path.parent.as_posix() for path in sorted(Path("runs").glob("*/config.yaml"))]


def _bases() -> list[str]:
    from kaiffin.models.files import shelf
    from kaiffin.models.files.embedded import EMBEDDED
    from kaiffin.models.files.published import ALIASES

    return [*EMBEDDED, *shelf.names(), *ALIASES]


def script(shell: str) -> str:
    """click's own, for `kaiffin`: what a shell reads once."""
    from click.shell_completion import get_completion_class

    made = get_completion_class(shell)
    if made is None:
        raise ValueError(shell)
    return made(click.Command("kaiffin"), {}, "kaiffin", "_KAIFFIN_COMPLETE").source()
