"""The one table of measures: it names what is measured, and which way is better."""

import pytest

from kaiffin.score.catalogue import (
    CHARTED,
    MEASURES,
    SECTIONS,
    SUBJECT,
    TOLD,
    leading,
    number,
    reading,
    signed,
)
from kaiffin.score.statistics import Interval

UP, DOWN, NONE = Interval(1, 0.5, 1.5, 9), Interval(-1, -1.5, -0.5, 9), Interval(0, -1, 1, 9)


def test_every_measure_is_whole() -> None:
    for name, measure in MEASURES.items():
        assert measure.name == name
        assert measure.title[0].isupper()
        assert measure.sees
        assert measure.better in (-1, 0, 1)
        assert set(measure.sections) <= set(SECTIONS)
    assert set(CHARTED) < set(TOLD) < set(MEASURES)
    assert set(SUBJECT) < set(SECTIONS)
    shorts = [measure.short for measure in MEASURES.values()]
    assert len(set(shorts)) == len(shorts)  # they head columns side by side


def test_a_verdict_knows_which_way_is_better() -> None:
    for name, said in (
        ("identity", ["better", "worse", ""]), ("drift", ["worse", "better", ""]),
        ("contrast", ["higher", "lower", ""]),
    ):  # fmt: skip
        assert [MEASURES[name].turn(change) for change in (UP, DOWN, NONE)] == said
    assert MEASURES["copy"].verdict(UP) == "clearly worse"
    assert MEASURES["contrast"].verdict(DOWN) == "clearly lower"
    assert MEASURES["copy"].verdict(NONE) == "no clear difference"


def test_a_measure_is_explained_in_sentences() -> None:
    assert MEASURES["drift"].direction == "lower is better"
    assert MEASURES["contrast"].direction == ""
    assert MEASURES["drift"].explained.endswith("from the base's. 0 is no change.")


@pytest.mark.parametrize(
    ("known", "said"),
    [
        (set(MEASURES), ["likeness", "prompt_share", "drift"]),
        ({"identity", "clip_t"}, ["identity", "clip_t"]),
        ({"copy"}, []),
    ],
)
def test_subject_prompt_and_drift_are_said_first(known: set[str], said: list[str]) -> None:
    assert leading(known) == said


def test_numbers_in_words() -> None:
    assert number(-0.0001) == "0.000"
    assert number(-0.12) == "-0.120"
    assert number(0.126, 2) == "0.13"
    assert reading(Interval(-1e-9, -0.1, 0.1, 3)) == "0.000 [-0.100, 0.100]"
    assert reading(UP) == "1.000 [0.500, 1.500]"
    assert signed(DOWN) == "-1.000 [-1.500, -0.500]"
