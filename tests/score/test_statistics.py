"""Intervals against known statistics and their own promise."""

import numpy as np
import pytest

from kaiffin.score.statistics import bootstrap, clustered, paired, rank, smooth, student


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


def test_the_interval_covers_the_mean_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    hits = 0
    for trial in range(200):
        interval = bootstrap(rng.normal(0.3, 1, 60).tolist(), seed=trial, draws=500)
        hits += interval.low <= 0.3 <= interval.high
    assert 0.88 <= hits / 200 <= 0.99
    sure = bootstrap([0.5] * 10)
    assert (sure.mean, sure.low, sure.high, sure.n) == (0.5, 0.5, 0.5, 10)
    with pytest.raises(ValueError, match="no values"):
        bootstrap([])


def test_pairs_are_told_apart_where_means_are_not() -> None:
    rng = np.random.default_rng(2)
    before = rng.normal(0, 1, 40)
    after = before + rng.normal(0.1, 0.05, 40)
    gain = paired(before.tolist(), after.tolist())
    assert gain.mean == pytest.approx(float((after - before).mean()))
    assert 0 < gain.low < gain.mean < gain.high < 0.2
    assert bootstrap(after.tolist()).low < bootstrap(before.tolist()).high
    standard_error = float((after - before).std() / 40**0.5)
    assert gain.high - gain.low == pytest.approx(2 * 1.96 * standard_error, rel=0.15)
    with pytest.raises(ValueError, match="zip"):
        paired([1.0], [1.0, 2.0])


def test_the_best_comes_first_and_ties_keep_their_order() -> None:
    assert rank([0.1, 0.5, 0.5, -1.0, 0.9]) == [4, 1, 2, 0, 3]
    assert rank([]) == []


def test_what_is_not_finite_is_refused() -> None:
    for compute in (bootstrap, rank):
        with pytest.raises(ValueError, match="not finite"):
            compute([0.1, float("nan")])
