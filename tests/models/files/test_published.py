"""How a repository of the hub is written."""

import pytest

from kaiffin.models.files.published import ALIASES, MOVED, PUBLISHED, plain_name, source_of

COMMIT = "451f4fe16113bff5a5d2269ed5ad43b0592e9a14"


@pytest.mark.parametrize(
    ("name", "repo", "revision", "file"),
    [
        ("org/name", "org/name", "", ""),
        ("sd15", ALIASES["sd15"], "", ""),
        ("sd15@fp16", ALIASES["sd15"], "fp16", ""),
        (f"org/na.me-1@{COMMIT}", "org/na.me-1", COMMIT, ""),
        ("org/name@refs/pr/3", "org/name", "refs/pr/3", ""),
        ("org/name:a b (1).safetensors", "org/name", "", "a b (1).safetensors"),
        ("org/name@v1:sub/x.safetensors", "org/name", "v1", "sub/x.safetensors"),
    ],
)
def test_names_of_the_hub(name: str, repo: str, revision: str, file: str) -> None:
    source = source_of(name)
    assert source
    assert (source.repo, source.revision, source.file) == (repo, revision, file)
    pinned = source_of(source.at(COMMIT))
    assert pinned
    assert (pinned.repo, pinned.revision, pinned.file) == (repo, COMMIT, file)
    assert pinned.is_commit
    assert plain_name(name) == repo


@pytest.mark.parametrize(
    "name", ["", "sd-15", "./a/b", "/a/b", "~/a", "a/b/c", "a/../b", "a--b/c", "C:\\a", "a/b@"]
)  # fmt: skip
def test_what_is_no_name_of_the_hub(name: str) -> None:
    assert source_of(name) is None
    assert plain_name(name) == name


def test_short_names_are_words_of_their_own() -> None:
    assert len(set(ALIASES.values())) == len(PUBLISHED)
    assert not any("/" in name or "@" in name or ":" in name for name in PUBLISHED)
    assert not set(MOVED) & set(ALIASES.values())
