"""The folder between server and painter."""

from pathlib import Path

import pytest

from kaiffin.serve.spool import Spool


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    made = Spool(tmp_path / "painter-1")
    made.make()
    return made


def test_jobs_are_taken_once_and_in_their_order(spool: Spool) -> None:
    for number, id in ((10, "aaa"), (9, "bbb"), (100, "ccc")):
        spool.give(number, id, {"n": number})
    assert list(spool.taken()) == [("bbb", {"n": 9}), ("aaa", {"n": 10}), ("ccc", {"n": 100})]
    assert list(spool.taken()) == []


def test_a_cancelled_job_may_be_given_again(spool: Spool) -> None:
    spool.cancel("aaa")
    assert spool.cancelled() == {"aaa"}
    spool.give(1, "aaa", {})
    assert spool.cancelled() == set()
    assert [id for id, _ in spool.taken()] == ["aaa"]


def test_news_end_after_their_pictures_and_are_whole(spool: Spool) -> None:
    spool.say("aaa", "end", {})
    for number in (1, 0):
        spool.say("aaa", str(number), {"number": number})
    spool.say("bbb", "0.partial", {"step": 3})
    (spool.out / ".aaa.2.json.77.part").write_text('{"torn')
    (spool.out / "aaa.3.json").write_text('{"torn')
    news = [(id, which, facts) for _, id, which, facts in spool.news()]
    assert news == [
        ("aaa", "0", {"number": 0}), ("aaa", "1", {"number": 1}), ("bbb", "0.partial", {"step": 3}),
        ("aaa", "end", {}),
    ]  # fmt: skip


def test_what_was_computed_at_last(spool: Spool, tmp_path: Path) -> None:
    assert spool.computing() == []
    spool.compute({"bbb", "aaa"})
    assert spool.computing() == ["aaa", "bbb"]
    gone = Spool(tmp_path / "gone")
    assert (list(gone.news()), list(gone.taken()), gone.cancelled()) == ([], [], set())
