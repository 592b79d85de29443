"""The overseer: what becomes of jobs, whatever becomes of workers, places and the server."""

import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from asked import open_studio, pictures, training

from kaiffin.experiments.work.jobs import Ended
from kaiffin.experiments.work.jobs import Job as Work
from kaiffin.serve.jobs import TRIES, Job
from kaiffin.serve.roster import LINGER_S
from kaiffin.serve.spool import Spool
from kaiffin.serve.studio import Studio
from kaiffin.serve.supervisor import Supervisor
from kaiffin.serve.work import picture_id

ASKED = ("exit code 143", None)


class Stage:
    """A place of which the test is all workers: they leave files and end, as real ones do."""

    def __init__(self, slots: int = 1) -> None:
        self.slots = slots
        self.running: dict[str, Work] = {}
        self.begun: list[str] = []
        self.told: list[str] = []
        self.through: list[Ended] = []

    def start(self, job: Work) -> None:
        self.running[job.name] = job
        self.begun.append(job.name)

    def ended(self, seconds: float) -> list[Ended]:
        through, self.through = self.through, []
        return through

    def interrupt(self, name: str) -> None:
        self.told.append(name)

    def stop(self) -> None:
        for name in list(self.running):
            self.end(name, how="exit code 143")

    def end(self, name: str, result: Any = None, how: str = "") -> None:
        del self.running[name]
        self.through.append(Ended(name, result, how))


class House:
    """A server without its thread: the test looks when it wants to."""

    def __init__(self, studio: Studio, slots: int = 1) -> None:
        self.studio, self.jobs, self.stage = studio, studio.jobs, Stage(slots)
        self.supervisor = Supervisor(studio)
        self.supervisor._reconcile()

    def look(self, times: int = 3) -> None:
        for _ in range(times):
            self.supervisor._watched = self.supervisor._spoken = -1e9
            self.supervisor._glance(self.stage)

    def submit(self, kind: str, owner: str = "ann", **more: Any) -> Job:
        asked = pictures(**more) if kind == "generate" else training(**more)
        job = self.jobs.submit(owner, kind, asked)
        self.look()
        return job

    def state(self, job: Job) -> str:
        return self.jobs.find(job.id).state

    @property
    def painter(self) -> Spool:
        name = next(name for name in self.stage.running if name.startswith("painter-"))
        return Spool(self.studio.work / "paint" / name)

    def paint(self, job: Job, *numbers: int, end: bool = True) -> None:
        """As a painter does."""
        for number in numbers:
            facts = {"id": picture_id(job.id, number), "number": number, "prompt": "a red car",
                     "seed": number, "width": 64, "height": 64}  # fmt: skip
            self.painter.say(job.id, str(number), facts)
        if end:
            self.painter.say(job.id, "end", {})

    def images(self, job: Job) -> list[str]:
        query = "SELECT id FROM images WHERE job = ? ORDER BY number"
        return [row["id"] for row in self.studio.db.rows(query, (job.id,))]


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[Studio]:
    made = open_studio(tmp_path / "studio")
    yield made
    made.close()


@pytest.fixture
def house(studio: Studio) -> House:
    return House(studio)


def linger(monkeypatch: pytest.MonkeyPatch) -> None:
    """A painter has had nothing to do for long."""
    real = time.monotonic
    monkeypatch.setattr("kaiffin.serve.supervisor.time.monotonic", lambda: real() + LINGER_S + 1)


def test_pictures_are_in_the_table_as_they_come(house: House) -> None:
    job = house.submit("generate", count=2)
    assert [id for id, _ in house.painter.taken()] == [job.id]
    for number, text in enumerate(["read: 1 weight", "guidance 1"]):
        house.painter.say(job.id, f"{number}.note", {"text": text})
    house.paint(job, 0, end=False)
    house.look()
    heard = [e.data for e in house.studio.events.since("ann", 0) if e.what == "note"]
    assert heard == [{"job": job.id, "text": text} for text in ("read: 1 weight", "guidance 1")]
    assert house.images(job) == [picture_id(job.id, 0)]
    assert house.jobs.find(job.id).progress["done"] == 1
    house.paint(job, 0, 1)  # the first once more, as after a death
    house.look()
    found = house.jobs.find(job.id)
    assert (found.state, found.progress["done"]) == ("done", 2)
    assert (
        house.images(job) == list(found.result["images"]) == [picture_id(job.id, n) for n in (0, 1)]
    )
    told = [event.what for event in house.studio.events.since("ann", 0)]
    assert told.count("picture") == 2
    assert list(house.painter.news()) == []


def test_a_training_makes_room_and_goes_on(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    train = house.submit("train")
    assert house.state(train) == "running"
    job = house.submit("generate", owner="bob")
    assert house.stage.told == [train.id]
    house.stage.end(train.id, how="exit code 143")
    house.look()
    assert (house.state(train), house.jobs.find(train.id).attempts) == ("queued", 0)
    house.paint(job, 0)
    house.look()
    assert house.state(job) == "done"
    painter = next(iter(house.stage.running))
    linger(monkeypatch)
    house.look()
    assert house.stage.told == [train.id, painter]
    house.stage.end(painter, how="exit code 143")
    house.look()
    assert house.stage.begun == [train.id, painter, train.id]
    house.stage.end(train.id, {"run": train.id})
    house.look()
    assert house.jobs.find(train.id).result == {"run": train.id}
    assert list((house.studio.work / "jobs").glob("*.json")) == []


def test_a_worker_that_dies_is_replaced_and_its_job_held_at_last(house: House) -> None:
    train = house.submit("train")
    for attempt in range(1, TRIES):
        house.stage.end(train.id, how="SIGKILL")
        house.look()
        assert (house.state(train), house.jobs.find(train.id).attempts) == ("running", attempt)
    house.stage.end(train.id, how="SIGKILL")
    house.look()
    held = house.jobs.find(train.id)
    assert (held.state, "SIGKILL" in held.problem) == ("held", True)
    assert house.stage.running == {}
    house.jobs.retry("ann", train.id)
    house.look()
    assert house.state(train) == "running"


def test_a_painter_that_dies_takes_no_one_with_it(house: House) -> None:
    """Only what was being computed counts as tried; the rest is painted beside nothing bad."""
    bad, good = house.submit("generate"), house.submit("generate", owner="bob")
    for _ in range(TRIES):
        if house.state(bad) != "running":
            break
        house.painter.compute([bad.id])
        house.stage.end(next(iter(house.stage.running)), how="SIGKILL")
        house.look(6)
        if house.state(good) == "running":
            house.paint(good, 0)
            house.look(6)
    assert house.state(bad) == "held"
    assert (house.state(good), house.jobs.find(good.id).attempts) == ("done", 0)


def test_what_was_painted_before_a_death_is_not_lost(house: House) -> None:
    job = house.submit("generate", count=2)
    house.paint(job, 0, end=False)
    house.painter.compute([job.id])
    house.stage.end(next(iter(house.stage.running)), how="SIGKILL")
    house.look()
    assert house.images(job) == [picture_id(job.id, 0)]
    house.paint(job, 0, 1)
    house.look()
    assert (house.state(job), len(house.images(job))) == ("done", 2)


def test_a_painter_that_ends_by_itself_leaves_nobody_behind(house: House) -> None:
    job = house.submit("generate")
    house.stage.end(next(iter(house.stage.running)), {"idle": 300})
    house.look()
    assert (house.state(job), house.jobs.find(job.id).attempts) == ("running", 0)
    assert [id for id, _ in house.painter.taken()] == [job.id]


@pytest.mark.parametrize(
    ("result", "problem"),
    [
        ({"problem": "no photos.", "way_out": "Add some."}, "no photos."),
        ({"failed": {"ID": "ZeroDivisionError: out of order"}}, "ZeroDivisionError: out of order"),
    ],
)
def test_what_cannot_be_done_fails_with_its_reason(
    house: House, result: dict[str, Any], problem: str
) -> None:
    job = house.submit("scan")
    if "failed" in result:
        result = {"failed": {job.id: problem}}
    house.stage.end(job.id, result)
    house.look()
    found = house.jobs.find(job.id)
    assert (found.state, found.problem) == ("failed", problem)
    assert found.way_out == result.get("way_out", "")


def test_cancelled_and_paused_jobs_are_stopped_and_no_others(house: House) -> None:
    house.stage.slots = 2
    one, other = house.submit("train"), house.submit("train", owner="bob")
    house.jobs.cancel("ann", one.id)
    house.jobs.pause("bob", other.id)
    house.look()
    assert house.stage.told == [one.id, other.id]
    house.stage.end(one.id, {"run": one.id})  # it had just come to its end
    house.stage.end(other.id, how="exit code 143")
    house.look()
    assert (house.state(one), house.state(other)) == ("cancelled", "paused")
    house.jobs.resume("bob", other.id)
    house.look()
    assert house.stage.begun == [one.id, other.id, other.id]


def test_pictures_are_cancelled_and_paused_alone(house: House) -> None:
    jobs = [house.submit("generate", owner=owner) for owner in ("ann", "bob", "eve")]
    house.jobs.cancel("ann", jobs[0].id)
    house.jobs.pause("bob", jobs[1].id)
    house.look()
    assert house.painter.cancelled() == {jobs[0].id, jobs[1].id}
    assert [house.state(job) for job in jobs] == ["cancelled", "paused", "running"]
    house.paint(jobs[0], 0)  # it was too late
    house.look()
    assert (house.state(jobs[0]), house.images(jobs[0])) == ("cancelled", [])
    house.jobs.resume("bob", jobs[1].id)
    house.look()
    assert house.painter.cancelled() == {jobs[0].id}


def test_a_worker_that_does_not_hear_is_told_again(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = house.submit("train")
    house.jobs.cancel("ann", train.id)
    house.look()
    assert house.stage.told == [train.id]
    real = time.monotonic
    monkeypatch.setattr("kaiffin.serve.supervisor.time.monotonic", lambda: real() + 100)
    house.look(1)
    assert house.stage.told == [train.id, train.id]


def test_progress_and_notes_are_told_once(house: House) -> None:
    train = house.submit("train")
    work = house.stage.running[train.id]
    work.leave("progress", {"who": 1, "done": 3, "total": 9, "what": "training", "notes": ["one"]})
    house.look()
    assert house.jobs.find(train.id).progress == {"done": 3, "total": 9, "what": "training"}
    work.leave("progress", {"who": 1, "done": 4, "total": 9, "what": "", "notes": ["one", "two"]})
    house.look()
    work.leave("progress", {"who": 2, "done": 4, "total": 9, "what": "", "notes": ["one"]})
    house.look()
    notes = [e.data["text"] for e in house.studio.events.since("ann", 0) if e.what == "note"]
    assert notes == ["one", "two", "one"], "another worker begins anew"


def test_a_new_server_goes_on_where_the_old_one_was_killed(house: House) -> None:
    """Collected: what lay there. The rest waits, and no try is counted."""
    house.stage.slots = 3
    done, train, paused = (house.submit(kind) for kind in ("scan", "train", "train"))
    house.stage.running[done.id].leave("result", {"photos": 3})
    house.jobs.pause("ann", paused.id)
    house.stage.slots = 4
    job, half = house.submit("generate"), house.submit("generate", count=2)
    house.paint(job, 0)
    house.paint(half, 0, end=False)
    again = House(house.studio, slots=0)
    assert [again.state(one) for one in (done, train, paused, job, half)] == [
        "done", "queued", "paused", "done", "queued",
    ]  # fmt: skip
    assert again.jobs.find(done.id).result == {"photos": 3}
    assert len(again.images(job)) == len(again.images(half)) == 1
    assert again.jobs.find(train.id).attempts == 0
    assert not list((again.studio.work / "paint").iterdir())
    assert not list((again.studio.work / "jobs").glob("*.result.json"))


def test_a_result_that_comes_after_the_new_server_is_not_made_again(house: House) -> None:
    """The old server's worker may just have finished: its file is there when the next begins."""
    train = house.submit("train")
    again = House(house.studio)
    house.stage.running[train.id].leave("result", {"run": train.id})
    again.look()
    assert again.stage.running[train.id].left("result") == {"run": train.id}


def test_a_full_disk_delays_and_loses_nothing(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan, job = house.submit("scan"), house.submit("generate")
    house.stage.end(scan.id, {"photos": 3})

    def full(*more: Any, **by_name: Any) -> Any:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(house.jobs, "_set", full)
        for _ in range(3):
            with pytest.raises(sqlite3.OperationalError):
                house.look(1)
    assert house.state(scan) == "running"
    house.look()
    assert house.jobs.find(scan.id).result == {"photos": 3}
    house.paint(job, 0)
    with monkeypatch.context() as patch:
        patch.setattr(house.studio.events, "add", full)
        with pytest.raises(sqlite3.OperationalError):
            house.look(1)
    assert house.images(job) == []
    house.look()
    assert (house.state(job), len(house.images(job))) == ("done", 1)


def running(
    studio: Studio, place: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> Supervisor:
    monkeypatch.setattr("kaiffin.serve.supervisor.places.place", place)
    monkeypatch.setattr("kaiffin.serve.supervisor.AGAIN_S", 0.05)
    monkeypatch.setattr("kaiffin.serve.supervisor.PATIENCE_S", 0.05)
    made = Supervisor(studio)
    made.start()
    return made


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_a_place_that_is_lost_is_opened_again(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when a cluster's head dies: nothing was tried, all of it waits and goes on."""
    stages: list[Stage] = []

    class Place:
        def __init__(self, *more: Any) -> None:
            stages.append(Stage())

        def __enter__(self) -> Stage:
            if len(stages) == 2:
                raise ConnectionError("no head")
            return stages[-1]

        def __exit__(self, *more: Any) -> None:
            pass

    supervisor = running(studio, Place, monkeypatch)
    train = studio.jobs.submit("ann", "train", training())
    until(lambda: len(stages) == 1 and train.id in stages[0].running)

    def gone(seconds: float) -> list[Ended]:
        raise ConnectionError("the head is gone")

    stages[0].ended = gone  # ty: ignore[invalid-assignment]
    until(lambda: len(stages) == 3 and train.id in stages[2].running)
    assert studio.jobs.find(train.id).attempts == 0
    supervisor.stop()
    assert studio.jobs.find(train.id).state == "queued", "it was told to save, and waits"
    assert stages[2].told == [train.id] * 2, "once to save, and to end at last"
    assert stages[2].running == {}
