"""A configuration from YAML and flags, and back: read, merged, explained. Torch-free."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from kaiffin.foundation.config import Config
from kaiffin.foundation.errors import ConfigError, SettingError, nearest
from kaiffin.foundation.schema import facts, leaves, value_name


def fields() -> Iterator[tuple[str, FieldInfo]]:
    """Every setting of the config by its dotted name, in order."""
    return leaves(Config)


def build(data: Mapping[str, Any], source: str = "config") -> Config:
    """Validates `data`; every error names `source`, the field, the value and the way out."""
    try:
        return Config.model_validate(data)
    except ValidationError as error:
        raise _explained(error, source) from None


def load(path: Path) -> Config:
    """Reads a YAML config. Relative `data.photos` and `adapter.init_from` are taken from where
    the command runs, as on the command line."""
    return build(read_yaml(path), str(path))


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file, or a `ConfigError` that says where it is not one."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: is not UTF-8 text.", "Is it a YAML config?") from None
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from None
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: holds a {type(data).__name__}, not sections such as train:")
    return data


def dump(config: Config) -> str:
    """YAML text from which `load` makes an equal config."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def override(data: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`data` with dotted `changes` such as {"train.lr": "1e-4"}; text values are read as YAML."""
    merged = _deep_copy(data)
    known = dict(fields())
    for name, value in changes.items():
        if name not in known:
            raise ConfigError(f"unknown setting {name!r}.", nearest(name, known))
        *parents, leaf = name.split(".")
        node = merged
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = _parsed(value, known[name].annotation) if isinstance(value, str) else value
    return merged


def changed(config: Config, **changes: Any) -> Config:
    """A copy with dotted fields replaced: `changed(c, **{"train.steps": 10})`."""
    return build(override(config.model_dump(mode="python"), changes))


def _parsed(text: str, annotation: Any) -> Any:
    optional = types.NoneType in typing.get_args(annotation)
    kinds = typing.get_args(annotation) if optional else (annotation,)
    if str in kinds or Path in kinds:  # a folder may be called 2024
        return None if optional and text in ("null", "none") else text
    try:
        return float(text) if "e" in text.lower() and text[:1].isdigit() else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError):
        return text


def _deep_copy(data: Mapping[str, Any]) -> dict[str, Any]:
    return {k: _deep_copy(v) if isinstance(v, Mapping) else v for k, v in data.items()}


def _explained(error: ValidationError, source: str) -> ConfigError:
    """The first problem of a pydantic error, in the user's words."""
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        known = [known for known, _ in fields()]
        leaves = known + sorted({k.rsplit(".", 1)[0] for k in known if "." in k})
        return ConfigError(f"{source}: unknown setting {name!r}.", nearest(name, leaves))
    reason = first["msg"].removeprefix("Value error, ")
    if not name:
        return ConfigError(f"{source}: {reason}.")
    return SettingError(source, name, first.get("input"), reason)


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


def option_table() -> str:
    """Every field as a Markdown table row: names, values, default, meaning. `docs/options.md`."""
    rows = ["| setting | value | default | meaning |", "|---|---|---|---|"]
    for name, info in _rows():
        default = "required" if info.is_required() else info.get_default(call_default_factory=True)
        shown = "derived" if default is None else _escaped(default) or '""'
        flag = facts(info).get("flag")
        names = f"`{name}`, `{flag}`" if flag else f"`{name}`"
        rows.append(
            f"| {names} | {_escaped(value_name(info))} | `{shown}` | {info.description or ''} |"
        )
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
