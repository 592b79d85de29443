"""A configuration from files and flags, and back: read, merged, explained. Torch-free."""

from __future__ import annotations

import re
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from kaiffin.foundation.config import Config
from kaiffin.foundation.errors import ConfigError, SettingError, nearest
from kaiffin.foundation.schema import facts, leaves, value_name
from kaiffin.foundation.written import given, meant, natural, read

LONGEST = 200  # characters of a value that an error repeats
ALL = "`kaiffin options` lists all settings."


def fields() -> Iterator[tuple[str, FieldInfo]]:
    """Every setting of the config by its dotted name, in order."""
    return leaves(Config)


def build(data: Mapping[str, Any], source: str = "config") -> Config:
    """Validates `data`; every error names `source`, the field, the value and the way out."""
    try:
        return Config.model_validate(_meant(data, source))
    except ValidationError as error:
        raise _explained(error, source) from None


def load(path: Path) -> Config:
    """Reads a YAML or TOML config. Relative `data.photos` and `adapter.init_from` are taken from
    where the command runs, as on the command line."""
    return build(read_config(path), str(path))


def read_config(path: Path) -> dict[str, Any]:
    """The settings in a YAML or TOML file by section, for `override` and `build`.

    Raises ConfigError for what is no such file, and for what stands there twice.
    """
    return _meant(read(path), str(path))


def _meant(data: Mapping[str, Any], source: str) -> dict[str, Any]:
    try:
        return meant(data, Config)
    except ConfigError as error:
        raise ConfigError(f"{source}: {error.message}", error.fix) from None


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a file of other fields than the config's, plain scalars as YAML 1.2 has
    them."""
    try:
        return natural(read(path))
    except RecursionError:
        raise ConfigError(f"{path}: a part of it holds itself (&name, *name).") from None


def dump(config: Config) -> str:
    """YAML text from which `load` makes an equal config."""
    data = config.model_dump(mode="json")
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


class _Dumper(yaml.SafeDumper):
    """Escapes the line ends of Unicode, which PyYAML writes as they are and reads as blanks."""

    def represent_str(self, data: str) -> yaml.ScalarNode:
        node = super().represent_str(data)
        if re.search("[\x85\u2028\u2029]", data):
            node.style = '"'
        return node


_Dumper.add_representer(str, _Dumper.represent_str)


def override(data: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`data` with dotted `changes` ({"train.lr": "1e-4"}), texts as their fields mean them."""
    merged = _deep_copy(data)
    known = dict(fields())
    for name, value in changes.items():
        if name not in known:
            raise ConfigError(f"unknown setting {name!r}.", nearest(name, known, ALL))
        *parents, leaf = name.split(".")
        node = merged
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = _given(name, value, known[name]) if isinstance(value, str) else value
    return merged


def _given(name: str, text: str, info: FieldInfo) -> Any:
    try:
        return given(text, info.annotation)
    except ValueError as error:
        raise SettingError("command line", name, _cut(text), str(error)) from None


def changed(config: Config, **changes: Any) -> Config:
    """A copy with dotted fields replaced: `changed(c, **{"train.steps": 10})`."""
    return build(override(config.model_dump(mode="python"), changes))


def _deep_copy(data: Mapping[str, Any]) -> dict[str, Any]:
    return {k: _deep_copy(v) if isinstance(v, Mapping) else v for k, v in data.items()}


def _explained(error: ValidationError, source: str) -> ConfigError:
    """The first problem of a pydantic error, in the user's words."""
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        known = [known for known, _ in fields()]
        leaves = known + sorted({k.rsplit(".", 1)[0] for k in known if "." in k})
        return ConfigError(f"{source}: unknown setting {name!r}.", nearest(name, leaves, ALL))
    reason = reason_of(first)
    if not name:
        return ConfigError(f"{source}: {reason}.")
    return SettingError(source, name, _cut(first.get("input")), reason)


def _cut(value: Any) -> Any:
    long = isinstance(value, str) and len(value) > LONGEST
    return f"{value[:LONGEST]}..." if long else value


_REASONS = {
    "int_": "is not a whole number",
    "float_": "is not a number",
    "finite_number": "is not a finite number",
    "bool_": "is neither true nor false",
    "string_type": "is not text; put it in quotes",
    "path_type": "is not text; put it in quotes",
    "string_too_short": "must not be empty",
    "tuple_type": "is not a list; write [ONE, ANOTHER]",
    "list_type": "is not a list; write [ONE, ANOTHER]",
    "model_": "is not a section; write its settings below it, each with its name",
    "missing": "must be given",
    "greater_than_equal": "must be at least {ge}",
    "greater_than": "must be above {gt}",
    "less_than_equal": "must be at most {le}",
    "less_than": "must be below {lt}",
    "too_long": "has {actual_length} entries, and at most {max_length} are read",
    "too_short": "has {actual_length} entries, and at least {min_length} are needed",
}  # by the beginning of pydantic's name of an error, the first that fits


def reason_of(error: Mapping[str, Any]) -> str:
    """What is wrong with a value, in the user's words; `error`: one of pydantic's."""
    kind, found, more = error["type"], error.get("input"), error.get("ctx") or {}
    if kind == "literal_error":
        choices = re.findall("'([^']*)'", more["expected"])
        near = re.match("Did you mean (.*)[?]", nearest(str(found), choices))
        hint = f"; the nearest is {near[1]}" if near else ""
        return f"is none of {', '.join(choices)}{hint}"
    for start, words in _REASONS.items():
        if kind.startswith(start):
            decimal = str(found).replace(",", ".")
            comma = kind == "float_parsing" and re.fullmatch(r"-?\d*\.\d+", decimal)
            bounds = {name: _shown(bound) for name, bound in more.items()}
            return words.format(**bounds) + (f"; write {decimal}" if comma else "")
    return error["msg"].removeprefix("Value error, ")


def _shown(bound: object) -> str:
    return f"{bound:g}" if isinstance(bound, float) else f"{bound}"


def flat(config: Config) -> dict[str, Any]:
    """Every setting by its dotted name, as plain data; lists stay whole."""
    data = config.model_dump(mode="json")
    found: dict[str, Any] = {}
    for name, _ in fields():
        value: Any = data
        for part in name.split("."):
            value = value[part]
        found[name] = value
    return found


@dataclass(frozen=True)
class Setting:
    """A field of the configuration in words. flag: its short name on the command line, or ""."""

    name: str
    flag: str
    value: str
    default: str
    meaning: str


def described() -> list[Setting]:
    """Every setting there is, those of lists' entries below their lists."""
    found = []
    for name, info in _rows():
        default = "required" if info.is_required() else info.get_default(call_default_factory=True)
        shown = "derived" if default is None else str(default)
        flag = facts(info).get("flag") or ""
        found.append(Setting(name, flag, value_name(info), shown, info.description or ""))
    return found


def option_table() -> str:
    """The same as rows of a Markdown table: names, values, default, meaning. `docs/options.md`."""
    rows = ["| setting | value | default | meaning |", "|---|---|---|---|"]
    for one in described():
        names = f"`{one.name}`, `{one.flag}`" if one.flag else f"`{one.name}`"
        default = _escaped(one.default) or '""'
        rows.append(f"| {names} | {_escaped(one.value)} | `{default}` | {one.meaning} |")
    return "\n".join(rows)


def _escaped(value: object) -> str:
    return str(value).replace("|", "\\|")


def _rows() -> Iterator[tuple[str, FieldInfo]]:
    """`fields`, and below a list such as `phases` the fields of its entries."""
    for name, info in fields():
        yield name, info
        entry = next(iter(typing.get_args(info.annotation)), None)
        if isinstance(entry, type) and issubclass(entry, BaseModel):
            yield from leaves(entry, f"{name}[].")
