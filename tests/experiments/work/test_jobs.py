"""Jobs as files that any process can do, whatever goes wrong in them."""

from pathlib import Path

import pytest
from counting import job
from hearing import Heard

from kaiffin.experiments.work import jobs
from kaiffin.experiments.work.jobs import Job
from kaiffin.foundation.errors import Interrupted, RunError


def test_a_job_is_read_as_it_was_written(tmp_path: Path) -> None:
    made = job(tmp_path, to=7)
    assert Job.read(tmp_path, "one") == made
    (tmp_path / "jobs" / "one.json").write_text('{"story": ')
    for name in ("one", "two"):
        with pytest.raises(RunError, match=f"{name}.json: is not there or no job"):
            Job.read(tmp_path, name)


def test_what_workers_leave_is_read_where_it_can_be(tmp_path: Path) -> None:
    made = job(tmp_path)
    assert made.left("worker") == {}
    made.leave("worker", {"host": "there"})
    assert made.left("worker") == {"host": "there"}
    made.file("worker").write_text("{")
    assert made.left("worker") == {}


def test_progress_is_what_the_story_says(tmp_path: Path) -> None:
    made = job(tmp_path, to=5)
    assert made.progress() == (0, 5)
    assert jobs.do(made) == {"failed": {}, "sum": 15}
    assert made.progress() == (5, 5)
    silent = Job(tmp_path, "other", "json:dumps", {}, ())
    assert silent.progress() == (0, None), "a story need not say"


def test_a_failure_is_a_result_and_a_bug_shows_where_it_is(tmp_path: Path) -> None:
    told = Heard()
    found = jobs.do(job(tmp_path, wrong="user"), told)
    assert found == {"failed": dict.fromkeys(("left", "right"), "no numbers. Bring some.")}
    assert told.notes == ["counts to 3"]
    found = jobs.do(job(tmp_path, wrong="bug"), told)
    assert set(found["failed"].values()) == {"ZeroDivisionError: out of order"}
    assert "counting.py" in told.notes[-1], "the traceback"
    assert jobs.do(job(tmp_path, wrong="part"))["failed"] == {"right": "it was the last"}


def test_a_stop_is_no_failure(tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        jobs.do(job(tmp_path, wrong="stopped"))


def test_a_story_that_is_not_there_fails_its_job(tmp_path: Path) -> None:
    for story in ("counting:undo", "kaiffin.stories.nothing:do"):
        found = jobs.do(Job(tmp_path, "one", story, {}, ("left",)))
        assert "is no story" in found["failed"]["left"] or "No module" in found["failed"]["left"]
