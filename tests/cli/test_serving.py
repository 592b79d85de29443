"""`kaiffin keys ...`: a key is made, listed and revoked; `kaiffin serve` refuses in a line."""

from pathlib import Path

import pytest

from kaiffin.cli import main
from kaiffin.serve.keys import opened


def test_keys_come_and_go(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--data", str(tmp_path / "studio")]
    assert main(["keys", "list", *where]) == 0
    assert "There is no key" in capsys.readouterr().out
    more = ["--user", "ada", "--scopes", "read, generate", "--pictures", "9"]
    assert main(["keys", "add", "script", *more, *where]) == 0
    secret = capsys.readouterr().out.splitlines()[-1]
    with opened(tmp_path / "studio") as keys:
        caller = keys.caller(secret)
    assert caller is not None
    assert (caller.user, caller.scopes, caller.quotas.pictures) == ("ada", {"read", "generate"}, 9)
    assert main(["keys", "list", *where]) == 0
    listed = capsys.readouterr().out
    assert "script" in listed
    assert secret not in listed
    assert main(["keys", "revoke", "script", *where]) == 0
    main(["keys", "list", *where])
    assert "revoked" in capsys.readouterr().out
    assert main(["keys", "revoke", "nobody", *where]) == 2
    assert main(["keys", "add", "x", "--scopes", "all", *where]) == 2


def test_serving_refuses_in_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["--host", "0.0.0.0"], ["--port", "70000"], ["--base", "x/y"], ["--share", "2"]):
        assert main(["serve", "--data", str(tmp_path / "studio"), *words]) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1
