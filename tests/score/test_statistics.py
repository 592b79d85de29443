"""Intervals against known statistics and their own promise."""

import numpy as np
import pytest

from kaiffin.score.statistics import clustered, rank, smooth, student, wilson


def test_groups_count_the_same_whatever_their_size() -> None:
    found = clustered([1.0, 2.0, 3.0], ["a", "a", "b"])
    assert found.mean == pytest.approx((1.5 + 3.0) / 2)
    assert found.n == 3
    assert found.low == pytest.approx(1.25, abs=0.26)
    assert found.high == 3.0


def test_the_interval_of_grouped_values_covers_as_often_as_it_says() -> None:
    """Prompts differ more than pictures of one: an interval that takes all pictures as independent
    would cover far less often than 95 %."""
    rng, covered = np.random.default_rng(1), 0
    for seed in range(200):
        groups = np.repeat(np.arange(20), 4)
        values = rng.normal(0, 1, 20)[groups] + rng.normal(0, 0.5, 80)
        found = clustered(values.tolist(), groups.tolist(), seed=seed, draws=400)
        covered += found.low <= 0 <= found.high
    assert 0.9 <= covered / 200 <= 0.99


@pytest.mark.parametrize(
    ("values", "groups"), [([], []), ([1.0], ["a", "b"]), ([float("nan")], ["a"])]
)
def test_what_cannot_be_averaged_is_refused(values: list[float], groups: list[str]) -> None:
    with pytest.raises(ValueError, match=r"averaged|finite"):
        clustered(values, groups)


def test_three_trainings_are_few() -> None:
    """By hand: means 1, 2, 3 have standard error 1 / sqrt(3), and t is 4.3027 at two degrees."""
    found = student([0.5, 1.5, 2.0, 2.0, 3.0], ["a", "a", "b", "b", "c"])
    half = 4.3027 / 3**0.5
    assert (found.mean, found.n) == (pytest.approx(2.0), 5)
    assert found.low == pytest.approx(2 - half, abs=1e-3)
    assert found.high == pytest.approx(2 + half, abs=1e-3)
    with pytest.raises(ValueError, match="one group"):
        student([1.0, 2.0], ["a", "a"])


def test_the_first_smoothed_value_is_the_first_value() -> None:
    assert smooth([3.0, 3.0, 3.0]) == pytest.approx([3.0, 3.0, 3.0])
    assert smooth([1.0, 0.0])[1] == pytest.approx(0.95 * 0.05 / (1 - 0.95**2))


def test_a_proportion_has_the_interval_of_wilson() -> None:
    """By hand, with z = 1.96: 8 of 10 is (0.8 + z²/20 ± z sqrt(0.016 + z²/400)) / (1 + z²/10)."""
    assert wilson(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert wilson(0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)
    assert wilson(10, 10) == pytest.approx((0.7225, 1.0), abs=1e-4)


def test_equal_values_have_no_interval() -> None:
    sure = clustered([0.5] * 10, range(10))
    assert (sure.mean, sure.low, sure.high, sure.n) == (0.5, 0.5, 0.5, 10)
    assert student([0.5] * 4, ["a", "a", "b", "b"]).low == 0.5


def test_the_best_comes_first_and_ties_keep_their_order() -> None:
    assert rank([0.1, 0.5, 0.5, -1.0, 0.9]) == [4, 1, 2, 0, 3]
    assert rank([]) == []


def test_what_is_not_finite_is_refused() -> None:
    with pytest.raises(ValueError, match="not finite"):
        rank([0.1, float("nan")])
