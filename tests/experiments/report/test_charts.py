"""Charts: places, ticks, and what a screen reader hears."""

import re
from xml.etree import ElementTree

from kaiffin.experiments.report.charts import (
    Line,
    Point,
    Trade,
    interval_chart,
    loss_chart,
    pareto_chart,
    score_chart,
)
from kaiffin.score.statistics import Interval


def about(mean: float) -> Interval:
    return Interval(mean, mean - 0.1, mean + 0.1, 8)


def test_a_score_chart() -> None:
    points = [Point(10, about(0.4)), Point(20, about(0.6))]
    drawn = score_chart("Likeness <b>", points, 20, base=about(0.2), ceiling=0.9)
    svg = ElementTree.fromstring(drawn)
    said = svg.attrib["aria-label"]
    assert said.startswith("Likeness <b> over the steps. step 10: 0.400 [0.300, 0.500];")
    assert said.endswith("Chosen: step 20.")
    assert svg.attrib["role"] == "img"
    dots = [g for g in svg.iter("g") if "point" in g.attrib["class"]]
    assert [g.attrib["data-step"] for g in dots] == ["10", "20"]
    assert [g.attrib["class"] for g in dots] == ["point", "point chosen"]
    # The higher value stands higher; the last step is at the right edge.
    first, last = (g.find("circle[@class='dot']") for g in dots)
    assert first is not None
    assert last is not None
    assert float(first.attrib["cy"][:-1]) > float(last.attrib["cy"][:-1])
    assert last.attrib["cx"] == "100.00%"
    words = [text.text for text in svg.iter("text")]
    assert "base 0.200" in words
    assert "real photos 0.900" in words
    assert "step 20 (chosen): 0.600 [0.500, 0.700]" in words


def test_the_trade_off_marks_the_best() -> None:
    points = [
        Trade(10, about(0.3), about(0.5), about(0.1), True, False),
        Trade(20, about(0.2), about(0.4), about(0.3), False, False),
        Trade(30, about(0.2), about(0.6), None, True, True),
    ]
    svg = ElementTree.fromstring(pareto_chart(points))
    kinds = {g.attrib["data-step"]: g.attrib["class"] for g in svg.iter("g")}
    assert kinds == {"10": "point best", "20": "point", "30": "point best chosen"}
    radius = {g.attrib["data-step"]: float(g[0].attrib["r"]) for g in svg.iter("g")}
    assert radius["20"] > radius["10"]
    assert (
        "step 30: prompt 0.200, likeness 0.600, among the best trades, chosen"
        in svg.attrib["aria-label"]
    )


def test_losses_over_one_another() -> None:
    one = Line("one", range(1, 1001), [1.0] * 1000, [0.5] * 1000)
    other = Line("other", range(1, 501), [1.0] * 500, [0.25] * 500, colour=9)
    alone = loss_chart([one], [(400, "chosen")])
    assert alone.count("<polyline") == 2
    assert ">chosen<" in alone
    assert len(alone) < 40_000
    both = ElementTree.fromstring(loss_chart([one, other]))
    assert [p.attrib["class"] for p in both.iter("polyline")] == ["line s1", "line s2"]
    tips = [text.text or "" for text in both.iter("text") if text.attrib.get("class") == "tip"]
    assert tips[0].endswith("one 0.5000, other 0.2500")
    assert tips[-1].endswith("one 0.5000")  # the other had ended
    assert both.attrib["aria-label"].endswith("one ends at 0.5000; other ends at 0.2500.")


def test_intervals_side_by_side() -> None:
    rows = [("a", about(0.2), 0), ("a name that is much too long to stand there", about(0.6), 2)]
    svg = interval_chart("Likeness", rows)
    assert 'class="dot s3"' in svg
    assert "a name that is mu…" in svg
    places = [float(x) for x in re.findall(r'<circle[^>]* cx="([\d.]+)%"', svg)]
    assert places == sorted(places)
