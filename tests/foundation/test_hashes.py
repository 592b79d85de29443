"""Hashes that are kept: believed while a file looks the same, and never in place of the truth."""

import hashlib
import os
from pathlib import Path

import pytest

from kaiffin.foundation import folder, hashes
from kaiffin.foundation.hashes import kept_sha256


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KAIFFIN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(hashes, "WORTH", 4)
    path = tmp_path / "weights.safetensors"
    write(path, b"as it was")
    return path


def write(path: Path, data: bytes) -> None:
    """A file that was written a minute ago."""
    path.write_bytes(data)
    age(path)


def age(path: Path) -> None:
    then = path.stat().st_mtime - 60
    os.utime(path, (then, then))


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def notes(path: Path) -> list[Path]:
    return list((path.parent / "cache").rglob("*.json"))


def forget() -> None:
    """As in a new process."""
    folder._file_hash.cache_clear()


def test_a_file_is_read_once_for_all_processes(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert kept_sha256(file) == sha256(file)
    assert len(notes(file)) == 1
    forget()
    monkeypatch.setattr(hashes, "file_sha256", None)  # whoever reads again fails
    assert kept_sha256(file) == sha256(file)
    (link := file.with_name("link")).symlink_to(file)
    assert kept_sha256(link) == sha256(file)


def replaced(path: Path) -> None:
    """By another of the same size and time."""
    time = path.stat().st_mtime
    (other := path.with_name("other")).write_bytes(b"not as it")
    os.utime(other, (time, time))
    os.replace(other, path)


def rewritten(path: Path) -> None:
    """In place, with its time set back."""
    time = path.stat().st_mtime
    path.write_bytes(b"otherwise")
    os.utime(path, (time, time))


def grown(path: Path) -> None:
    write(path, b"longer than it was")


@pytest.mark.parametrize("change", [replaced, rewritten, grown])
def test_a_file_that_changed_is_read_again(file: Path, change: object) -> None:
    before = kept_sha256(file)
    change(file)  # ty: ignore[call-non-callable]
    forget()
    assert kept_sha256(file) == sha256(file) != before
    forget()
    assert kept_sha256(file) == sha256(file)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"sha256": 3}', '{"sha256": "abc"}'])
def test_a_spoilt_note_is_made_again(file: Path, text: str) -> None:
    kept_sha256(file)
    (note,) = notes(file)
    whole = note.read_text()
    note.write_text(text)
    forget()
    assert kept_sha256(file) == sha256(file)
    assert note.read_text() == whole


def test_what_may_still_be_written_is_not_noted(file: Path) -> None:
    file.write_bytes(b"just now")
    assert kept_sha256(file) == sha256(file)
    assert not notes(file)


def test_a_cache_that_cannot_be_written_costs_time_only(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAIFFIN_CACHE", str(file))  # a file
    assert kept_sha256(file) == sha256(file)


def test_a_blob_of_the_hub_is_known_by_its_name(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Named by SHA-256 where the hub keeps it as a large file; the others by git's SHA-1, and one
    that is a link itself goes to a file named by another hash."""
    repo = tmp_path / "models--a--b"
    digest, xet = sha256(file), "f" * 64
    (snapshot := repo / "snapshots" / "1").mkdir(parents=True)
    (repo / "blobs").mkdir()
    (tmp_path / "blobs").mkdir()
    file.rename(tmp_path / "blobs" / xet)
    (repo / "blobs" / digest).symlink_to(tmp_path / "blobs" / xet)
    (large := snapshot / "unet.safetensors").symlink_to(repo / "blobs" / digest)
    for name in ("file_sha256", "hash_of"):
        monkeypatch.setattr(hashes, name, lambda path, **_: "read")
    assert kept_sha256(large) == digest
    write(repo / "blobs" / ("a" * 40), b"small one")
    (small := snapshot / "config.json").symlink_to(repo / "blobs" / ("a" * 40))
    assert kept_sha256(small) == "read"
    (elsewhere := tmp_path / "mine").symlink_to(tmp_path / "blobs" / xet)
    assert kept_sha256(elsewhere) == "read"  # nobody says that this name is its hash


def test_where_the_notes_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KAIFFIN_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert hashes.cache_folder() == Path("/caches/kaiffin")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert hashes.cache_folder() == Path.home() / ".cache" / "kaiffin"
