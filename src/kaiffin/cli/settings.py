"""Flags from schemas: one mechanism makes them of a command's own fields and of the config's.

A command is a class. Its docstring is its help, its fields are its arguments and flags, `takes`
names the sections or fields of the config that have an effect on it, and `short` those of them that
go by their short name too: `--steps` beside `--train.steps`. Values reach pydantic as texts.
The page of all commands loads no config. Torch-free.
"""

from __future__ import annotations

import inspect
import re
import shlex
import typing
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import click
from click.shell_completion import CompletionItem
from pydantic import Field, ValidationError
from pydantic.fields import FieldInfo

from kaiffin.adapters.strength import is_file
from kaiffin.cli.completion import offered
from kaiffin.cli.help import Page, Rows, by_panel, help_all, spoken
from kaiffin.foundation.errors import ConfigError, SettingError
from kaiffin.foundation.schema import MOST, OWN, SWITCHES, Strict, facts, value_name

if TYPE_CHECKING:
    from kaiffin.foundation.config import Config
    from kaiffin.foundation.tell import Tell

Found = TypeVar("Found")


def argument(meaning: str, default: Any = ...) -> Any:
    """A field that is given by its place; one without a default must be there."""
    return Field(default, description=meaning, json_schema_extra={"place": True})


def option(
    default: Any, meaning: str, flag: str = "", *, panel: str = "Options", metavar: str = "",
    ge: int | None = None, le: int = MOST,
) -> Any:  # fmt: skip
    """A field that is given by a flag.

    default: ... where it must be given; flag: where it is not the field's own name; panel: the
    heading that it stands under; metavar: its value in the help; ge: the least that it may be; le:
    the most, where there is a least.
    """
    bounds: dict[str, Any] = {} if ge is None else {"ge": ge, "le": le}
    extra: dict[str, Any] = {"flag": flag, "panel": panel, "metavar": metavar}
    return Field(default, description=meaning, json_schema_extra=extra, **bounds)


class Command(Strict):
    """One command: fields made by `argument` and `option`, and what is done with them."""

    takes: ClassVar[tuple[str, ...]] = ()
    short: ClassVar[tuple[str, ...]] = ()

    # No flags of their own: the settings of the config that were given, as texts by their dotted
    # names, and how the command speaks, which is every command's.
    settings: dict[str, str] = Field(default_factory=dict)
    as_json: bool = False
    quiet: bool = False

    def __call__(self) -> int | None:
        """Does it; returns the exit code where that is not 0."""
        raise NotImplementedError

    @property
    def tell(self) -> Tell:
        """The terminal: what stories tell while they run."""
        from kaiffin.cli.terminal import voice

        return voice(aside=self.as_json, quiet=self.quiet)

    def answer(self, found: Found, show: Callable[[Found], None]) -> Found:
        """What the story has answered: for a person as `show` has it, or all of it as JSON."""
        if self.as_json:
            from kaiffin.cli.encoding import document

            click.echo(document(found))
        else:
            show(found)
        return found

    def config(self, given: Mapping[str, Any], file: Path | None = None) -> Config:
        """The config in `file`, if any, changed by `given` and then by the settings."""
        from kaiffin.foundation.settings import build, override, read_config

        data = read_config(file) if file else {}
        changed = override(data, {**given, **self.settings})
        return build(changed, str(file) if file else "command line")


class Flag(click.Option):
    """A field as an option. flag: how it is spelt; setting: whether it is one of the config's."""

    def __init__(
        self, field: str, info: FieldInfo, flag: str, *, panel: str, setting: bool = False,
        switch: bool = False, hidden: bool = False,
    ) -> None:  # fmt: skip
        """switch: it takes no value; hidden: only `--help-all` shows it."""
        self.field, self.flag, self.panel, self.setting = field, flag, panel, setting
        self.kind = info.annotation
        kind: dict[str, Any] = (
            {"is_flag": True, "flag_value": "true", "type": click.STRING}
            if switch
            else {
                "metavar": value_name(info),
                "multiple": not setting and _is_list(info.annotation),
            }
        )
        super().__init__(
            [flag, re.sub(r"\W", "_", f"set{flag}") if setting else field],
            required=info.is_required(), hidden=hidden, help=_meaning(info), **kind,
        )  # fmt: skip

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        return offered(self.field, self.kind, incomplete)

    @property
    def term(self) -> str:
        """`--steps N`."""
        return self.flag if self.is_flag else f"{self.flag} {self.metavar}"


class Place(click.Argument):
    """A field as an argument, known by where it stands."""

    panel, setting = "Arguments", False

    def __init__(self, field: str, info: FieldInfo) -> None:
        super().__init__(
            [field], required=info.is_required(), nargs=-1 if _is_list(info.annotation) else 1
        )
        self.field, self.flag, self.help = field, field.upper(), _meaning(info)
        self.kind = info.annotation

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        return offered(self.field, self.kind, incomplete)

    @property
    def term(self) -> str:
        return f"{self.flag}..." if self.nargs == -1 else self.flag


class SchemaCommand(Page):
    """A `Command` on the command line, under its class's name: `ExportComfy` is `export-comfy`."""

    def __init__(self, schema: type[Command]) -> None:
        name = re.sub(r"(?<=[a-z])(?=[A-Z])", "-", schema.__name__).lower()
        super().__init__(name, help=inspect.cleandoc(schema.__doc__ or ""))
        self.schema = schema

    @cached_property
    def fields(self) -> Sequence[Flag | Place]:
        """Every argument and flag; first those of the command, then those of the config."""
        return [*own_fields(self.schema), *settings_of(self.schema.takes, self.schema.short)]

    @cached_property
    def voice(self) -> Sequence[click.Option]:
        return spoken()

    @cached_property
    def help_options(self) -> Sequence[click.Option]:
        return [help_all()] if self.schema.takes else []

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        fast = {f.flag for f in self.fields if f.setting and f.field.endswith(".fast")}
        return super().parse_args(ctx, list(with_own(args, fast)))

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        return [*self.fields, *self.voice, *self.help_options, *super().get_params(ctx)]

    def headed(self, everything: bool) -> Iterator[tuple[str, Rows]]:
        shown = [f for f in self.fields if everything or not getattr(f, "hidden", False)]
        places = [f for f in shown if isinstance(f, Place)]
        flags = [f for f in shown if isinstance(f, Flag)]
        # What a picture or a subject is comes before where its files go.
        flags.sort(key=lambda flag: (flag.panel in LAST, not flag.setting))
        yield from by_panel((f.panel, f.term, f.help or "") for f in [*places, *flags])
        yield "Answer", [(o.opts[0], o.help or "") for o in self.voice]
        helps = [(o.opts[0], o.help or "") for o in self.help_options]
        yield "Help", [*helps, ("--help", "this page")]

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """With the settings that `--help` keeps back, once one is begun."""
        begun = len(incomplete) > len("--") and incomplete.startswith("--")
        kept = [f for f in self.fields if begun and getattr(f, "hidden", False)]
        more = [CompletionItem(f.flag, help=f.help) for f in kept if f.flag.startswith(incomplete)]
        return [*super().shell_complete(ctx, incomplete), *more]

    def invoke(self, ctx: click.Context) -> int:
        given = [f for f in self.fields if ctx.params[f.name or ""] not in (None, ())]
        used = {f.field: f.flag for f in given if f.setting}
        values = {f.field: ctx.params[f.name or ""] for f in given}
        own = {name: value for name, value in values.items() if name not in used}
        own |= {option.name: ctx.params[option.name] for option in self.voice if option.name}
        try:
            command = self.schema(**own, settings={name: values[name] for name in used})
        except ValidationError as error:
            raise self._explained(error) from None
        try:
            return command() or 0
        except SettingError as error:
            flag = used.get(error.field)
            raise (error.given_by(flag) if flag else error) from None

    def _explained(self, error: ValidationError) -> ConfigError:
        """The first problem, under the name that the person used."""
        from kaiffin.foundation.settings import reason_of

        first = error.errors()[0]
        flag = next(f.flag for f in self.fields if f.field == first["loc"][0])
        return ConfigError(f"{flag} {shlex.quote(str(first['input']))}: {reason_of(first)}.")


def with_own(words: Sequence[str], flags: Collection[str]) -> Iterator[str]:
    """`--fast`, one of `flags`, as `--fast=own` where no adapter file follows."""
    for word, after in zip_longest(words, words[1:], fillvalue=""):
        alone = word in flags and not (after in (OWN, *SWITCHES) or is_file(after))
        yield f"{word}={OWN}" if alone else word


LAST = ("Output",)  # panels of a command that stand below the config's


def own_fields(schema: type[Command]) -> Iterator[Flag | Place]:
    """The arguments and flags of the command itself: its fields that say what they mean."""
    for name, info in schema.model_fields.items():
        said = facts(info)
        if "place" in said:
            yield Place(name, info)
        elif info.description:
            flag, panel = said.get("flag"), said.get("panel", "Options")
            flag = flag or f"--{name.replace('_', '-')}"
            yield Flag(name, info, flag, panel=panel, switch=info.annotation is bool)


def settings_of(takes: Sequence[str], short: Sequence[str]) -> Iterator[Flag]:
    """The config's settings that are taken, under their short names and their full ones."""
    if not takes:
        return
    from kaiffin.foundation.settings import fields

    taken = [(name, info) for name, info in fields() if "." in name and _among(name, takes)]
    for name, info in taken:
        flag = facts(info).get("flag")
        if flag and _among(name, short):
            panel = name.partition(".")[0].capitalize()
            yield Flag(name, info, flag, panel=panel, setting=True, switch=info.annotation is bool)
    for name, info in taken:
        panel = f"Every setting of {name.partition('.')[0]}"
        yield Flag(name, info, f"--{name}", panel=panel, setting=True, hidden=True)


def _among(name: str, names: Sequence[str]) -> bool:
    """Whether a setting or its section is named."""
    return name in names or name.partition(".")[0] in names


def _meaning(info: FieldInfo) -> str:
    """The description, and the default where there is one that says something."""
    default = None if info.is_required() else info.get_default(call_default_factory=True)
    if default is None or default is False or default in ("", (), []):
        return f"{info.description}"
    several = isinstance(default, tuple)
    shown = ", ".join(map(str, default)) if several else str(default)
    return f"{info.description} [{shown.lower() if default is True else shown}]"


def _is_list(kind: Any) -> bool:
    return typing.get_origin(kind) in (list, tuple)
