"""Turns between owners, and the budget by which pictures stop trainings."""

from pathlib import Path

import pytest
from asked import job_of

from kaiffin.serve.turns import FULL_S, LEAST_S, Budget, in_turn


def test_owners_take_turns_and_who_waited_longest_begins(tmp_path: Path) -> None:
    submit = job_of(tmp_path)
    ann = [submit("ann", "scan", {}) for _ in range(3)]
    bob = [submit("bob", "scan", {}) for _ in range(2)]
    eve = [submit("eve", "scan", {})]
    waiting = [*ann, *bob, *eve]
    assert in_turn(waiting, {}) == [ann[0], bob[0], eve[0], ann[1], bob[1], ann[2]]
    assert in_turn(waiting, {"ann": 7, "bob": 3})[:3] == [eve[0], bob[0], ann[0]]
    assert in_turn(waiting[::-1], {}) == in_turn(waiting, {}), "each owner's oldest first"


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_over_a_long_time_the_share_holds(share: float) -> None:
    """Pictures without end, and a training that is stopped whenever that is allowed."""
    budget, taken, total, painting = Budget(share), 0.0, 20_000.0, False
    for _ in range(int(total * 10)):
        painting = not budget.is_spent if painting else budget.suffices
        budget.pass_time(0.1, taken=painting)
        taken += 0.1 * painting
    assert taken / total == pytest.approx(share, abs=0.01)


def test_a_burst_after_a_quiet_time_is_served_at_once_and_no_longer() -> None:
    budget = Budget(0.5)
    budget.pass_time(1e6, taken=False)
    assert budget.suffices
    budget.pass_time(FULL_S, taken=True)
    assert budget.is_spent
    budget.pass_time(LEAST_S - 1, taken=False)
    assert not budget.suffices
    assert not budget.is_spent
    budget.pass_time(1.1, taken=False)
    assert budget.suffices


def test_none_and_all_of_the_time() -> None:
    none, every = Budget(0), Budget(1)
    for budget in (none, every):
        budget.pass_time(1e6, taken=False)
    assert not none.suffices
    every.pass_time(1e6, taken=True)
    assert every.suffices
    assert not every.is_spent
