"""What a schema is here: strict, frozen, and able to explain its fields. Torch-free."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, PositiveInt, field_validator
from pydantic.fields import FieldInfo

LONGEST_SIDE = 2**14  # pixels of a picture
SEEDS = 2**63  # the first that is too large for generators
MOST = 10**9  # that anything is counted to, or any number is: more is a slip
OWN = "own"  # in the place of a few-step adapter's file: the one that the base brings along
SWITCHES = {"true": OWN, "false": None, "none": None}  # as YAML, JSON and flags have one


def _switched(value: Any) -> Any:
    return SWITCHES.get(str(value).lower(), value)


# A few-step adapter: OWN, or FILE[:WEIGHTS]; None for as many steps as it takes.
FastName = Annotated[str | None, BeforeValidator(_switched)]
# How many pictures are computed at once: so many, or as many as prove quickest.
Together = PositiveInt | Literal["auto"]
FAST_VALUE = f"{OWN}|FILE[:WEIGHTS]"


class Strict(BaseModel):
    """Frozen, and no unknown keys: a setting that does nothing is an error."""

    # Validators are built when the first value is: a page of help needs none.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, defer_build=True)

    @field_validator("*")
    @classmethod
    def _of_this_world(cls, value: Any) -> Any:
        """A number that nobody means is a slip, wherever no closer bound is given."""
        if isinstance(value, float) and abs(value) > MOST:
            raise ValueError(f"must be less than {MOST:,}")
        return value


def leaves(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every field that holds no fields itself, by dotted name, in order."""
    for name, info in model.model_fields.items():
        kind = info.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from leaves(kind, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", info


def facts(info: FieldInfo) -> dict[str, Any]:
    """What a field says about itself beyond pydantic: its `flag`, its `metavar`."""
    extra = info.json_schema_extra
    return dict(extra) if isinstance(extra, dict) else {}


def value_name(info: FieldInfo) -> str:
    """What stands for a value of the field: `N`, `PATH`, or the choices."""
    return facts(info).get("metavar") or _named(info.annotation)


def _named(kind: Any) -> str:
    if types.NoneType in typing.get_args(kind):  # None is not written
        return _named(next(k for k in typing.get_args(kind) if k is not types.NoneType))
    if typing.get_origin(kind) is Literal:
        return "|".join(typing.get_args(kind))
    if typing.get_origin(kind) is list:  # one at a time
        return _named(typing.get_args(kind)[0])
    return {bool: "true|false", int: "N", float: "X", str: "TEXT", Path: "PATH"}.get(kind, "LIST")
