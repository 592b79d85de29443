"""The database of a data folder: SQLite, written ahead, opened by the server alone. Torch-free.

What is committed is on the disk: a killed process, or a power cut, loses nothing of it. One
connection writes, one at a time; another reads, so that nobody waits for a disk who only looks.
"""

from __future__ import annotations

import contextlib
import secrets
import sqlite3
import string
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from kaiffin.foundation.errors import RunError
from kaiffin.serve.tables import INDEXES, TABLES, UPLOADS, VOTES

# Each makes the tables of the version before into its own; those of a release are never edited.
VERSIONS = (
    """
    CREATE TABLE jobs (
        number INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        owner TEXT NOT NULL,
        kind TEXT NOT NULL,
        lane TEXT NOT NULL,
        request TEXT NOT NULL,
        state TEXT NOT NULL,
        attempts INTEGER NOT NULL DEFAULT 0,
        worker TEXT NOT NULL DEFAULT '',
        heartbeat REAL,
        done INTEGER NOT NULL DEFAULT 0,
        total INTEGER,
        what TEXT NOT NULL DEFAULT '',
        result TEXT,
        problem TEXT NOT NULL DEFAULT '',
        way_out TEXT NOT NULL DEFAULT '',
        created REAL NOT NULL,
        begun REAL,
        ended REAL,
        key TEXT,
        UNIQUE (owner, key)
    ) STRICT;
    CREATE INDEX jobs_by_owner ON jobs (owner, number);
    CREATE INDEX jobs_by_state ON jobs (state, lane, owner, number);

    CREATE TABLE events (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        owner TEXT NOT NULL,
        what TEXT NOT NULL,
        about TEXT NOT NULL,
        data TEXT NOT NULL,
        at REAL NOT NULL
    ) STRICT;
    CREATE INDEX events_by_owner ON events (owner, id);
    CREATE INDEX events_about ON events (about, what);

    CREATE TABLE images (
        number INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        owner TEXT NOT NULL,
        job TEXT NOT NULL,
        prompt TEXT NOT NULL,
        seed INTEGER NOT NULL,
        width INTEGER NOT NULL,
        height INTEGER NOT NULL,
        vote INTEGER NOT NULL DEFAULT 0,
        created REAL NOT NULL
    ) STRICT;
    CREATE INDEX images_by_owner ON images (owner, number);
    CREATE INDEX images_by_job ON images (job, number);
    """,
    TABLES,
    INDEXES,
    VOTES,
    UPLOADS,
)

LETTERS = string.ascii_lowercase + string.digits
BUSY_S = 10.0  # for a backup that reads at this moment


def new_id() -> str:
    """16 letters and digits, 82 bits of chance: a name that nobody guesses, and no path."""
    return "".join(secrets.choice(LETTERS) for _ in range(16))


class Database:
    """path: the file, made where there is none. RunError for one of a newer Kaiffin, or none."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._writing, self._reading = threading.RLock(), threading.Lock()
        self._depth, self._afterwards = 0, list[Callable[[], None]]()
        self._writer: sqlite3.Connection | None = None
        try:
            self._writer = _connected(path)
            self._upgrade(self._writer)
            self._reader = _connected(path)
            self._reader.execute("PRAGMA query_only = ON")
        except sqlite3.OperationalError as error:
            self._close_writer()
            raise RunError(
                f"{path}: cannot be opened ({error}).",
                "Is the disk full, or the folder not yours? What is in it is as it was.",
            ) from None
        except sqlite3.DatabaseError as error:
            self._close_writer()
            raise RunError(
                f"{path}: cannot be used as the database ({error}).",
                "Put a copy of it back that is whole (docs/serving.md).",
            ) from None
        except RunError:
            self._close_writer()
            raise

    def _upgrade(self, writer: sqlite3.Connection) -> None:
        version = writer.execute("PRAGMA user_version").fetchone()[0]
        if version > len(VERSIONS):
            raise RunError(
                f"{self.path}: is of a newer Kaiffin (version {version} of its tables;"
                f" {len(VERSIONS)} is known here).",
                "Start that Kaiffin, or choose another --data.",
            )
        for number, script in enumerate(VERSIONS[version:], version + 1):
            writer.executescript(f"BEGIN; {script} PRAGMA user_version = {number}; COMMIT;")

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All that is written in the block, or nothing; a block inside another is part of it."""
        assert self._writer is not None
        with self._writing:
            outermost = self._depth == 0
            if outermost:
                self._writer.execute("BEGIN IMMEDIATE")
            self._depth += 1
            try:
                yield self._writer
            except BaseException:
                self._depth -= 1
                if outermost:
                    self._afterwards.clear()
                    with contextlib.suppress(sqlite3.Error):  # a full disk has ended it already
                        self._writer.execute("ROLLBACK")
                raise
            self._depth -= 1
            if outermost:
                self._commit(self._writer)

    def _commit(self, writer: sqlite3.Connection) -> None:
        afterwards, self._afterwards = self._afterwards, []
        try:
            writer.execute("COMMIT")
        except sqlite3.Error:
            with contextlib.suppress(sqlite3.Error):
                writer.execute("ROLLBACK")
            raise
        for call in afterwards:
            call()

    def afterwards(self, call: Callable[[], None]) -> None:
        """Called once what is being written is on the disk; never, where it is taken back."""
        self._afterwards.append(call)

    def rows(self, query: str, values: Sequence[Any] = ()) -> list[sqlite3.Row]:
        """What is committed."""
        with self._reading:
            return self._reader.execute(query, values).fetchall()

    def close(self) -> None:
        with self._reading, self._writing:
            self._reader.close()
            self._close_writer()

    def _close_writer(self) -> None:
        if self._writer is not None:
            self._writer.close()


def _connected(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path, timeout=BUSY_S, isolation_level=None, check_same_thread=False
    )
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    return connection
