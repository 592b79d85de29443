"""What people write as settings: YAML, TOML and flags, by one set of rules. Torch-free.

A scalar without quotes stays what was written until the type of its field says what it means: a
folder may be called 2024, no or 1e3, 1e-4 is a number, and yes is one only where a switch is.
"""

from __future__ import annotations

import re
import tomllib
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel

from kaiffin.foundation.errors import ConfigError

NULLS = ("", "~", "null", "Null", "NULL")  # YAML 1.2, core schema
YES, NO = ("true", "yes", "on", "1"), ("false", "no", "off", "0")
NUMBER = re.compile(r"[-+]?(?:\d[\d_]*\.?[\d_]*|\.\d[\d_]*)(?:[eE][-+]?\d+)?")


class Plain(str):
    """A scalar of YAML that was written without quotes."""

    __slots__ = ()


# --- files --------------------------------------------------------------------------------------


def read(path: Path) -> dict[str, Any]:
    """The mapping in a YAML or TOML file, YAML's plain scalars as they were written.

    Raises ConfigError with file and line where it is none, or where a key stands twice.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: is not UTF-8 text.", "Save it as UTF-8.") from None
    if path.suffix.lower() == ".toml":
        return _toml(text, path)
    try:
        data = _yaml(text)
    except yaml.YAMLError as error:
        data = error
    if isinstance(data, dict):
        return data
    if data is None or (isinstance(data, Plain) and data in NULLS):
        return {}
    if re.search(r"^\s*(\[[\w.]+\]|[\w.]+\s*=.*)\s*$", text, re.MULTILINE):
        raise ConfigError(
            f"{path}: looks like TOML, and is read as YAML.",
            "Name it .toml, or write sections as train: {steps: 20}.",
        )
    if isinstance(data, yaml.YAMLError):
        raise ConfigError(f"{path}{_told(data)}")
    what = "a list" if isinstance(data, list) else "one value"
    raise ConfigError(f"{path}: holds {what}, not sections such as train: {{steps: 20}}.")


def _yaml(text: str) -> Any:
    try:
        return yaml.load(text, Loader=_Loader)
    except RecursionError:
        raise yaml.YAMLError("it is nested too deeply") from None


def _told(error: yaml.YAMLError) -> str:
    """Where in the file, and what."""
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    if mark is None or problem is None:
        return f": not valid YAML: {error}"
    if isinstance(error, _TwiceError):
        return f" line {mark.line + 1}: {problem}"
    return f" line {mark.line + 1}: not valid YAML: {problem}."


def _toml(text: str, path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}.") from None


class _TwiceError(yaml.MarkedYAMLError):
    """A key that stands twice in one mapping."""


class _Loader(yaml.SafeLoader):
    """Leaves plain scalars as they are written, and refuses a key that stands twice."""

    def compose_mapping_node(self, anchor: Any) -> Any:
        node = super().compose_mapping_node(anchor)
        lines: dict[str, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag.endswith(":merge"):
                continue
            line = key.start_mark.line + 1
            if key.value in lines:
                first = lines[key.value]
                text = f"{key.value}: stands in line {first} already. Put both into one."
                raise _TwiceError(problem=text, problem_mark=key.start_mark)
            lines[key.value] = line
        return node

    def resolve(self, kind: Any, value: Any, implicit: Any) -> str:
        """Of all that YAML 1.1 takes a plain scalar for, << alone: it belongs to the mapping."""
        if kind is yaml.ScalarNode and implicit[0] and value != "<<":
            return self.DEFAULT_SCALAR_TAG
        return super().resolve(kind, value, implicit)

    def text(self, node: yaml.ScalarNode) -> str:
        """What was written, and whether without quotes."""
        if node.style is None:
            return Plain(node.value)
        # JSON writes what is beyond 16 bits in two halves.
        halves = node.value.encode("utf-16-le", "surrogatepass")
        return halves.decode("utf-16-le", "surrogatepass")


_Loader.add_constructor("tag:yaml.org,2002:str", _Loader.text)


# --- meaning ------------------------------------------------------------------------------------


def natural(value: Any) -> Any:
    """What a plain scalar, or each in lists and mappings, means where no field says it."""
    if isinstance(value, Mapping):
        return {str(key): natural(one) for key, one in value.items()}
    if isinstance(value, list):
        return [natural(one) for one in value]
    if not isinstance(value, Plain):
        return value
    if value in NULLS:
        return None
    if value.lower() in ("true", "false"):
        return value.lower() == "true"
    return _number(value)


def meant(value: Any, kind: Any) -> Any:
    """`value` of a file as a field of type `kind` takes it; what fits nowhere stays as it is."""
    if typing.get_origin(kind) is typing.Annotated:
        kind = typing.get_args(kind)[0]
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return _section(value, kind)
    optional, kind = _without_none(kind)
    empty = isinstance(value, Plain) and value in NULLS
    if optional and (empty or (value == "" and kind is Path)):
        return None
    if _is_several(kind):
        kinds = _entries(kind)
        if isinstance(value, str):
            return [] if empty else given(value, kind)
        if isinstance(value, Sequence):
            return [meant(one, kinds[min(i, len(kinds) - 1)]) for i, one in enumerate(value)]
        return value
    if isinstance(value, bool) and kind in (int, float):
        return str(value).lower()  # to Python a number, to nobody else
    return _scalar(value, kind) if isinstance(value, str) else value


def given(text: str, kind: Any) -> Any:
    """The text of a flag as a field of type `kind` takes it. No text or path is YAML.

    Lists are written [a, b], or a,b where their entries hold no commas. ValueError with the reason
    for what looks like one and cannot be read.
    """
    optional, kind = _without_none(kind)
    if optional and (text == "" or (text in (*NULLS, "none") and kind not in (str, Path))):
        return None
    if not _is_several(kind):
        return _scalar(text, kind)
    if not text.strip():
        return []
    kinds = _entries(kind)
    brackets = text.strip()[0] + text.strip()[-1]
    if brackets == "[]" or (brackets == "{}" and kinds[0] is not str):  # a text may be {token}
        try:
            data = _yaml(text)
        except yaml.YAMLError as error:
            problem = getattr(error, "problem", None) or str(error)
            raise ValueError(f"is no list that can be read: {problem.rstrip('.')}") from None
        return meant(data if isinstance(data, list) else [data], kind)
    if kinds[0] is str:
        return [str(text)]
    if "," in text or typing.get_origin(kinds[0]) is Literal:
        parts = [part.strip() for part in text.split(",")]
        return [_scalar(one, kinds[min(i, len(kinds) - 1)]) for i, one in enumerate(parts)]
    return str(text)


def _section(value: Any, model: type[BaseModel]) -> Any:
    """A section with its fields as they are meant; an empty one is empty, a dotted key nested."""
    if value is None or (isinstance(value, Plain) and value in NULLS):
        return {}
    if not isinstance(value, Mapping):
        return value
    nested: dict[str, Any] = {}
    for name, one in value.items():
        _put(nested, str(name), one, model)
    fields = model.model_fields
    return {k: meant(v, fields[k].annotation) if k in fields else v for k, v in nested.items()}


def _put(into: dict[str, Any], name: str, value: Any, model: type[BaseModel]) -> None:
    """`train.steps` into `train`, where that is a section; anything else under its name."""
    head, dot, rest = name.partition(".")
    inner = model.model_fields[head].annotation if head in model.model_fields else None
    if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
        into[name] = value
        return
    known = into.get(head)
    known = _section(known, inner) if known is not None else None
    more = _section({rest: value} if dot else value, inner)
    if known is None or not isinstance(more, dict) or not isinstance(known, dict):
        into[head] = more
        return
    into[head] = _united(known, more, head)


def _united(a: Mapping[str, Any], b: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Both, where no setting is in both."""
    both = dict(a)
    for name, value in b.items():
        there = both.get(name)
        if isinstance(there, dict) and isinstance(value, dict):
            both[name] = _united(there, value, f"{where}.{name}")
        elif name in both:
            raise ConfigError(f"{where}.{name} stands twice.", "Leave one out.")
        else:
            both[name] = value
    return both


def _scalar(text: str, kind: Any) -> Any:
    """A number where one is wanted, a switch where one is wanted, else the text."""
    if kind in (int, float):
        return _number(text)
    if kind is bool:
        word = text.strip().lower()
        return word in YES if word in (*YES, *NO) else str(text)
    return str(text)


def _number(text: str) -> int | float | str:
    """The number in `text`, in Python's and YAML 1.2's spelling, else the text."""
    bare = text.strip()
    try:
        if NUMBER.fullmatch(bare):
            return float(bare) if re.search("[.eE]", bare) else int(bare)
    except ValueError:
        pass
    return str(text)


def _without_none(kind: Any) -> tuple[bool, Any]:
    """Whether None is among the types of `kind`, and the other one."""
    if types.NoneType not in typing.get_args(kind):
        return False, kind
    return True, next(one for one in typing.get_args(kind) if one is not types.NoneType)


def _is_several(kind: Any) -> bool:
    return typing.get_origin(kind) in (list, tuple)


def _entries(kind: Any) -> list[Any]:
    """Types of the entries, the last for all that follow."""
    return [one for one in typing.get_args(kind) if one is not Ellipsis]
