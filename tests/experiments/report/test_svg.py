"""The parts of charts: places, ticks, and everything escaped."""

from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st

from kaiffin.experiments.report.svg import Scale, chart, grid, path, tag


@given(st.floats(-1e3, 1e3), st.floats(1e-3, 1e6))
def test_ticks_are_few_and_within(low: float, span: float) -> None:
    scale = Scale(low, low + span)
    ticks = scale.ticks()
    assert 3 <= len(ticks) <= 7
    assert all(low - span * 1e-6 <= tick <= low + span * (1 + 1e-6) for tick in ticks)
    assert ticks == sorted(set(ticks))


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=9))
def test_every_value_has_its_place(values: list[float]) -> None:
    scale = Scale.around(values)
    places = [scale.at(value) for value in values]
    assert all(0 <= place < 100 for place in places)
    assert sorted(values) == [value for _, value in sorted(zip(places, values, strict=True))]


def test_a_tag_escapes_what_it_is_given() -> None:
    made = tag("text", "a <b>", tag("i"), class_='"x"', text_anchor="end", id=None)
    assert made == '<text class="&#34;x&#34;" text-anchor="end">a &lt;b&gt;<i></i></text>'


def test_equal_values_have_a_scale_too() -> None:
    scale = Scale.around([0.5, 0.5])
    assert scale.low < 0.5 < scale.high
    assert 0 < scale.at(0.5) < 100
    assert Scale(0, 10).at(20) == 100  # beyond the area is at its edge


def test_a_grid_names_its_values() -> None:
    x, y = Scale(0, 100), Scale(0.0, 1.0)
    svg = ElementTree.fromstring(chart("Loss", *grid(x, y, "step")))
    assert svg.attrib["aria-label"] == "Loss"
    said = [text.text for text in svg.iter("text")]
    assert said[:3] == ["0", "0.5", "1"]
    assert said[3:] == ["step 0", "50", "100"]
    assert path(x, y, [(0, 0.0), (100, 1.0)]) == "0.00,100.00 100.00,0.00"
