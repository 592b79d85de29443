"""The table of jobs: every change of state, for the owner alone."""

from pathlib import Path

import pytest

from kaiffin.foundation.errors import UserError
from kaiffin.serve.database import Database
from kaiffin.serve.events import Events
from kaiffin.serve.jobs import KINDS, TRIES, Conflict, Job, Jobs, NotFound


@pytest.fixture
def jobs(tmp_path: Path) -> Jobs:
    db = Database(tmp_path / "studio.sqlite")
    return Jobs(db, Events(db))


def running(jobs: Jobs, kind: str = "train", owner: str = "ann") -> Job:
    job = jobs.submit(owner, kind, {"run": "r"})
    assert [one.state for one in jobs.begin([job.id], "worker")] == ["running"]
    return jobs.get(owner, job.id)


def test_a_job_is_as_it_was_submitted(jobs: Jobs) -> None:
    asked = {"prompts": ["a café <kaiffin>"], "seed": 2**53 + 1, "sample": {"eta": 0.1}}
    job = jobs.submit("ann", "generate", asked)
    asked["seed"] = 0
    found = jobs.get("ann", job.id)
    assert found == job
    assert found.request["seed"] == 2**53 + 1
    assert (found.state, found.attempts, found.begun, found.is_over) == ("queued", 0, None, False)
    with pytest.raises(UserError, match="no kind of job"):
        jobs.submit("ann", "mine", {})


def test_a_key_makes_a_submission_repeatable(jobs: Jobs) -> None:
    job = jobs.submit("ann", "scan", {"a": 1, "b": 2}, key="k")
    assert jobs.submit("ann", "scan", {"b": 2, "a": 1}, key="k") == job
    for kind, request in (("scan", {"a": 2}), ("rank", {"a": 1, "b": 2})):
        with pytest.raises(Conflict, match="idempotency key"):
            jobs.submit("ann", kind, request, key="k")
    assert jobs.submit("bob", "scan", {}, key="k").id != job.id
    assert jobs.count("ann") == 1
    assert jobs.submit("ann", "scan", {}).id != jobs.submit("ann", "scan", {}).id


def test_another_owners_job_is_not_there(jobs: Jobs) -> None:
    job = running(jobs)
    for call in (jobs.get, jobs.cancel, jobs.pause, jobs.resume, jobs.retry):
        with pytest.raises(NotFound, match=job.id):
            call("bob", job.id)
    with pytest.raises(NotFound):
        jobs.list("bob", before=job.id)
    assert jobs.list("bob") == []
    assert jobs.get("ann", job.id).state == "running"


def test_lists_are_paged_newest_first(jobs: Jobs) -> None:
    ids = [jobs.submit("ann", KINDS[i % 2], {}).id for i in range(5)]
    page = jobs.list("ann", limit=2)
    assert [job.id for job in page] == ids[:2:-1]
    assert [job.id for job in jobs.list("ann", limit=9, before=page[-1].id)] == ids[2::-1]
    jobs.cancel("ann", ids[0])
    assert [job.id for job in jobs.list("ann", state="cancelled")] == [ids[0]]
    assert len(jobs.list("ann", kind=KINDS[1])) == 2
    assert jobs.count("ann", "queued") == 4
    assert jobs.count(None, "queued", "cancelled") == 5
    assert jobs.ahead(jobs.get("ann", ids[4])) == 3
    assert jobs.ahead(jobs.get("ann", ids[0])) == 0


OUTCOMES = {  # of each call, by the state before it; None: a conflict
    "cancel": {
        "queued": "cancelled", "running": "cancelled", "pausing": "cancelled",
        "paused": "cancelled", "held": "cancelled", "cancelled": "cancelled", "done": None,
        "failed": None,
    },
    "pause": {
        "queued": "paused", "running": "pausing", "pausing": "pausing", "paused": "paused",
        "held": None, "cancelled": None, "done": None, "failed": None,
    },
    "resume": {
        "queued": "queued", "running": "running", "pausing": "running", "paused": "queued",
        "held": None, "cancelled": None, "done": None, "failed": None,
    },
    "retry": {
        "queued": "queued", "running": "running", "pausing": None, "paused": None,
        "held": "queued", "cancelled": "queued", "done": None, "failed": "queued",
    },
}  # fmt: skip


def bring(jobs: Jobs, state: str) -> Job:
    """A job in that state, by the ways there are."""
    if state == "queued":
        return jobs.submit("ann", "train", {})
    job = running(jobs)
    if state == "held":
        for _ in range(TRIES):
            jobs.begin([job.id], "worker")
            jobs.died(job.id, "SIGKILL")
    elif state in ("pausing", "paused"):
        jobs.pause("ann", job.id)
        if state == "paused":
            jobs.put_back(job.id)
    elif state == "done":
        jobs.finish(job.id, {})
    elif state == "failed":
        jobs.fail(job.id, "no photos.", "Add some.")
    elif state == "cancelled":
        jobs.cancel("ann", job.id)
    return jobs.get("ann", job.id)


@pytest.mark.parametrize("call", OUTCOMES)
def test_every_call_in_every_state(jobs: Jobs, call: str) -> None:
    for state, after in OUTCOMES[call].items():
        job = bring(jobs, state)
        assert job.state == state
        if after is None:
            with pytest.raises(Conflict, match=f"is {state}"):
                getattr(jobs, call)("ann", job.id)
        else:
            assert getattr(jobs, call)("ann", job.id).state == after
            assert jobs.get("ann", job.id).is_over == (after == "cancelled")


def test_a_cancelled_job_stays_so_whatever_its_worker_brings(jobs: Jobs) -> None:
    job = running(jobs)
    jobs.cancel("ann", job.id)
    jobs.finish(job.id, {"images": []})
    jobs.fail(job.id, "late")
    jobs.died(job.id, "SIGKILL")
    jobs.put_back(job.id)
    jobs.advance(job.id, 5, 10, "steps")
    found = jobs.get("ann", job.id)
    assert (found.state, found.result, found.attempts) == ("cancelled", None, 0)
    assert found.progress["done"] == 0
    assert jobs.begin([job.id], "worker") == []


def test_a_job_is_held_after_its_last_try_with_the_reason(jobs: Jobs) -> None:
    job = running(jobs)
    for attempt in range(1, TRIES):
        jobs.died(job.id, "SIGKILL")
        assert (jobs.find(job.id).state, jobs.find(job.id).attempts) == ("queued", attempt)
        jobs.begin([job.id], "worker")
    jobs.died(job.id, "SIGKILL")
    held = jobs.find(job.id)
    assert (held.state, "SIGKILL" in held.problem, bool(held.way_out)) == ("held", True, True)
    again = jobs.retry("ann", job.id)
    assert (again.state, again.attempts, again.problem) == ("queued", 0, "")


def test_a_death_while_pausing_ends_in_the_pause(jobs: Jobs) -> None:
    job = bring(jobs, "pausing")
    jobs.died(job.id, "SIGKILL")
    assert jobs.find(job.id).state == "paused"


def test_the_oldest_of_each_owner_are_first(jobs: Jobs) -> None:
    ann = [jobs.submit("ann", "scan", {}).id for _ in range(3)]
    bob = [jobs.submit("bob", "scan", {}).id for _ in range(2)]
    picture = jobs.submit("ann", "generate", {"best": None}).id
    chosen = jobs.submit("eve", "generate", {"best": 2}).id
    assert [job.id for job in jobs.first("long", 1)] == [ann[0], bob[0], chosen]
    assert [job.id for job in jobs.first("long", 2)] == [*ann[:2], *bob, chosen]
    assert [job.id for job in jobs.first("paint")] == [picture]
    jobs.begin([ann[0]], "worker")
    assert {job.id for job in jobs.of_ids([ann[0], picture])} == {ann[0], picture}


def test_each_change_is_told_with_what_it_brought(jobs: Jobs) -> None:
    job = running(jobs)
    jobs.advance(job.id, 3, 10, "steps")
    jobs.finish(job.id, {"run": "r"})
    heard = [(event.what, event.data.get("state")) for event in jobs.events.since("ann", 0)]
    assert heard == [("job", "queued"), ("job", "running"), ("progress", None), ("job", "done")]
    last = jobs.events.since("ann", 0)[-1].data
    assert (last["job"], last["result"]) == (job.id, {"run": "r"})
    found = jobs.get("ann", job.id)
    assert found.progress == {"done": 3, "total": 10, "what": "steps"}
    assert found.begun is not None
    assert found.ended is not None
    assert found.created <= found.begun <= found.ended


def test_the_clock_may_jump(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    """The order of jobs and events is by number, never by time."""
    ids = []
    for now in (2e9, 1e9, 3e9):
        monkeypatch.setattr("kaiffin.serve.jobs.time.time", lambda now=now: now)
        ids.append(jobs.submit("ann", "scan", {}).id)
    assert [job.id for job in jobs.list("ann")] == ids[::-1]
    assert jobs.first("long")[0].id == ids[0]
    assert [event.data["job"] for event in jobs.events.since("ann", 0)] == ids
