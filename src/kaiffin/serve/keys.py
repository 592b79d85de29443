"""Who may come in: users, their keys with scopes and quotas, sessions, the first one's token.

A key is 256 bits of chance, shown once and kept as its SHA-256. Torch-free.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import secrets
import sqlite3
import time
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from kaiffin.foundation.errors import ConfigError, nearest
from kaiffin.foundation.folder import explained
from kaiffin.serve.database import Database, new_id
from kaiffin.serve.errors import over_quota
from kaiffin.serve.jobs import Conflict, NotFound

Scope = Literal["read", "generate", "train", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
OPERATOR = "operator"  # whoever started the service
DATABASE = "studio.sqlite"  # of a data folder (see serve.studio)
VARIABLE = "KAIFFIN_API_KEY"  # of the environment: the operator's first key
SHORTEST = 32  # characters of a key that a person chose
SESSION_S = 30 * 86_400.0
DAY_S = 86_400


@dataclass(frozen=True)
class Quotas:
    """None: as many as the machine takes. pictures: asked for in a day (UTC); queued: jobs that are
    not over; bytes: of all that is kept (see serve.holdings)."""

    pictures: int | None = None
    queued: int | None = None
    bytes: int | None = None


@dataclass(frozen=True)
class Key:
    """A key as it may be shown. user: its owner's name; revoked: when, None while it opens."""

    id: str
    owner: str
    user: str
    name: str
    scopes: tuple[Scope, ...]
    quotas: Quotas
    created: float
    revoked: float | None = None


@dataclass(frozen=True)
class Caller:
    """Who is calling. owner: the user's id; key: the id of the key, "" for the one who started the
    service and came with its token."""

    owner: str
    user: str
    scopes: frozenset[Scope]
    quotas: Quotas = field(default_factory=Quotas)
    key: str = ""


class Keys:
    """All users, keys and sessions of a data folder."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self._token = b""

    # --- keys -----------------------------------------------------------------------------------

    def add(
        self, name: str, *, user: str = OPERATOR, scopes: Collection[str] = SCOPES,
        quotas: Quotas | None = None, secret: str = "",
    ) -> tuple[Key, str]:  # fmt: skip
        """A new key and its secret, which is not kept; the user is made where there is none.

        secret: one that is given. Raises Conflict for a name that is in use.
        """
        for scope in scopes:
            if scope not in SCOPES:
                raise ConfigError(f"{scope!r} is no scope.", nearest(scope, SCOPES))
        secret = secret or f"kf_{secrets.token_urlsafe(32)}"
        id, quotas = new_id(), quotas or Quotas()
        with self.db.transaction() as writer:
            owner = self._user(writer, user)
            taken = "SELECT 1 FROM keys WHERE name = ? AND revoked IS NULL"
            if writer.execute(taken, (name,)).fetchone():
                raise Conflict(f"there is a key {name!r}.", "Choose another name, or revoke it.")
            writer.execute(
                "INSERT INTO keys (id, owner, name, digest, scopes, quotas, created)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                (id, owner, name, _digest(secret), " ".join(s for s in SCOPES if s in scopes),
                 json.dumps(asdict(quotas)), time.time()),
            )  # fmt: skip
        return self.get(id), secret

    def _user(self, writer: sqlite3.Connection, name: str) -> str:
        row = writer.execute("SELECT id FROM users WHERE name = ?", (name,)).fetchone()
        if row:
            return row["id"]
        id = new_id()
        writer.execute(
            "INSERT INTO users (id, name, created) VALUES (?, ?, ?)", (id, name, time.time())
        )
        return id

    def adopt(self, secret: str) -> None:
        """Makes the operator's key of that of the environment, in place of an older one."""
        if len(secret) < SHORTEST:
            raise ConfigError(
                f"{VARIABLE} has {len(secret)} characters.",
                f"A key needs {SHORTEST} that nobody guesses: `openssl rand -hex 32` makes one.",
            )
        if self.caller(secret):
            return
        for key in self.every():
            if key.name == VARIABLE and key.revoked is None:
                self.revoke(key.id)
        self.add(VARIABLE, secret=secret)

    def get(self, id: str) -> Key:
        """Raises NotFound."""
        found = self._found("k.id = ?", id)
        if not found:
            raise NotFound(f"there is no key {id[:40]}.", "`kaiffin keys list` shows them.")
        return found[0]

    def every(self) -> list[Key]:
        """All of them, the oldest first, those that are revoked too."""
        return self._found("1 = ?", 1)

    def _found(self, where: str, value: object) -> list[Key]:
        rows = self.db.rows(
            "SELECT k.*, u.name AS user FROM keys k JOIN users u ON u.id = k.owner"
            f" WHERE {where} ORDER BY k.number",
            (value,),
        )
        return [_key(row) for row in rows]

    def revoke(self, id_or_name: str) -> Key:
        """From now on it opens nothing, nor do the sessions that it began."""
        live = [key for key in self.every() if key.revoked is None]
        key = next((key for key in live if id_or_name in (key.id, key.name)), None) or self.get(
            id_or_name
        )
        with self.db.transaction() as writer:
            writer.execute(
                "UPDATE keys SET revoked = ? WHERE id = ? AND revoked IS NULL",
                (time.time(), key.id),
            )
            writer.execute("DELETE FROM sessions WHERE key = ?", (key.id,))
        return self.get(key.id)

    def users(self) -> list[dict[str, Any]]:
        """Everyone, by id and name."""
        rows = self.db.rows("SELECT id, name, created FROM users ORDER BY created")
        return [dict(row) for row in rows]

    # --- coming in ------------------------------------------------------------------------------

    def caller(self, secret: str) -> Caller | None:
        """Whose key it is; None where it opens nothing."""
        found = self._found("k.revoked IS NULL AND k.digest = ?", _digest(secret))
        return _caller(found[0]) if found else None

    def new_token(self) -> str:
        """What opens the operator's first session, once; an older one opens nothing any more."""
        token = secrets.token_urlsafe(32)
        self._token = _digest(token)
        return token

    def session_of_token(self, token: str) -> str | None:
        """A session for whoever has the token, which is spent by it."""
        if not self._token or not secrets.compare_digest(_digest(token), self._token):
            return None
        self._token = b""
        with self.db.transaction() as writer:
            return self._open(writer, self._user(writer, OPERATOR), "")

    def session_of_key(self, secret: str) -> str | None:
        """A session that ends with its key."""
        caller = self.caller(secret)
        if caller is None:
            return None
        with self.db.transaction() as writer:
            return self._open(writer, caller.owner, caller.key)

    def _open(self, writer: sqlite3.Connection, owner: str, key: str) -> str:
        secret, now = secrets.token_urlsafe(32), time.time()
        writer.execute("DELETE FROM sessions WHERE until < ?", (now,))
        writer.execute(
            "INSERT INTO sessions (digest, owner, key, until) VALUES (?, ?, ?, ?)",
            (_digest(secret), owner, key, now + SESSION_S),
        )
        return secret

    def caller_of_session(self, secret: str) -> Caller | None:
        """Whose session it is; None where it has ended."""
        rows = self.db.rows(
            "SELECT s.owner, s.key, u.name FROM sessions s JOIN users u ON u.id = s.owner"
            " WHERE s.digest = ? AND s.until > ?",
            (_digest(secret), time.time()),
        )
        if not rows:
            return None
        if key := rows[0]["key"]:
            return _caller(self.get(key))
        return Caller(rows[0]["owner"], rows[0]["name"], frozenset(SCOPES))

    def end_session(self, secret: str) -> None:
        with self.db.transaction() as writer:
            writer.execute("DELETE FROM sessions WHERE digest = ?", (_digest(secret),))

    # --- quotas ---------------------------------------------------------------------------------

    def charge(self, caller: Caller, pictures: int, live: int) -> None:
        """Counts a job with so many pictures that is about to be queued beside `live` others of the
        caller's, in the transaction that is under way; 429 where it is one too many."""
        quotas, now = caller.quotas, time.time()
        if quotas.queued is not None and live >= quotas.queued:
            raise over_quota(f"{live} jobs of yours are waiting already.",
                             "Wait for one to end, or cancel one.", 10)  # fmt: skip
        day = int(now // DAY_S)
        with self.db.transaction() as writer:
            row = writer.execute(
                "SELECT pictures FROM drawn WHERE owner = ? AND day = ?", (caller.owner, day)
            ).fetchone()
            total = (row["pictures"] if row else 0) + pictures
            if quotas.pictures is not None and total > quotas.pictures:
                raise over_quota(f"{quotas.pictures} pictures a day are what this key may ask for.",
                                 "It may again after midnight UTC.")  # fmt: skip
            writer.execute(
                "INSERT INTO drawn (owner, day, pictures) VALUES (?, ?, ?)"
                " ON CONFLICT (owner, day) DO UPDATE SET pictures = excluded.pictures",
                (caller.owner, day, total),
            )


@contextlib.contextmanager
def opened(folder: Path) -> Iterator[Keys]:
    """The keys of a data folder, whether or not a server has it; it is made where there is none."""
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
    db = Database(folder / DATABASE)
    try:
        yield Keys(db)
    finally:
        db.close()


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode(errors="surrogatepass")).digest()


def _key(row: sqlite3.Row) -> Key:
    return Key(
        row["id"], row["owner"], row["user"], row["name"],
        tuple(scope for scope in SCOPES if scope in row["scopes"].split()),
        Quotas(**json.loads(row["quotas"])), row["created"], row["revoked"],
    )  # fmt: skip


def _caller(key: Key) -> Caller:
    return Caller(key.owner, key.user, frozenset(key.scopes), key.quotas, key.id)
