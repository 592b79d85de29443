"""The table of kinds agrees with itself; adapters/test_kinds.py holds it against the formulas."""

from typing import get_args

from kaiffin.foundation.kinds import KINDS, PARTS, KindName


def test_every_name_that_can_be_asked_for_is_a_row() -> None:
    assert set(get_args(KindName)) <= set(KINDS)
    assert all(kind.name == name for name, kind in KINDS.items())
    assert {name for name, kind in KINDS.items() if kind.formula} == set(get_args(KindName))


def test_parts_hold_what_any_layer_may_have() -> None:
    assert len(PARTS) == len(set(PARTS))
    assert PARTS[0] == "alpha"
    for kind in KINDS.values():
        assert {*kind.parts, *kind.marks} <= set(PARTS)


def test_marks_tell_each_kind_from_plain_lora() -> None:
    plain = set(KINDS["lora"].parts)
    for name, kind in KINDS.items():
        assert not plain & set(kind.marks), name
    assert [name for name, kind in KINDS.items() if not kind.marks] == ["lora", "rslora"]


def test_what_is_summed_needs_no_weights() -> None:
    """A sum of updates is exact only where an update is the same beside any base."""
    assert not [kind.name for kind in KINDS.values() if kind.adds_up and kind.needs_weights]
