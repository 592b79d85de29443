"""The command line: every command, its place, and what an error becomes.

A `UserError` becomes one line on stderr and its exit code; anything else is a bug and keeps its
traceback. Torch-free.
"""

from __future__ import annotations

import os
import sys

import click

from kaiffin.cli import (
    adapters,
    bases,
    doctor,
    experiments,
    miniature,
    pictures,
    serving,
    sharing,
    training,
)
from kaiffin.cli.help import Group
from kaiffin.cli.settings import Command, SchemaCommand
from kaiffin.foundation.errors import UserError


def _commands(*schemas: type[Command]) -> list[click.Command]:
    return [SchemaCommand(schema) for schema in schemas]


ADAPTER = Group(
    "adapter",
    "Adapter files of any program: look, convert, prove, edit.",
    {
        "Look": _commands(adapters.Inspect, adapters.Diff, adapters.Verify),
        "Change": _commands(adapters.Convert, adapters.Merge, adapters.Resize, adapters.Extract),
        "Use elsewhere": _commands(adapters.ExportComfy),
    },
)
BASES = Group(
    "bases",
    "The base models: which there are, taken from the hub, named.",
    {"Commands": _commands(bases.List, bases.Get, bases.Add)},
    alone="list",
)
MINIATURE = Group(
    "miniature", "The embedded base model.", {"Commands": [miniature.BuildCommand(miniature.Build)]}
)
KEYS = Group(
    "keys",
    "The keys of a service: made, listed, revoked.",
    {"Commands": _commands(serving.Add, serving.List, serving.Revoke)},
    alone="list",
)

app = Group(
    "kaiffin",
    "Teach Stable Diffusion one character from a few photos, and prove the pictures right.",
    {
        "First steps": [*_commands(pictures.Demo, sharing.Import, doctor.Doctor), BASES],
        "Teach": _commands(training.Prepare, training.Caption, training.Train, training.Resume),
        "Make pictures": _commands(pictures.Generate, pictures.Rank),
        "Choose and compare": _commands(
            experiments.Choose, experiments.Report, experiments.Grid, experiments.Compare,
            experiments.Sweep,
        ),
        "Share": _commands(sharing.Publish),
        "Serve": [*_commands(serving.Serve), KEYS],
        "Look inside": [ADAPTER, MINIATURE, *_commands(training.Options, doctor.Completion)],
    },
)  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; returns its exit code (2 for whatever the user can mend)."""
    try:
        code = app.main(
            arguments,
            prog_name="kaiffin",
            standalone_mode=False,
            color=False if os.environ.get("NO_COLOR") else None,
        )
    except UserError as error:
        print(f"kaiffin: {error}", file=sys.stderr)
        return error.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        error.show(sys.stdout)
        return 2
    except click.UsageError as error:
        print(f"kaiffin: {_explained(error)}", file=sys.stderr)
        return 2
    except (KeyboardInterrupt, click.Abort):
        print("kaiffin: stopped.", file=sys.stderr)
        return 130
    return code if isinstance(code, int) else 0


def _explained(error: click.UsageError) -> str:
    """What was wrong with the words of a call, and the way out."""
    context = error.ctx or click.Context(app, info_name=app.name)
    called = context.command_path
    see = f"See `{called} --help`."
    if not isinstance(error, click.NoSuchOption):
        return f"{error.format_message()} {see}"
    from kaiffin.foundation.settings import fields

    flag = error.option_name
    if flag.removeprefix("--") in dict(fields()):
        if isinstance(context.command, Group):
            return f"{flag} belongs behind the command."
        return f"{flag} has no effect on `{called}`. Leave it out."
    near = next(iter(error.possibilities or ()), None)
    return f"`{called}` has no {flag}. " + (f'Did you mean "{near}"?' if near else see)


if __name__ == "__main__":
    sys.exit(main())
