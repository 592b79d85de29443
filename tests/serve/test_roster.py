"""What is best done next: every decision, on a clock of the test's own."""

from collections.abc import Callable
from pathlib import Path

import pytest
from asked import job_of

from kaiffin.experiments.work.jobs import Job as Work
from kaiffin.serve.jobs import Job
from kaiffin.serve.roster import AT_ONCE, LINGER_S, OVERTAKEN, Plan, Roster, Worker
from kaiffin.serve.spool import Spool
from kaiffin.serve.turns import FULL_S

Submit = Callable[..., Job]


@pytest.fixture
def submit(tmp_path: Path) -> Submit:
    return job_of(tmp_path)


@pytest.fixture
def roster() -> Roster:
    made = Roster(share=0.5)
    made._then = 0.0
    return made


def painter(roster: Roster, base: str, tmp_path: Path = Path("nowhere")) -> Worker:
    name = f"painter-{roster.next_number()}"
    made = Worker(Work(tmp_path, name, "", {}, ()), base, Spool(tmp_path / name), since=0.0)
    roster.join(made)
    return made


def long(roster: Roster, job: Job) -> Worker:
    made = Worker(Work(Path("nowhere"), job.id, "", {}, ()), kind=job.kind)
    roster.join(made, job.owner)
    return made


def handed(roster: Roster, pictures: list[tuple[Job, str]], waits: bool = False) -> list[str]:
    found = []
    for job, worker in roster.hand_over(pictures, waits):
        roster.give(worker, job, job.request["count"])
        found.append(job.id)
    return found


def picture(submit: Submit, owner: str = "ann", count: int = 1) -> Job:
    return submit(owner, "generate", {"count": count})


def test_a_free_place_goes_to_pictures_then_to_long_jobs(roster: Roster, submit: Submit) -> None:
    train, job = submit("ann", "train", {}), picture(submit)
    assert roster.plan([], [], 0) == Plan()
    assert roster.plan([(job, "a")], [train], 0) == Plan(paint="a")
    painter(roster, "a")
    assert roster.plan([], [train], 0) == Plan(), "the painter is there for a while"
    roster.room = 2
    assert roster.plan([], [train], 0) == Plan(begin=train)


def test_a_training_makes_room_for_pictures_and_goes_on_when_they_are_made(
    roster: Roster, submit: Submit
) -> None:
    train, job = submit("ann", "train", {}), picture(submit)
    worker = long(roster, train)
    assert roster.plan([(job, "a")], [], 0) == Plan(stop=worker)
    worker.interrupted = 0.0
    assert roster.plan([(job, "a")], [], 0) == Plan(), "it is saving"
    roster.leave(train.id)
    assert roster.plan([(job, "a")], [train], 0) == Plan(paint="a")
    brush = painter(roster, "a")
    assert handed(roster, [(job, "a")]) == [job.id]
    assert roster.plan([], [train], 1) == Plan()
    brush.drop(job.id)
    brush.since = 1.0
    assert roster.plan([], [train], 1 + LINGER_S / 2) == Plan(), "more pictures may come"
    assert roster.plan([], [train], 1 + LINGER_S) == Plan(stop=brush)
    roster.leave(brush.name)
    other = submit("bob", "train", {})
    assert roster.in_turn([other, train]) == [train, other], "what was stopped goes on first"


def test_what_has_only_just_gone_on_is_not_stopped_again(roster: Roster, submit: Submit) -> None:
    """Or it would never come further."""
    train, job = submit("ann", "train", {}), picture(submit)
    long(roster, train)
    assert roster.plan([(job, "a")], [], 0).stop
    roster.leave(train.id)
    again = long(roster, train)
    assert roster.plan([(job, "a")], [], 0) == Plan()
    roster.pass_time(1.0, False)
    assert roster.budget.seconds == FULL_S - 1, "its start is the pictures' time, too"
    for done in (3, 4):
        again.hear({"done": done})
    roster.pass_time(2.0, False)
    assert roster.plan([(job, "a")], [], 0) == Plan(stop=again)


@pytest.mark.parametrize("kind", ["scan", "rank", "report", "export"])
def test_what_would_begin_anew_is_not_stopped(roster: Roster, submit: Submit, kind: str) -> None:
    long(roster, submit("ann", kind, {}))
    assert roster.plan([(picture(submit), "a")], [], 0) == Plan()


def test_when_the_share_is_spent_the_training_has_its_turn(roster: Roster, submit: Submit) -> None:
    train, first, second = submit("ann", "train", {}), picture(submit), picture(submit)
    brush = painter(roster, "a")
    pictures = [(first, "a"), (second, "a")]
    assert handed(roster, pictures[:1], waits=True) == [first.id]
    roster.pass_time(FULL_S + 1, True)
    assert roster.budget.is_spent
    assert handed(roster, pictures[1:], waits=True) == []
    brush.drop(first.id)
    assert roster.plan(pictures[1:], [train], brush.since) == Plan(stop=brush)
    roster.leave(brush.name)
    assert roster.plan(pictures[1:], [train], 0) == Plan(begin=train)
    long(roster, train)
    assert roster.plan(pictures[1:], [], 0) == Plan()
    roster.pass_time(2 * FULL_S, False)
    assert roster.plan(pictures[1:], [], 0).stop


def test_a_warm_base_is_preferred_and_nothing_starves(roster: Roster, submit: Submit) -> None:
    brush, cold = painter(roster, "a"), picture(submit)
    for _ in range(OVERTAKEN):
        warm = picture(submit)
        assert handed(roster, [(cold, "b"), (warm, "a")]) == [warm.id]
        brush.drop(warm.id)
    assert handed(roster, [(cold, "b"), (picture(submit), "a")]) == []
    assert roster.plan([(cold, "b")], [], 0) == Plan(stop=brush)


def test_an_idle_painter_makes_room_for_another_base(roster: Roster, submit: Submit) -> None:
    brush, job = painter(roster, "a"), picture(submit)
    assert roster.plan([(job, "b")], [], 0) == Plan(stop=brush)
    roster.give(brush, picture(submit), 1)
    assert roster.plan([(job, "b")], [], 0) == Plan()


def test_a_painter_has_only_so_much_at_hand_and_others_help(roster: Roster, submit: Submit) -> None:
    painter(roster, "a")
    pictures = [(picture(submit, count=AT_ONCE // 2), "a") for _ in range(4)]
    assert handed(roster, pictures) == [job.id for job, _ in pictures[:2]]
    roster.room = 2
    assert roster.plan(pictures[2:], [], 0) == Plan(paint="a")
    painter(roster, "a")
    assert handed(roster, pictures) == [job.id for job, _ in pictures[2:]]


def test_beside_what_a_worker_died_nothing_else_is_painted(
    roster: Roster, submit: Submit, tmp_path: Path
) -> None:
    brush = painter(roster, "a")
    jobs = [picture(submit) for _ in range(3)]
    struck = [Job(**{**vars(job), "attempts": 1}) for job in jobs[:1]] + jobs[1:]
    assert handed(roster, [(job, "a") for job in struck]) == [jobs[0].id]
    brush.drop(jobs[0].id)
    order = [struck[1], struck[0], struck[2]]
    assert handed(roster, [(job, "a") for job in order]) == [jobs[1].id]


def test_who_is_to_blame(roster: Roster, submit: Submit, tmp_path: Path) -> None:
    brush = painter(roster, "a", tmp_path)
    for _ in range(2):
        roster.give(brush, picture(submit), 1)
    one, other = brush.given
    assert brush.blamed() == [one], "it died of the base, or of the first"
    assert brush.spool
    brush.spool.make()
    brush.spool.compute([other, "gone"])
    assert brush.blamed() == [other]


def test_facts_for_people(roster: Roster, submit: Submit) -> None:
    roster.room = 3
    painter(roster, '{"name": "miniature"}')
    long(roster, submit("ann", "train", {})).interrupted = 1.0
    facts = roster.facts("processes:3")
    assert [(one["does"], one["base"], one["stopping"]) for one in facts] == [
        ("generate", "miniature", False), ("train", None, True), (None, None, False),
    ]  # fmt: skip
    assert all(one["share"] == 0.5 for one in facts)
