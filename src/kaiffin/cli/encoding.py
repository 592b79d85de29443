"""A story's answer as JSON: what `--json` prints. Torch-free.

The names are those of the answer's fields, so a document is as stable as the Python of it. Of
properties those are in it that are one plain value, such as where an adapter is.
"""

from __future__ import annotations

import dataclasses
import json
import math
import numbers
from collections.abc import Iterable, Iterator, Mapping, Set
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from kaiffin.foundation.errors import UserError
from kaiffin.foundation.folder import Folder

PLAIN = (str, Path, bool, int, float)


def document(answer: object) -> str:
    """One JSON document, strict: no NaN, no name twice. TypeError for what is no plain answer,
    such as a tensor."""
    return json.dumps(plain(answer), ensure_ascii=False, allow_nan=False, indent=2)


def plain(value: object) -> Any:
    """The same of what JSON has: paths as they were given, what is no number as null."""
    match value:
        case None | bool() | str():
            return value
        case numbers.Integral():  # numpy's, too
            return int(value)
        case numbers.Real():
            return float(value) if math.isfinite(value) else None
        case Path():
            return str(value)
        case Folder():
            return str(value.path)
        case UserError():
            return {"problem": value.message, "way_out": value.fix}
        case BaseModel():
            return value.model_dump(mode="json")
    if dataclasses.is_dataclass(value):
        return {name: plain(one) for name, one in _parts(value)}
    if type(value).__name__ in {"device", "dtype"}:  # torch's, which is not asked for here
        return str(value)
    return _several(value)


def _several(value: object) -> Any:
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, Set):
        return sorted(map(plain, value))
    if isinstance(value, Iterable) and not (
        isinstance(value, bytes) or hasattr(value, "__array__")
    ):
        return [plain(one) for one in value]
    raise TypeError(f"{type(value).__name__} is no part of an answer")


def _parts(value: Any) -> Iterator[tuple[str, object]]:
    """Fields, and properties that are one plain value."""
    for field in dataclasses.fields(value):
        yield field.name, getattr(value, field.name)
    for name, found in vars(type(value)).items():
        if isinstance(found, property) and isinstance(one := getattr(value, name), PLAIN):
            yield name, one
