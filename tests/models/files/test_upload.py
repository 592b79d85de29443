"""Uploads that the hub refuses, in one line each: the real client against a hub of our own."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hub import Hub, serving

from kaiffin.foundation.errors import UserError
from kaiffin.foundation.tell import SILENT
from kaiffin.models.files.upload import push


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with serving(monkeypatch, tmp_path / "home") as hub:
        monkeypatch.setenv("HF_TOKEN", "hf_secret")
        yield hub


@pytest.fixture
def share(tmp_path: Path) -> Path:
    (tmp_path / "share" / "images").mkdir(parents=True)
    (tmp_path / "share" / "README.md").write_text("# toy\n")
    (tmp_path / "share" / "images" / "a.safetensors").write_bytes(b"weights")
    return tmp_path / "share"


def test_twice(hub: Hub, share: Path) -> None:
    for text in ("# toy\n", "# toy again\n"):
        (share / "README.md").write_text(text)
        assert (
            push(share, "me/toy", private=False, message="toy", tell=SILENT) == f"{hub.url}/me/toy"
        )
    repo = hub.written["me/toy"]
    assert not repo.private
    assert repo.files == {"README.md": b"# toy again\n", "images/a.safetensors": b"weights"}


@pytest.mark.parametrize(
    ("fault", "said"),
    [("/preupload/main", "answers 400"), ("/commit/main", "answers 400"),
     ("/api/repos/create", "answers 400")],
)  # fmt: skip
def test_a_hub_that_fails(fault: str, said: str, hub: Hub, share: Path) -> None:
    hub.faults[fault] = ["400"]
    with pytest.raises(UserError, match=said):
        push(share, "me/toy", private=False, message="toy", tell=SILENT)
    assert not hub.written or not hub.written["me/toy"].files  # nothing of it is seen


def test_tokens(hub: Hub, share: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(UserError, match=r"refuses the token .401."):
        push(share, "me/toy", private=False, message="toy", tell=SILENT)
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(share / "none"))
    with pytest.raises(UserError, match=r"there is no token. Log in"):
        push(share, "me/toy", private=False, message="toy", tell=SILENT)


def test_a_name_that_is_none(hub: Hub, share: Path) -> None:
    with pytest.raises(UserError, match=r"is no name of a repository|Write hub:ORG/NAME"):
        push(share, "a/b/c", private=False, message="toy", tell=SILENT)
