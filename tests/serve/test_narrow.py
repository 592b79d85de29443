"""A schema for strangers has an end everywhere, and takes no path."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, Field, ValidationError

from kaiffin.foundation.config import Config
from kaiffin.foundation.schema import SEEDS, leaves
from kaiffin.serve.narrow import narrow
from kaiffin.serve.requests import KNOWN, WITHOUT, Settings


def parts(schema: Any) -> list[dict[str, Any]]:
    """Every schema within a schema."""
    inner = schema.values() if isinstance(schema, dict) else schema
    found = [schema] if isinstance(schema, dict) else []
    return found + [one for part in inner if isinstance(part, dict | list) for one in parts(part)]


def test_every_number_text_and_list_has_an_end() -> None:
    seen = set()
    for part in parts(Settings.model_json_schema()):
        kind = part.get("type")
        seen.add(kind)
        if kind == "integer":
            most = part.get("maximum", part.get("exclusiveMaximum"))
            assert most == SEEDS or most <= 20_000, part
        elif kind == "number":
            assert part.get("maximum", part.get("exclusiveMaximum", 1e9)) <= 1e6, part
        elif kind == "string" and "enum" not in part:
            assert part.get("maxLength", 64 if "pattern" in part else 1e9) <= 2000, part
        elif kind == "array":
            assert part["maxItems"] <= 32, part
    assert {"integer", "number", "string", "array"} <= seen


def test_nothing_that_names_a_place_is_left() -> None:
    """Also what the config will get one day: its own types and words say it."""
    every = dict(leaves(Config))
    named = {name for name, info in every.items() if "Path" in str(info.annotation)}
    named |= {name for name, info in every.items() if "hub id" in (info.description or "")}
    assert {"data.photos", "base.vae", "score.judge", "base.name"} <= named
    assert named - {"base.name"} <= WITHOUT
    assert set(every) - set(KNOWN) == {name for name in WITHOUT if name in every}


class Inner(BaseModel):
    many: int = Field(3, ge=1, le=10**9)
    word: str = "x"


class Outer(BaseModel):
    inner: Inner = Field(default_factory=Inner)
    near: int = Field(1, le=7)
    rate: float | None = Field(None, gt=0)


def test_a_ceiling_takes_the_place_of_the_fields_own_end() -> None:
    made = narrow(Outer, "Made", ceilings={"inner.many": 5})
    assert made().model_dump() == {"inner": {"many": 3, "word": "x"}, "near": 1, "rate": None}
    for good in ({"inner": {"many": 5}}, {"near": 7}, {"rate": 1e6}):
        made.model_validate(good)
    for bad in (
        {"inner": {"many": 6}}, {"inner": {"many": 0}}, {"near": 8}, {"rate": 0}, {"rate": 1e7},
        {"rate": float("nan")}, {"other": 1}, {"inner": {"word": "x" * 2001}},
    ):  # fmt: skip
        with pytest.raises(ValidationError):
            made.model_validate(bad)


def test_who_adds_a_field_decides_about_it() -> None:
    with pytest.raises(TypeError, match=r"inner\.many"):
        narrow(Outer, "Made", ceilings={})

    class Open(BaseModel):
        where: Path | None = None

    with pytest.raises(TypeError, match="where: no path"):
        narrow(Open, "Made", ceilings={})
    assert narrow(Open, "Made", ceilings={}, without={"where"})().model_dump() == {}
