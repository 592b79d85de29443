"""Keys, sessions, the token of the start, quotas."""

import sqlite3
from pathlib import Path

import pytest

from kaiffin.foundation.errors import ConfigError
from kaiffin.serve.database import Database
from kaiffin.serve.errors import Refused
from kaiffin.serve.jobs import Conflict, NotFound
from kaiffin.serve.keys import SCOPES, VARIABLE, Keys, Quotas, opened


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(Database(tmp_path / "studio.sqlite"))


def test_a_secret_is_long_and_never_kept(keys: Keys) -> None:
    key, secret = keys.add("one", user="ada", scopes=["read"])
    assert len(secret) >= 43  # 256 bits, 6 a letter
    caller = keys.caller(secret)
    assert caller is not None
    assert (caller.owner, caller.user, caller.key) == (key.owner, "ada", key.id)
    assert caller.scopes == {"read"}
    with sqlite3.connect(keys.db.path) as db:
        assert secret not in "\n".join(db.iterdump())
    assert keys.caller(secret[:-1]) is None
    assert keys.caller("") is None


def test_two_keys_of_a_user_are_of_one_owner(keys: Keys) -> None:
    first, second = (keys.add(name, user="ada")[0] for name in ("one", "two"))
    other, _ = keys.add("three", user="bob")
    assert first.owner == second.owner != other.owner
    assert [user["name"] for user in keys.users()] == ["ada", "bob"]
    with pytest.raises(Conflict):
        keys.add("one", user="bob")


def test_a_revoked_key_opens_nothing_and_its_name_is_free(keys: Keys) -> None:
    key, secret = keys.add("one")
    session = keys.session_of_key(secret)
    assert session
    assert keys.caller_of_session(session)
    revoked = keys.revoke("one").revoked
    assert keys.revoke(key.id).revoked == revoked  # again: as it was
    assert keys.caller(secret) is keys.caller_of_session(session) is None
    assert keys.session_of_key(secret) is None
    keys.add("one")
    with pytest.raises(NotFound):
        keys.revoke("nobody")


def test_the_token_opens_once(keys: Keys) -> None:
    older, token = keys.new_token(), keys.new_token()
    assert keys.session_of_token(older) is None
    session = keys.session_of_token(token)
    assert session
    caller = keys.caller_of_session(session)
    assert caller
    assert (caller.user, caller.scopes) == ("operator", set(SCOPES))
    assert keys.session_of_token(token) is None
    assert Keys(keys.db).session_of_token("") is None
    keys.end_session(session)
    assert keys.caller_of_session(session) is None


def test_a_session_ends(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    session = keys.session_of_token(keys.new_token())
    assert session
    monkeypatch.setattr("kaiffin.serve.keys.SESSION_S", -1.0)
    ended = keys.session_of_token(keys.new_token())
    assert ended
    assert keys.caller_of_session(ended) is None
    assert keys.caller_of_session(session)


def test_the_environments_key_is_the_operators(keys: Keys) -> None:
    with pytest.raises(ConfigError, match=VARIABLE):
        keys.adopt("password")
    keys.adopt("a" * 64)
    keys.adopt("a" * 64)
    assert len(keys.every()) == 1
    keys.adopt("b" * 64)  # another one now: the older opens nothing
    assert keys.caller("a" * 64) is None
    caller = keys.caller("b" * 64)
    assert caller
    assert caller.user == "operator"


def test_quotas_are_counted_by_owner(keys: Keys) -> None:
    _, secret = keys.add("one", user="ada", quotas=Quotas(pictures=10, queued=2))
    caller = keys.caller(secret)
    assert caller
    keys.charge(caller, 6, live=0)
    with pytest.raises(Refused) as refused:
        keys.charge(caller, 5, live=0)
    assert refused.value.status == 429
    assert refused.value.headers["x-should-retry"] == "false"
    keys.charge(caller, 4, live=1)
    with pytest.raises(Refused) as refused:
        keys.charge(caller, 0, live=2)
    assert int(refused.value.headers["retry-after-ms"]) > 0
    _, unbound = keys.add("two", user="ada")
    other = keys.caller(unbound)
    assert other
    keys.charge(other, 10**6, live=10**6)


def test_keys_are_made_while_a_server_runs(tmp_path: Path) -> None:
    with opened(tmp_path / "new") as first, opened(tmp_path / "new") as second:
        _, secret = first.add("one")
        assert second.caller(secret)
    with pytest.raises(ConfigError, match="scope"), opened(tmp_path / "new") as keys:
        keys.add("two", scopes=["reed"])
