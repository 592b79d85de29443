"""Jobs done one after another or side by side: tries, failures, a stop; and what is told of it."""

import os
import re
import signal
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from counting import job
from hearing import Heard

from kaiffin.experiments.work import running
from kaiffin.experiments.work.jobs import Ended, Job
from kaiffin.experiments.work.places import Local
from kaiffin.experiments.work.processes import Processes
from kaiffin.foundation.errors import Interrupted


class Staged:
    """A place where jobs end as they are told to, one at each look."""

    def __init__(self, slots: int, ends: Sequence[Ended]) -> None:
        self.slots, self.ends = slots, list(ends)
        self.started: list[str] = []
        self.most = self.at_once = 0
        self.stopped = False

    def start(self, job: Job) -> None:
        self.started.append(job.name)
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        job.leave("worker", {"host": "there", "process": len(self.started)})

    def ended(self, seconds: float) -> list[Ended]:
        self.at_once -= 1
        return [self.ends.pop(0)]

    def stop(self) -> None:
        self.stopped = True


def test_as_many_at_once_as_there_is_room_for(tmp_path: Path) -> None:
    names = ["one", "two", "three"]
    place = Staged(2, [Ended(name, {"failed": {}}) for name in names])
    assert running.run([job(tmp_path, name) for name in names], place, tmp_path / "log") == {}
    assert (place.started, place.most, place.stopped) == (names, 2, False)


def test_a_death_is_tried_again_before_the_others_and_told(tmp_path: Path) -> None:
    told, log = Heard(), tmp_path / "logs" / "sweep.log"
    ends = [Ended("one", None, "SIGKILL"), Ended("one", {}), Ended("two", {"failed": {}})]
    place = Staged(1, ends)
    todo = [job(tmp_path, name) for name in ("one", "two")]
    assert running.run(todo, place, log, told) == {}
    assert place.started == ["one", "one", "two"]
    death = "one: its worker died at step 0 of 3 (SIGKILL); going on from the last checkpoint, "
    assert [note for note in told.notes if note.startswith("one: ")] == [
        f"{death}try 2 of 3; see {todo[0].log}", "one: done in 2 tries, 1 of 2"
    ]  # fmt: skip
    lines = log.read_text().splitlines()
    assert [line.partition("  ")[2] for line in lines] == told.notes
    assert all(re.match(r"\d{4}-\d\d-\d\dT[\d:]{8}", line) for line in lines), "with the time"


def test_a_worker_that_always_dies_is_given_up(tmp_path: Path) -> None:
    one = job(tmp_path, wrong="dead")
    place = Processes([{}], tmp_path)
    failed = running.run([one], place, tmp_path / "logs" / "sweep.log")
    reason = f"its worker died 3 times (exit code 1); see {one.log}."
    assert failed == {"left": reason, "right": reason}
    assert (tmp_path / "logs" / "sweep.log").read_text().count("try ") == 2


def test_a_part_that_fails_is_told_and_the_rest_is_done(tmp_path: Path) -> None:
    told = Heard()
    todo = [job(tmp_path, "one", wrong="part"), job(tmp_path, "two", wrong="user")]
    failed = running.run(todo, Local(told), tmp_path / "log", told)
    assert failed == {"right": "no numbers. Bring some.", "left": "no numbers. Bring some."}
    assert "failed: right: it was the last" in told.notes
    assert any(note.startswith("one: done, 1 of 2") for note in told.notes)
    assert not any(note.startswith("two: done") for note in told.notes)


def test_who_does_a_job_is_told_once(tmp_path: Path) -> None:
    told = Heard()
    chronicle = running.Chronicle([job(tmp_path)], tmp_path / "log", told)
    chronicle.todo[0].leave("worker", {"host": "there", "process": 7})
    for _ in range(2):
        chronicle.glance(chronicle.todo)
    assert told.notes == ["one: begun by process 7 on there"]


def test_how_far_all_are_and_how_long_it_takes(tmp_path: Path) -> None:
    """At the pace of the steps so far; what has not begun counts as one of those that have."""
    told = Heard()
    todo = [job(tmp_path, name, to=100) for name in ("one", "two", "three")]
    chronicle = running.Chronicle(todo, tmp_path / "log", told)
    assert chronicle.left() == "", "nothing is known yet"
    todo[0].leave("worker", {"host": "there", "process": 7})
    chronicle.seen.add(f"one {todo[0].left('worker')}")
    todo[0].leave("count", {"done": 50})
    chronicle.begun -= 100  # 2 s a step
    chronicle.spoken -= 20
    chronicle.glance(todo[:2])
    assert told.notes == ["0 of 3 done; one at step 50/100, 1 starting; about 0:08:20 left"]
    chronicle.glance(todo[:2])
    assert len(told.notes) == 1, "not at every glance"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_lets_the_place_save(number: signal.Signals, tmp_path: Path) -> None:
    place = Staged(1, [])
    place.ended = lambda seconds: time.sleep(0.01) or []  # never
    before = signal.getsignal(signal.SIGTERM)
    threading.Timer(0.2, os.kill, (os.getpid(), number)).start()
    with pytest.raises(Interrupted, match=r"what was done is saved\. The same") as stopped:
        running.run([job(tmp_path)], place, tmp_path / "log")
    assert place.stopped
    assert stopped.value.exit_code == 128 + number
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_stop_within_this_process_keeps_its_number(tmp_path: Path) -> None:
    with pytest.raises(Interrupted) as stopped:
        running.run([job(tmp_path, wrong="stopped")], Local(), tmp_path / "log")
    assert stopped.value.exit_code == 128 + 15


def test_a_bug_of_the_place_is_raised_as_it_is(tmp_path: Path) -> None:
    place = Staged(1, [])  # nothing to pop
    with pytest.raises(IndexError):
        running.run([job(tmp_path)], place, tmp_path / "log")
    assert place.stopped
