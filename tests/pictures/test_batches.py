"""How many pictures at once: found by measuring, whatever the device is like."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hearing import Heard

from kaiffin.pictures.batches import MOST, TRIES, Batches, open_batches


def settle(batches: Batches, cost: Callable[[int], float], memory: int = 10**6) -> int:
    """Batches as a painter makes them while there is always enough to do; the last size."""
    size = 0
    for _ in range(4 * TRIES * 8):
        size = batches.most("a base 64x64")
        if size > memory:
            batches.failed("a base 64x64", size)
        else:
            batches.took("a base 64x64", size, cost(size))
    return size


@pytest.mark.parametrize(
    ("cost", "best"),
    [
        (lambda n: 1.0 * n, 1),  # a CPU that is busy with one
        (lambda n: 1.0 + 0.1 * n, MOST),  # a GPU that is hardly busy
        (lambda n: max(1.0, n / 8), 8),  # full at eight
        (lambda n: n * (1.0 if n < 4 else 3.0), 1),
        (
            lambda n: n * {1: 4.0, 2: 3.0, 4: 2.0, 8: 2.01, 16: 1.5}.get(n, 1.6),
            16,
        ),  # not on the way
    ],
)
def test_the_best_size_is_found(tmp_path: Path, cost: Callable[[int], float], best: int) -> None:
    assert settle(Batches(tmp_path / "b.json"), cost) == best


def test_memory_is_a_limit_for_good(tmp_path: Path) -> None:
    batches = Batches(tmp_path / "b.json")
    assert settle(batches, lambda n: 1.0, memory=5) == 4
    again = Batches(tmp_path / "b.json")  # another painter knows it from the file
    assert again.most("a base 64x64") == 4
    assert again.most("another 64x64") == 1


def test_the_first_batch_and_odd_sizes_say_nothing(tmp_path: Path) -> None:
    batches = Batches(tmp_path / "b.json")
    batches.took("k", 1, 100.0)  # the process was cold
    batches.took("k", 3, 0.1)
    for _ in range(TRIES):
        assert batches.most("k") == 1
        batches.took("k", 1, 1.0)
    assert batches.most("k") == 2


def test_a_busy_moment_is_no_verdict_on_a_size(tmp_path: Path) -> None:
    batches = Batches(tmp_path / "b.json")
    cost = iter([9.0] * 2)  # of the first tries of two at once
    assert settle(batches, lambda n: next(cost, 1.0) if n == 2 else max(1.0, n / 2)) == 2


def test_a_size_is_tried_only_where_so_many_wait(tmp_path: Path) -> None:
    batches = Batches(tmp_path / "b.json")
    for _ in range(TRIES + 1):
        batches.took("k", 1, 1.0)
    assert batches.most("k", 1) == 1
    assert batches.most("k", 2) == batches.most("k", 64) == 2
    for _ in range(TRIES):
        batches.took("k", 2, 1.0)
    assert (batches.most("k", 3), batches.most("k", 4)) == (2, 4)


def test_what_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`auto` goes on from what is kept, and says where; a number is that number."""
    monkeypatch.setenv("KAIFFIN_CACHE", str(tmp_path))
    heard = Heard()
    assert open_batches(3, heard) == 3
    assert not heard.notes
    batches = open_batches("auto", heard)
    assert isinstance(batches, Batches)
    assert str(tmp_path / "batches.json") in heard.notes[0]
    best = settle(batches, lambda n: max(1.0, n / 8))
    again = open_batches("auto", heard)
    assert isinstance(again, Batches)
    assert again.most("a base 64x64") == best == 8
    (tmp_path / "full").touch()
    lost = Batches(tmp_path / "full" / "b.json")  # nobody can write there: it costs time only
    assert settle(lost, lambda n: max(1.0, n / 8)) == 8


def test_a_file_that_cannot_be_read_is_measured_anew(tmp_path: Path) -> None:
    (tmp_path / "b.json").write_text("{")
    assert settle(Batches(tmp_path / "b.json"), lambda n: 1.0) == MOST
