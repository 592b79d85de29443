"""The choice on cases whose answer is plain."""

import numpy as np
import pytest

from kaiffin.score import selection
from kaiffin.score.statistics import Interval


def test_the_pareto_set_is_what_no_other_beats() -> None:
    points = [(1.0, 0.0), (0.5, 0.5), (0.4, 0.4), (0.0, 1.0), (0.5, 0.5)]
    assert selection.pareto(points) == [0, 1, 3, 4]


def pictures(mean: float, seed: int, spread: float = 0.02) -> list[float]:
    return (mean + np.random.default_rng(seed).normal(0, spread, 40)).tolist()


GROUPS = [i // 2 for i in range(40)]


def test_a_clearly_better_candidate_is_taken() -> None:
    found = selection.recommend([pictures(0.3, 0), pictures(0.7, 1), pictures(0.5, 2)], GROUPS)
    assert (found.chosen, found.highest, found.against) == (1, 1, 2)
    assert found.difference
    assert found.difference.low > 0.1
    assert "take step 20: better than the runner-up, step 30" in selection.verdict(
        found, [10, 20, 30]
    )


def test_of_equals_the_earlier_is_taken_and_it_says_so() -> None:
    same = pictures(0.6, 1)
    later = [value + 0.001 * (i % 3) for i, value in enumerate(same)]
    found = selection.recommend([pictures(0.3, 0), same, later], GROUPS)
    assert (found.chosen, found.highest, found.against) == (1, 2, 2)
    said = selection.verdict(found, [10, 20, 30])
    assert said.startswith("no difference between steps 20 and 30")
    assert said.endswith("take the earlier, 20")


def test_too_few_pictures_are_no_proof_of_equality() -> None:
    """A wide interval holds 0 and much else: the first candidate does not win by default."""
    early, late = pictures(0.5, 3, 0.3)[:6], pictures(0.62, 4, 0.3)[:6]
    found = selection.recommend([early, late], list(range(6)))
    assert found.chosen == int(sum(late) > sum(early))
    assert found.difference
    assert found.difference.low < 0
    assert "cannot tell it from" in selection.verdict(found, [10, 20])


def test_a_single_candidate_is_the_only_one() -> None:
    found = selection.recommend([pictures(0.5, 0)], GROUPS)
    assert selection.verdict(found, [7]) == "step 7 is the only candidate"
    with pytest.raises(ValueError, match="no candidates"):
        selection.recommend([], GROUPS)


def test_overall_wants_subject_and_prompt_both() -> None:
    found = selection.overall([1.0, 1.4, -0.2, 0.5, 0.0], [1.0, 0.0, 1.0, 0.5, 0.0])
    assert found == pytest.approx([1.0, 0.0, 0.0, 0.5, 0.0])


def test_overfitting_is_said_where_the_intervals_bear_it_out() -> None:
    def curve(copy: float, prompt: float) -> dict[str, Interval]:
        return {
            "copy": Interval(copy, copy - 0.02, copy + 0.02, 20),
            "clip_t": Interval(prompt, prompt - 0.02, prompt + 0.02, 20),
        }

    good, bad = [curve(0.0, 0.7), curve(0.0, 0.7)], curve(0.4, 0.5)
    assert selection.findings([10, 20], good) == []
    said = selection.findings([10, 20, 30], [*good, bad])
    assert said == ["overfitting begins near step 30: copying rises, the prompt falls"]
