"""The database: written ahead, whole or not at all, refused where it is newer."""

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from kaiffin.foundation.errors import RunError
from kaiffin.serve.database import VERSIONS, Database, new_id

INSERT = "INSERT INTO events (owner, what, about, data, at) VALUES ('ann', 'note', '', '{}', 1.0)"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "studio.sqlite"


def count(db: Database) -> int:
    return db.rows("SELECT COUNT(*) FROM events")[0][0]


def test_states_are_on_the_disk_when_they_are_committed(path: Path) -> None:
    db = Database(path)
    with db.transaction() as writer:
        assert writer.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
        assert writer.execute("PRAGMA synchronous").fetchone()[0] == 2  # FULL
    assert db.rows("PRAGMA user_version")[0][0] == len(VERSIONS)
    db.close()
    assert count(Database(path)) == 0  # opened again, not made again


def test_a_block_is_written_whole_or_not_at_all(path: Path) -> None:
    db, heard = Database(path), list[int]()

    def broken() -> None:
        with db.transaction() as writer:
            writer.execute(INSERT)
            db.afterwards(lambda: heard.append(1))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        broken()
    assert (count(db), heard) == (0, [])
    with db.transaction() as writer:
        writer.execute(INSERT)
        with db.transaction():  # part of the other
            writer.execute(INSERT)
            db.afterwards(lambda: heard.append(count(db)))
        assert (count(db), heard) == (0, [])  # nobody sees half of it
    assert (count(db), heard) == (2, [2])


def test_a_killed_process_loses_only_what_was_not_committed(path: Path) -> None:
    program = f"""
import os, signal
from pathlib import Path
from kaiffin.serve.database import Database
db = Database(Path({str(path)!r}))
with db.transaction() as writer:
    writer.execute({INSERT!r})
with db.transaction() as writer:
    writer.execute({INSERT!r})
    os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", program], check=False)
    db = Database(path)
    assert count(db) == 1
    assert db.rows("PRAGMA integrity_check")[0][0] == "ok"


def test_a_full_disk_takes_the_block_back_and_leaves_the_database_whole(path: Path) -> None:
    db = Database(path)
    with db.transaction() as writer:
        writer.execute(INSERT)
    assert db._writer is not None
    limit = db._writer.execute("PRAGMA page_count").fetchone()[0]
    db._writer.execute(f"PRAGMA max_page_count = {limit}")  # SQLite's own way to be full

    def fill() -> None:
        with db.transaction() as writer:
            for _ in range(5000):
                writer.execute(INSERT)

    with pytest.raises(sqlite3.OperationalError, match="full"):
        fill()
    assert count(db) == 1
    db._writer.execute(f"PRAGMA max_page_count = {limit + 1000}")
    with db.transaction() as writer:
        writer.execute(INSERT)
    assert count(db) == 2
    assert db.rows("PRAGMA integrity_check")[0][0] == "ok"


def test_a_newer_database_is_refused_and_left_alone(path: Path) -> None:
    Database(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA user_version = {len(VERSIONS) + 1}")
    connection.close()
    with pytest.raises(RunError, match="newer Kaiffin"):
        Database(path)


def test_what_is_no_database_is_refused(path: Path) -> None:
    path.write_bytes(b"no database " * 1000)
    with pytest.raises(RunError, match="cannot be used as the database"):
        Database(path)


def test_a_folder_that_takes_no_file_is_told_from_a_damaged_one(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="cannot be opened") as caught:
        Database(tmp_path / "nowhere" / "studio.sqlite")
    assert "as it was" in caught.value.fix


def test_who_only_reads_cannot_write(path: Path) -> None:
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        Database(path).rows(INSERT)


def test_ids_are_no_paths_and_do_not_repeat() -> None:
    ids = {new_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert all(len(id) == 16 and id.isalnum() and id == id.lower() for id in ids)
