"""The log of events: in order, by owner, replayed and waited for."""

import asyncio
import threading
from pathlib import Path

import pytest

from kaiffin.serve.database import Database
from kaiffin.serve.events import Events


@pytest.fixture
def events(tmp_path: Path) -> Events:
    return Events(Database(tmp_path / "studio.sqlite"))


def test_an_owner_reads_on_from_the_last_event_seen(events: Events) -> None:
    first = events.add("ann", "note", {"text": "one"})
    events.add("bob", "note", {"text": "bob's"})
    last = events.add("ann", "note", {"text": "two"})
    assert [event.data["text"] for event in events.since("ann", 0)] == ["one", "two"]
    assert [event.id for event in events.since("ann", first)] == [last]
    assert events.since("ann", last) == []
    assert (events.last("ann"), events.last("eve")) == (last, 0)
    assert len(events.since("ann", 0, limit=1)) == 1


def test_numbers_grow_over_restarts_and_after_trimming(tmp_path: Path) -> None:
    db = Database(tmp_path / "studio.sqlite")
    last = Events(db).add("ann", "note", {})
    Events(db).trim(0)
    db.close()
    events = Events(Database(tmp_path / "studio.sqlite"))
    assert events.since("ann", 0) == []
    assert events.add("ann", "note", {}) > last


def test_of_progress_only_the_newest_of_each_job_is_kept(events: Events) -> None:
    for done in range(5):
        events.add("ann", "progress", {"done": done}, about="a")
    events.add("ann", "progress", {"done": 0}, about="b")
    events.add("ann", "note", {}, about="a")
    found = [(event.what, event.data.get("done")) for event in events.since("ann", 0)]
    assert found == [("progress", 4), ("progress", 0), ("note", None)]


def test_a_waiter_hears_what_another_thread_adds_and_nothing_of_others(events: Events) -> None:
    async def wait() -> list[str]:
        bob = asyncio.create_task(events.wait("bob", 0, 0.3))
        waiting = asyncio.create_task(events.wait("ann", 0, 60))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        threading.Thread(target=events.add, args=("ann", "note", {})).start()
        found = [event.owner for event in await waiting]
        assert await bob == []
        return found

    assert asyncio.run(wait()) == ["ann"]


def test_what_is_there_already_is_not_waited_for(events: Events) -> None:
    events.add("ann", "note", {})
    assert len(asyncio.run(events.wait("ann", 0, 60))) == 1


def test_who_waits_for_one_job_is_not_woken_by_another(events: Events) -> None:
    async def heard() -> tuple[bool, bool]:
        with events.listening("a") as of_a, events.listening("b") as of_b:
            events.add("ann", "job", {}, about="a")
            await asyncio.wait_for(of_a.wait(), 60)
            return of_a.is_set(), of_b.is_set()

    assert asyncio.run(heard()) == (True, False)
