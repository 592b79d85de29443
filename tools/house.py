"""The rules of the house that no linter has: sizes, lines that stand in two modules, tests that
mirror the source, the file map.

`python tools/house.py` checks (a part of `make check`). With `--write` (`make docs`) it renews the
map in docs/architecture.md and takes out of tests/unmirrored.txt what is no longer true. Loads
nothing of Kaiffin, so it is done in a few seconds.
"""

from __future__ import annotations

import ast
import functools
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

REPO = Path(__file__).parents[1]
PACKAGE = Path("src") / "kaiffin"

FUNCTION = 60  # lines: a function fits a screen
FILE = 400  # lines
SIZED = ("src", "tests", "benchmarks", "examples", "tools")
SOURCES = {".py", ".js", ".css", ".j2"}
SHARED = 4  # lines of code that no two modules may have in common
ONCE = (PACKAGE, Path("benchmarks"), Path("tools"))

# Lines of tests for a line of code. The aim is 0.7: raise the number as tests come, never lower it.
TESTED, AIM = 0.55, 0.7
SPACE = {
    tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT,
    tokenize.ENCODING, tokenize.ENDMARKER,
}  # fmt: skip

UNMIRRORED = Path("tests") / "unmirrored.txt"
PAGE = Path("docs") / "architecture.md"
START = "<!-- The map: made by `make docs` from the modules' docstrings. -->"
END = "<!-- end of the map -->"


def main(arguments: list[str]) -> int:
    if arguments == ["--write"]:
        renew(REPO)
        return 0
    found = [problem for check in CHECKS for problem in check(REPO)]
    print("\n".join(found or [f"the house is in order; {tests_by_room(REPO)}"]))
    return 1 if found else 0


def renew(repo: Path) -> None:
    """Writes what can be derived from the tree."""
    page, reasons = repo / PAGE, repo / UNMIRRORED
    page.write_text(with_map(page.read_text("utf-8"), file_map(repo)), encoding="utf-8")
    lines = reasons.read_text(encoding="utf-8").splitlines(keepends=True)
    untested = {module.as_posix() for module in modules(repo) if not test_of(repo, module)}
    kept = [line for line in lines if line[0] in "#\n" or line.partition(":")[0] in untested]
    reasons.write_text("".join(kept), encoding="utf-8")


# --- sizes --------------------------------------------------------------------------------------


def too_long(repo: Path) -> Iterator[str]:
    """Files above `FILE` lines, functions above `FUNCTION` lines, decorators not counted."""
    paths = (path for folder in SIZED for path in sorted((repo / folder).rglob("*")))
    for path in paths:
        if path.suffix not in SOURCES:
            continue
        text, name = path.read_text(encoding="utf-8"), path.relative_to(repo)
        lines = len(text.splitlines())
        if lines > FILE:
            yield f"{name}: has {lines} lines, more than {FILE}. Find what it does besides its job."
        if path.suffix == ".py":
            yield from (f"{name}:{found}" for found in long_functions(text))


def long_functions(text: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > FUNCTION:
                yield f"{node.lineno}: {node.name} has {lines} lines, more than {FUNCTION}."


# --- lines that two modules share ---------------------------------------------------------------


def shared_lines(repo: Path) -> Iterator[str]:
    """Where `SHARED` lines of code in a row stand in a module before, too; each such place once."""
    seen: dict[tuple[str, ...], tuple[Path, int]] = {}
    for path in (path for folder in ONCE for path in sorted((repo / folder).rglob("*.py"))):
        name, told = path.relative_to(repo), 0
        lines = bare_lines(path.read_text(encoding="utf-8"))
        for first in range(len(lines) - SHARED + 1):
            numbers, texts = zip(*lines[first : first + SHARED], strict=True)
            other, line = seen.setdefault(texts, (name, numbers[0]))
            if other != name and numbers[0] > told:
                told = numbers[-1]
                where = f"{name}:{numbers[0]}"
                yield f"{where}: {SHARED} lines are those of {other}:{line}. Share them."


def bare_lines(text: str) -> list[tuple[int, str]]:
    """Numbers and texts of the lines that do something: no imports, signatures, docstrings and
    comments, and no brackets alone."""
    silent: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        first, last = getattr(node, "lineno", 0), getattr(node, "end_lineno", None) or 0
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            last = max(first, node.body[0].lineno - 1)
        elif isinstance(node, ast.Expr):
            last = last if isinstance(node.value, ast.Constant) else 0
        elif not isinstance(node, ast.Import | ast.ImportFrom):
            last = 0
        silent.update(range(first, last + 1))
    lines = ((number, line.strip()) for number, line in enumerate(text.splitlines(), 1))
    return [
        (number, line) for number, line in lines
        if number not in silent and not line.startswith("#") and re.search(r"\w", line)
    ]  # fmt: skip


# --- tests --------------------------------------------------------------------------------------


def modules(repo: Path) -> list[Path]:
    """Every module of the package, relative to it, in the order of the map."""
    package = repo / PACKAGE
    return sorted(path.relative_to(package) for path in package.rglob("*.py"))


def test_of(repo: Path, module: Path) -> Path | None:
    """The test file of a module's own name, if it is there."""
    test = repo / "tests" / module.with_name(f"test_{module.name}")
    return test if test.is_file() else None


def not_mirrored(repo: Path) -> Iterator[str]:
    """`room/part.py` without `tests/room/test_part.py`, unless tests/unmirrored.txt says why.

    A line there is `room/part.py: reason`; a line that is no longer true has to go, and the tests
    that it names have to be there.
    """
    reasons = {}
    for line in (repo / UNMIRRORED).read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            name, _, reason = line.partition(":")
            reasons[name] = reason.strip()
            for test in re.findall(r"[\w/]*test_\w+\.py", reason):
                if not (repo / "tests" / test).is_file():
                    yield f"{UNMIRRORED}: {name}: there is no tests/{test}."
    for module in modules(repo):
        if module.name.startswith("__"):
            continue
        reason = reasons.pop(module.as_posix(), None)
        if test_of(repo, module):
            if reason is not None:
                yield f"{UNMIRRORED}: {module} has a test file now. Run `make docs`."
        elif not reason:
            test = Path("tests") / module.with_name(f"test_{module.name}")
            yield f"{PACKAGE / module}: has no {test}. Write it, or say why not in {UNMIRRORED}."
    yield from (f"{UNMIRRORED}: there is no {name}. Run `make docs`." for name in reasons)


def lines_by_room(folder: Path) -> dict[str, int]:
    """Lines of code below `folder` by the room; "" for what lies in no room."""
    counts: dict[str, int] = {}
    for path in folder.rglob("*.py"):
        parts = path.relative_to(folder).parts
        room = parts[0] if len(parts) > 1 else ""
        counts[room] = counts.get(room, 0) + code_lines(path.read_text(encoding="utf-8"))
    return counts


@functools.cache
def code_lines(text: str) -> int:
    """Lines that hold code: no blank ones, no comments, no docstrings."""
    lines: set[int] = set()
    begins = True  # whether the next token begins a statement
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in SPACE:
            begins = begins or token.type == tokenize.NEWLINE
            continue
        if not (begins and token.type == tokenize.STRING):
            lines.update(range(token.start[0], token.end[0] + 1))
        begins = False
    return len(lines)


def share_tested(repo: Path) -> float:
    """Lines of tests for a line of code."""
    tests, code = lines_by_room(repo / "tests"), lines_by_room(repo / PACKAGE)
    return sum(tests.values()) / sum(code.values())


def tests_by_room(repo: Path) -> str:
    tests, code = lines_by_room(repo / "tests"), lines_by_room(repo / PACKAGE)
    shares = [f"{room} {tests.get(room, 0) / code[room]:.2f}" for room in sorted(code) if room]
    share = f"{share_tested(repo):.2f} ({', '.join(shares)})"
    return f"lines of tests for a line of code: {share}"


def thinly_tested(repo: Path) -> Iterator[str]:
    if share_tested(repo) < TESTED:
        yield f"{tests_by_room(repo)}; at least {TESTED} is wanted, {AIM} is the aim."


# --- the map ------------------------------------------------------------------------------------


def file_map(repo: Path) -> str:
    """A table of each room: its modules by name, with what each says of itself first."""
    out: list[str] = []
    folder = None
    for module in sorted(modules(repo), key=lambda path: (path.parent.parts, path.name)):
        job = job_of((repo / PACKAGE / module).read_text(encoding="utf-8"))
        if module.name == "__init__.py":
            continue
        if module.parent != folder:
            folder = module.parent
            about = job_of((repo / PACKAGE / folder / "__init__.py").read_text("utf-8"))
            out += ["", f"**`{folder}/`** {about}", "", "| file | its one job |", "|---|---|"]
        if module.name != "__main__.py":
            out.append(f"| `{module.name}` | {job} |")
    return "\n".join(out).strip()


def job_of(text: str) -> str:
    """The first paragraph of a module's docstring, on one line; "" where there is none."""
    paragraph = (ast.get_docstring(ast.parse(text)) or "").split("\n\n")[0]
    return " ".join(paragraph.split()).replace("|", "\\|")


def with_map(page: str, table: str) -> str:
    """`page` with `table` between its two marks."""
    before, _, rest = page.partition(START)
    return f"{before}{START}\n\n{table}\n\n{END}{rest.partition(END)[2]}"


def map_is_old(repo: Path) -> Iterator[str]:
    for module in modules(repo):
        text = (repo / PACKAGE / module).read_text(encoding="utf-8")
        if module.name != "__main__.py" and not job_of(text):
            yield f"{PACKAGE / module}: does not say what it is for. Begin it with a docstring."
    page = (repo / PAGE).read_text(encoding="utf-8")
    if START not in page or END not in page.partition(START)[2]:
        yield f"{PAGE}: has lost the marks of its map: {START} and {END}"
    elif page != with_map(page, file_map(repo)):
        yield f"{PAGE}: its map is not that of the tree. Run `make docs`."


CHECKS = (too_long, shared_lines, not_mirrored, thinly_tested, map_is_old)

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
