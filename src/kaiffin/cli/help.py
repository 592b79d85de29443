"""The pages of `--help`: whole sentences under headings, in colour where there is a terminal.

Plain in a pipe and under NO_COLOR, 80 columns wide at most. Torch-free.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence

import click

WIDEST = 26  # columns of terms; the meaning of a longer one begins on the next line

Rows = list[tuple[str, str]]

EVERYTHING = f"{__name__}.everything"  # the key under which a context remembers --help-all


class Page(click.Command):
    """A command whose help is a page: what it does, then its parts under headings."""

    def headed(self, everything: bool) -> Iterator[tuple[str, Rows]]:
        """Headings, each with terms and their meanings; everything: those kept back as well."""
        raise NotImplementedError

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            error.ctx = error.ctx or ctx  # whose `--help` knows more
            raise

    def closing(self, ctx: click.Context) -> str:
        """The way to more of it."""
        return ""

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write_usage(ctx.command_path, " ".join(self.collect_usage_pieces(ctx)))
        self.format_help_text(ctx, formatter)
        everything = ctx.meta.get(EVERYTHING, False)
        panels = list(self.headed(everything))
        widths = [len(term) for _, rows in panels for term, _ in rows]
        width = max((width for width in widths if width <= WIDEST), default=WIDEST)
        for heading, rows in panels:
            formatter.write_paragraph()
            formatter.write(click.style(heading, bold=True) + "\n")
            for term, meaning in rows:
                formatter.write(_entry(term, meaning, width, formatter.width))
        if closing := self.closing(ctx):
            formatter.write_paragraph()
            formatter.write_text(closing)


class Group(Page, click.Group):
    """Commands under headings that say what a person wants."""

    def __init__(
        self, name: str, text: str, under: Mapping[str, Sequence[click.Command]], alone: str = ""
    ) -> None:
        """alone: the command that is meant where none is named."""
        commands = [command for listed in under.values() for command in listed]
        super().__init__(
            name, commands, help=text, no_args_is_help=not alone, subcommand_metavar="COMMAND",
            options_metavar=None,
        )  # fmt: skip
        self.under, self.alone = under, alone

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if self.alone and (not args or (args[0].startswith("--") and args[0] != "--help")):
            args = [self.alone, *args]
        return super().parse_args(ctx, args)

    def headed(self, everything: bool) -> Iterator[tuple[str, Rows]]:
        for heading, listed in self.under.items():
            yield heading, [(one.name or "", _first_paragraph(one)) for one in listed]

    def closing(self, ctx: click.Context) -> str:
        return f"`{ctx.command_path} COMMAND --help` says more about one of them."


def by_panel(entries: Iterable[tuple[str, str, str]]) -> list[tuple[str, Rows]]:
    """Entries of (panel, term, meaning), put together by panel in the order of its first."""
    panels: dict[str, Rows] = {}
    for panel, term, meaning in entries:
        panels.setdefault(panel, []).append((term, meaning))
    return list(panels.items())


def spoken() -> list[click.Option]:
    """`--json` and `--quiet`: how any command speaks."""
    return [
        click.Option(
            ["--json", "as_json"], is_flag=True,
            help="the answer as one JSON document; whatever else is said goes to stderr",
        ),
        click.Option(
            ["--quiet"], is_flag=True, help="the answer alone, without what is said on the way"
        ),
    ]  # fmt: skip


def help_all() -> click.Option:
    """`--help-all`: the page with all that `--help` keeps back."""

    def show(ctx: click.Context, _option: click.Parameter, wanted: bool) -> None:
        if wanted and not ctx.resilient_parsing:
            ctx.meta[EVERYTHING] = True
            click.echo(ctx.get_help(), color=ctx.color)
            ctx.exit()

    return click.Option(
        ["--help-all"], is_flag=True, is_eager=True, expose_value=False, callback=show,
        help="this page with the settings of the configuration too, such as --base.device cpu",
    )  # fmt: skip


def _entry(term: str, meaning: str, width: int, columns: int) -> str:
    """A term, its name in colour, and beside it the meaning; names in it are not broken."""
    name, space, value = term.partition(" ")
    head = f"  {click.style(name, fg='cyan')}{space}{value}"
    beside = textwrap.wrap(meaning, columns - width - 4, break_on_hyphens=False) or [""]
    if len(term) <= width:
        head += " " * (width - len(term) + 2) + beside.pop(0)
    return "\n".join([head, *(" " * (width + 4) + line for line in beside)]) + "\n"


def _first_paragraph(command: click.Command) -> str:
    return " ".join((command.help or "").split("\n\n")[0].split())
