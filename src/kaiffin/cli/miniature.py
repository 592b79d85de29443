"""`kaiffin miniature build`: its flags are the fields of `BuildConfig`, and `--only`."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from kaiffin.cli.terminal import Terminal
from kaiffin.foundation.errors import UserError

if TYPE_CHECKING:
    from kaiffin.miniature.build.recipe import BuildConfig

ABOUT = "Train the miniature and its XL twin, from nothing to the report."


class Clock(Terminal):
    """With the time before each line: a build takes hours."""

    def note(self, text: str) -> None:
        super().note(f"{time.strftime('%H:%M:%S')} {text}")


def build(arguments: Sequence[str]) -> None:
    """The command."""
    from kaiffin.cli.show import miniature as show
    from kaiffin.stories import miniature

    config, only = parse_flags(arguments)
    show.built(miniature.build(config, only, tell=Clock()))


def parse_flags(arguments: Sequence[str]) -> tuple[BuildConfig, str | None]:
    """(settings, the only stage to run). UserError for a value that is none."""
    from pydantic import ValidationError

    from kaiffin.miniature.build.build import STAGES
    from kaiffin.miniature.build.recipe import BuildConfig

    parser = argparse.ArgumentParser(prog="kaiffin miniature build", description=ABOUT)
    parser.add_argument("--only", choices=tuple(STAGES), help="run this stage alone")
    for name, field in BuildConfig.model_fields.items():
        shown = "" if field.default is None else f" (default: {field.default})"
        many: dict[str, Any] = {"nargs": "+"} if isinstance(field.default, tuple) else {}
        flag, text = f"--{name.replace('_', '-')}", f"{field.description}{shown}"
        parser.add_argument(flag, default=argparse.SUPPRESS, help=text, metavar="X", **many)
    flags = vars(parser.parse_args(arguments))
    only = flags.pop("only")
    try:
        return BuildConfig(**flags), only
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]).replace("_", "-")
        raise UserError(f"--{name} {first['input']}: {first['msg']}.") from None
