"""The parts of the documentation that are made: from the code here, and from what was measured
(measured.py).

`python tools/reference.py --write` (`make docs`) renews them; a test holds the pages against the
code, so that a flag, an address or a number that changes cannot stay as it was in a page. A part
stands between two comments of its name, and everything else in a page is written by people.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import measured
from measured import table

REPO = Path(__file__).parents[1]
DOCS = REPO / "docs"


def main(arguments: list[str]) -> int:
    old = [page for page, text in renewed() if page.read_text(encoding="utf-8") != text]
    if arguments == ["--write"]:
        for page, text in renewed():
            page.write_text(text, encoding="utf-8")
        return 0
    print("\n".join(f"{page.relative_to(REPO)}: is old. Run `make docs`." for page in old))
    return 1 if old else 0


def renewed() -> Iterator[tuple[Path, str]]:
    """Every page with made parts, and its text as it should be."""
    for name, parts in PARTS.items():
        page = DOCS / name
        whole = measured.WHOLE.get(name)
        text = whole() if whole else page.read_text(encoding="utf-8")
        for part, make in parts.items():
            text = put(text, part, make())
        yield page, text


def put(page: str, part: str, text: str) -> str:
    """`page` with `text` as its part of that name; ValueError where its marks are not there."""
    start, end = f"<!-- made: {part} -->", f"<!-- end: {part} -->"
    before, found, rest = page.partition(start)
    _, ended, after = rest.partition(end)
    if not found or not ended:
        raise ValueError(f"there is no {start} with its {end}")
    return f"{before}{start}\n\n{text.strip()}\n\n{end}{after}"


def cell(text: str) -> str:
    """Words in a cell, on one line; what looks like a tag is none."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def code(text: str) -> str:
    """The same between backticks, where only bars would be read as something else."""
    return "`{}`".format(text.replace("|", "\\|"))


# --- from the code ------------------------------------------------------------------------------


def commands() -> str:
    """Every command with its arguments and flags, under the headings of `kaiffin --help`."""
    from kaiffin.cli.main import app

    out: list[str] = []
    for heading, listed in app.under.items():
        out += [f"## {heading}", ""]
        for command in listed:
            out += _command(command, f"kaiffin {command.name}")
    return "\n".join(out)


def _command(command: click.Command, path: str) -> list[str]:
    told = inspect.cleandoc(command.help or "").split("\n\n")
    out = [f"### {path}", "", *(f"{cell(paragraph)}\n" for paragraph in told)]
    if isinstance(command, click.Group):
        for name in command.commands:
            out += [f"#{line}" if line.startswith("###") else line
                    for line in _command(command.commands[name], f"{path} {name}")]  # fmt: skip
        return out
    rows = []
    for heading, entries in command.headed(False):
        if heading != "Help":
            rows += [f"{code(term)} | {cell(meaning)}" for term, meaning in entries]
    if rows:
        out += [table("argument or flag | meaning", rows), ""]
    if takes := getattr(getattr(command, "schema", None), "takes", ()):
        names = ", ".join(f"`--{name}{'' if '.' in name else '.*'}`" for name in takes)
        out += [f"Settings too ([settings](../options.md)): {names}.", ""]
    return out


def stories() -> str:
    """The public functions of each story, with the first sentence of each."""
    import kaiffin.stories as room

    rows = []
    for found in pkgutil.iter_modules(room.__path__):
        module = importlib.import_module(f"kaiffin.stories.{found.name}")
        for name, function in _public(module):
            sentence = re.split(r"(?<=[.:;])\s", cell(inspect.getdoc(function) or ""), maxsplit=1)[
                0
            ]
            answer = inspect.signature(function).return_annotation
            rows.append(f"`kaiffin.stories.{found.name}.{name}` | `{answer}` | {sentence}")
    return table("function | answers with | what it does", rows)


def _public(module: Any) -> list[tuple[str, Callable[..., Any]]]:
    """Functions that a module defines, that others may call, and that have a listener: stories."""
    return [
        (name, function) for name, function in vars(module).items()
        if inspect.isfunction(function) and not name.startswith("_")
        and function.__module__ == module.__name__
        and "tell" in inspect.signature(function).parameters
    ]  # fmt: skip


def run_files() -> str:
    """The paths of a run folder, as `foundation.run.Run` has them."""
    from kaiffin.foundation.config import Config
    from kaiffin.foundation.run import Run

    run, rows = Run(Path("run"), Config()), []
    for name, member in vars(Run).items():
        if isinstance(member, property) and not name.startswith("_"):
            path = getattr(run, name)
            if isinstance(path, Path):
                told = FILES.get(name) or (inspect.getdoc(member) or "").split("\n\n")[0]
                rows.append(f"`{path.relative_to('run').as_posix()}` | {cell(told)}")
    return table("in the run folder | what it is", rows)


FILES = {
    "config_path": "every setting, the derived ones too: `kaiffin train config.yaml` does it again",
    "adapter_path": "the adapter in kohya's layout, called by the subject's word",
    "metrics_path": "a line of JSON a step: loss, rate, gradient norm, loss on held-out photos",
    "report_path": "the page that `kaiffin report` writes",
}


def addresses() -> str:
    """Every address of the service, from its own OpenAPI document."""
    from kaiffin.serve.app import application

    described = application(None, a1111=True).openapi()  # ty: ignore[invalid-argument-type]
    groups: dict[str, list[str]] = {}
    for path, methods in described["paths"].items():
        if path.startswith("/page/"):
            continue  # scripts and styles
        for method, operation in methods.items():
            told = operation.get("description") or operation.get("summary", "")
            sentence = re.split(r"(?<=[.])\s", cell(told), maxsplit=1)[0]
            asked = [p["name"] for p in operation.get("parameters", ()) if p["in"] == "query"]
            queries = ", ".join(f"`{name}`" for name in asked)
            row = f"`{method.upper()}` | `{path}` | {queries} | {_body(operation)} | {sentence}"
            groups.setdefault(_group(path), []).append(row)
    head = "method | address | query | body | what it does"
    parts = [f"## {name}\n\n{table(head, rows)}" for name, rows in groups.items()]
    schemas = described["components"]["schemas"]
    asked = sorted(name for name in schemas if f"| `{name}` |" in "".join(parts))
    parts.append("## Bodies\n\nFields with a star have to be there.")
    parts += [f"### {name}\n\n{_fields(schemas[name])}" for name in asked]
    return "\n\n".join(parts)


def _fields(schema: Mapping[str, Any]) -> str:
    """The fields of a body: what each may be, and what it means."""
    needed = schema.get("required", ())
    rows = [
        f"{code(name)}{'*' if name in needed else ''} | {_type(field)} |"
        f" {cell(field.get('description', ''))}"
        for name, field in schema.get("properties", {}).items()
    ]
    return table("field | value | meaning", rows)


def _type(field: Mapping[str, Any]) -> str:
    """What a value may be, in a few words."""
    if named := field.get("$ref", "").rpartition("/")[2]:
        return code(named)
    if several := field.get("anyOf", field.get("oneOf")):
        kinds = dict.fromkeys(_type(one) for one in several if one.get("type") != "null")
        return " or ".join(kinds)
    if "enum" in field or "const" in field:
        return ", ".join(code(str(v)) for v in field.get("enum", [field.get("const")]))
    if field.get("type") == "array":
        return f"list of {_type(field.get('items') or field['prefixItems'][0])}"
    kind = str(field.get("type", "any"))
    ends = [field[name] for name in ("minimum", "maximum") if name in field]
    return f"{kind}, {ends[0]:g} to {ends[1]:g}" if len(ends) == 2 else kind


def _group(path: str) -> str:
    parts = path.strip("/").split("/")
    if parts[0] == "api":
        return f"/api/v1/{parts[2]}"
    return {"v1": "OpenAI's", "sdapi": "A1111's (`--a1111`)"}.get(parts[0], "The page")


def _body(operation: Mapping[str, Any]) -> str:
    content = operation.get("requestBody", {}).get("content", {})
    for kind, body in content.items():
        named = body.get("schema", {}).get("$ref", "").rpartition("/")[2]
        return f"`{named}`" if named else cell(kind.rpartition("/")[2])
    return ""


def counterparts() -> str:
    """Settings of other trainers and ours, from the tables that `kaiffin import` goes by."""
    try:
        tables = importlib.import_module("kaiffin.foundation.trainers.importing").TABLES
    except ModuleNotFoundError:  # until that room is there
        return "*Made from the tables in the code.*"
    return "\n\n".join(_counterparts(module) for module in dict.fromkeys(tables.values()))


def _counterparts(module: Any) -> str:
    """What becomes of each setting of one program; those that change nothing by name alone."""
    rows = [
        f"{', '.join(code(name) for name in row.names)} | {_ours(row)} | {cell(row.note)}"
        for row in module.ROWS
        if not row.needless
    ]
    idle = sorted(name for row in module.ROWS if row.needless for name in row.names)
    told = f"\n\nWithout effect here: {', '.join(map(code, idle))}." if idle else ""
    return f"### {module.TITLE}\n\n{table('theirs | ours | the difference', rows)}{told}"


def _ours(row: Any) -> str:
    """Settings as flags; what is no setting, in words."""
    parts = [part.strip() for part in row.ours.split(",")] if row.ours else ["-"]
    setting = re.compile(r"[a-z]+(\.[a-z_]+)+|--[a-z]+")
    return ", ".join(
        code(f"--{part.removeprefix('--')}") if setting.fullmatch(part) else cell(part)
        for part in parts
    )


# --- from the code's own numbers ------------------------------------------------------------------


def preset_numbers() -> str:
    """What is derived for so many photos, of a small base and of a full-size one."""
    from kaiffin.foundation.presets import derive
    from kaiffin.foundation.settings import build, flat, override

    given = build(override({}, {"subject.noun": "thing"}))
    names = ("train.steps", "train.batch_size", "adapter.rank", "train.lr", "data.prior.weight")
    rows = []
    for base, side in (("small (the miniature)", 64), ("full-size", 512)):
        for count in (1, 3, 6, 20):
            found = flat(derive(given, [count], side)[0])
            rows.append(" | ".join([base, str(count), *(f"{found[name]:g}" for name in names)]))
    return table(f"base | photos | {' | '.join(code(name) for name in names)}", rows)


PARTS: dict[str, dict[str, Callable[[], str]]] = {
    "reference/commands.md": {"commands": commands},
    "reference/python.md": {"stories": stories},
    "reference/files.md": {"run": run_files},
    "reference/http.md": {"addresses": addresses},
    "start/from-elsewhere.md": {"counterparts": counterparts},
    "teaching.md": {
        "presets": preset_numbers,
        "numbers": measured.figure("teaching"),
        "targets": measured.targets,
    },
    **measured.PARTS,
}

if __name__ == "__main__":
    sys.path.insert(0, str(REPO / "src"))
    sys.exit(main(sys.argv[1:]))
