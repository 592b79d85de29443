"""A schema made narrower for strangers: no paths, no hub ids, an end to every number and text.

Torch-free.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Collection, Mapping
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import annotated_types as limits
from pydantic import BaseModel, Field, create_model
from pydantic.fields import FieldInfo

from kaiffin.foundation.schema import MOST, Strict

LONGEST = 2000  # characters of a text
MANY = 32  # entries of a list
LARGEST = 1e6  # of a number with a fraction that has no end of its own


def narrow(
    model: type[BaseModel], name: str, *, ceilings: Mapping[str, int],
    without: Collection[str] = (), instead: Mapping[str, tuple[Any, Any]] | None = None,
    at: str = "",
) -> type[Strict]:  # fmt: skip
    """`model` with the same fields, their defaults and descriptions.

    ceilings: the most that whole numbers may be, by dotted names; without: fields that are left
    out; instead: others' types; at: where the model stands in the whole. TypeError for a path, and
    for a number without an end, that neither of them names: whoever adds such a field decides.
    """
    fields: dict[str, Any] = {}
    for field, info in model.model_fields.items():
        where = f"{at}{field}"
        if where in without:
            continue
        if instead and where in instead:
            fields[field] = instead[where]
            continue

        def inner(part: type[BaseModel], where: str = where) -> type[Strict]:
            return narrow(
                part, f"{name}{part.__name__}", ceilings=ceilings, without=without,
                instead=instead, at=f"{where}.",
            )  # fmt: skip

        kind = _ended(info.annotation, where, _end(info, where, ceilings), inner)
        default = _default(info, kind)
        kept = [mark for mark in info.metadata if not (where in ceilings and _is_end(mark))]
        fields[field] = (_marked(kind, default, *kept), default)
    return create_model(name, __base__=Strict, __doc__=model.__doc__, **fields)


def _end(info: FieldInfo, where: str, ceilings: Mapping[str, int]) -> int | None:
    """The most that the field's whole numbers may be; None where its own end is near enough."""
    if where in ceilings:
        return ceilings[where]
    has_own = any(_is_end(mark) and mark != limits.Le(MOST) for mark in info.metadata)
    return None if has_own else -1


def _is_end(mark: Any) -> bool:
    return isinstance(mark, limits.Le | limits.Lt)


def _default(info: FieldInfo, kind: Any) -> Any:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return Field(default_factory=kind, description=info.description)
    if info.is_required():
        return Field(description=info.description)
    return Field(info.get_default(call_default_factory=True), description=info.description)


def _marked(kind: Any, *marks: Any) -> Any:
    """`Annotated`, of a type that is known when it runs."""
    return Annotated.__class_getitem__((kind, *marks))  # ty: ignore[missing-attribute]


def _ended(kind: Any, where: str, end: int | None, inner: Any) -> Any:
    """The type with ends: of texts, lists and numbers. end: of whole ones; -1 for none known."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (types.UnionType, typing.Union):
        return reduce(or_, (_ended(part, where, end, inner) for part in parts))
    if origin is tuple:
        ended = tuple(p if p is ... else _ended(p, where, end, inner) for p in parts)
        whole = types.GenericAlias(tuple, ended)
        return _marked(whole, Field(max_length=MANY)) if ... in parts else whole
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return inner(kind)
    if kind is str:
        return _marked(str, Field(max_length=LONGEST))
    if kind is float:
        return _marked(float, Field(le=LARGEST)) if end == -1 else float
    if kind is int:
        if end == -1:
            raise TypeError(f"{where}: a service needs the most that this may be")
        return int if end is None else _marked(int, Field(le=end))
    if isinstance(kind, type) and issubclass(kind, Path):
        raise TypeError(f"{where}: no path may come from outside")
    return kind
