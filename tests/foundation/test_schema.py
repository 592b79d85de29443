"""What fields say about themselves."""

from pathlib import Path
from typing import Literal

import pytest
from pydantic import Field, ValidationError

from kaiffin.foundation.schema import Strict, facts, leaves, value_name


class Inner(Strict):
    deep: int | None = Field(None, json_schema_extra={"flag": "--deep", "metavar": "HOW"})


class Outer(Strict):
    number: float = 1.0
    whole: int | None = None
    name: str = ""
    place: Path | None = None
    yes: bool = False
    choice: Literal["a", "b"] | None = None
    some: list[Path] = Field(default_factory=list)
    pair: tuple[int, int] = (1, 2)
    inner: Inner = Field(default_factory=Inner)


def test_leaves_go_into_what_holds_fields() -> None:
    names = [name for name, _ in leaves(Outer)]
    assert names[0] == "number"
    assert names[-1] == "inner.deep"
    assert "inner" not in names


def test_values_have_names() -> None:
    found = {name: value_name(info) for name, info in leaves(Outer)}
    assert found == {
        "number": "X", "whole": "N", "name": "TEXT", "place": "PATH", "yes": "true|false",
        "choice": "a|b", "some": "PATH", "pair": "LIST", "inner.deep": "HOW",
    }  # fmt: skip


def test_facts_are_those_of_the_field() -> None:
    found = dict(leaves(Outer))
    assert facts(found["inner.deep"])["flag"] == "--deep"
    assert facts(found["number"]) == {}


def test_a_schema_is_strict_and_frozen() -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        Outer.model_validate({"nmae": "x"})
    with pytest.raises(ValidationError, match="finite"):
        Outer(number=float("nan"))
    with pytest.raises(ValidationError, match="frozen"):
        Outer().name = "x"  # ty: ignore[invalid-assignment]
