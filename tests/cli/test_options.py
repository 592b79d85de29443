"""The command line's words are promised: every command, flag, argument and setting is frozen.

Renew the list on purpose, and say so in the changelog:  python tests/cli/test_options.py
"""

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from pydantic.fields import FieldInfo

from kaiffin.cli.main import app
from kaiffin.cli.settings import Command, Flag, Place, SchemaCommand
from kaiffin.foundation.config import Config
from kaiffin.foundation.schema import leaves, value_name

FROZEN = Path(__file__).with_name("options.txt")
REPO = Path(__file__).parents[2]


def commands(group: click.Group, path: str) -> Iterator[tuple[str, click.Command]]:
    """Every command below a group, by the words that call it."""
    for name, command in sorted(group.commands.items()):
        if isinstance(command, click.Group):
            yield from commands(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


SCHEMAS = {c: one for c, one in commands(app, "kaiffin") if isinstance(one, SchemaCommand)}


@pytest.mark.parametrize("schema", [one.schema for one in SCHEMAS.values()])
def test_no_number_of_a_command_is_without_an_end(schema: type[Command]) -> None:
    if schema.__name__ == "Build":
        return  # its bounds are the miniature's own
    for name, info in schema.model_fields.items():
        if info.annotation in (int, int | None):
            bounds = {type(bound).__name__ for bound in info.metadata}
            assert {"Ge", "Le"} <= bounds, name


def valued(info: FieldInfo) -> str:
    """`N = 25`: what a field takes, and what it is otherwise."""
    if info.is_required():
        return f"{value_name(info)}, required"
    default = info.get_default(call_default_factory=True)
    return f"{value_name(info)} = {str(default) if isinstance(default, Path) else default!r}"


def described(field: Flag | Place, command: SchemaCommand) -> str:
    """One line: what it is called, what it takes or sets, and what it is otherwise."""
    if isinstance(field, Flag) and field.setting:
        return f"    {field.term} -> {field.field}"
    name = field.term if isinstance(field, Place) else field.flag
    return f"    {name} {valued(command.schema.model_fields[field.field])}"


def listing() -> str:
    """The whole vocabulary of the command line as text."""
    lines = []
    for name, command in commands(app, "kaiffin"):
        lines.append(name)
        if isinstance(command, SchemaCommand):
            shown = [f for f in command.fields if isinstance(f, Place) or not f.hidden]
            lines += [described(field, command) for field in shown]
            takes = " ".join(command.schema.takes)
            lines += [f"    --section.field of: {takes}"] if takes else []
    lines.append("settings")
    lines += [f"    {name} {valued(info)}" for name, info in leaves(Config)]
    return "\n".join(lines) + "\n"


def test_the_vocabulary_is_what_it_was() -> None:
    now, then = listing().splitlines(), FROZEN.read_text(encoding="utf-8").splitlines()
    gone = [line for line in then if line not in now]
    new = [line for line in now if line not in then]
    assert now == then, (
        f"The command line changed. Gone: {gone}. New: {new}. People's scripts use these words. If"
        " it is meant, run `python tests/cli/test_options.py` and say so in the changelog."
    )


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_flags_are_told_apart(name: str) -> None:
    fields = SCHEMAS[name].fields
    spelt = [field.flag for field in fields]
    assert len(spelt) == len(set(spelt))
    assert all(field.help for field in fields), f"{name}: a flag without a meaning"
    assert (SCHEMAS[name].help or "").endswith(".")


@pytest.mark.parametrize("name", [name for name, one in SCHEMAS.items() if one.schema.takes])
def test_what_is_named_short_is_taken(name: str) -> None:
    """`takes` and `short` name what exists, and every short name stands for one of `takes`."""
    known = {name for name, _ in leaves(Config)}
    sections = {name.partition(".")[0] for name in known}
    schema = SCHEMAS[name].schema
    assert set(schema.takes) | set(schema.short) <= known | sections
    used = {f.field for f in SCHEMAS[name].fields if isinstance(f, Flag) and f.setting}
    for place in schema.short:
        assert any(field == place or field.startswith(f"{place}.") for field in used)


PAGES = [REPO / "README.md", *sorted((REPO / "docs").glob("*.md"))]
PAGES += [
    path for path in sorted((REPO / "examples").rglob("*")) if path.suffix in (".yaml", ".md")
]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_every_call_in_the_pages_can_be_made(page: Path) -> None:
    """`kaiffin COMMAND ... --flag`, wherever it is written, names a command and flags of its."""
    text = re.sub(r"\\\n[# ]*", " ", page.read_text(encoding="utf-8"))
    for call in re.findall(r"(?:^|[`/ ])kaiffin ((?:adapter |miniature )?[a-z-]+[^`\n]*)", text):
        words = call.split()
        name = "kaiffin " + " ".join(words[: 2 if words[0] in ("adapter", "miniature") else 1])
        if name in SCHEMAS:
            known = {field.flag for field in SCHEMAS[name].fields} | {"--help", "--help-all"}
            named = set(re.findall(r"(?<!\S)(--[a-z][\w.-]*[a-z]|-n)\b", call))
            assert named <= known, f"{page.name}: `kaiffin {call}` has {named - known}"


if __name__ == "__main__":
    FROZEN.write_text(listing(), encoding="utf-8")
