"""Adapters that prompts name."""

from pathlib import Path

import pytest
from made_run import made_run

from kaiffin.adapters import strength
from kaiffin.foundation.errors import AdapterError
from kaiffin.foundation.prompts import Tag
from kaiffin.pictures.named import adapters_of


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a finished run, and a folder of others' files."""
    run = made_run(tmp_path / "runs" / "puffin")
    run.adapter_path.write_bytes(b"of the run")
    for name in ("style.safetensors", "deep/er/cat.safetensors", "secret.txt"):
        file = tmp_path / "loras" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(name.encode())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_by_name(here: Path) -> None:
    tags = [Tag("puffin", 0.8, 0.8), Tag("cat"), Tag("style.safetensors", 0.5, 0.9)]
    found = adapters_of(tags, [Path("loras")])
    paths = ["runs/puffin/kaiffin.safetensors", "loras/deep/er/cat.safetensors",
             "loras/style.safetensors"]  # fmt: skip
    assert [str(one.path) for one in found] == paths
    assert [one.weights for one in found] == [
        strength.parse(text) for text in ("0.8", "1", "unet=0.9,text=0.5")
    ]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("pufin", 'Did you mean "puffin"'),
        ("../loras/style", "no adapter is called so"),
        ("loras/style", "no adapter is called so"),
        ("/etc/passwd", "no adapter is called so"),
        ("secret", "no adapter is called so"),
    ],
)
def test_a_name_is_no_path(here: Path, name: str, said: str) -> None:
    with pytest.raises(AdapterError) as error:
        adapters_of([Tag(name)], [Path("loras")])
    assert said in f"{error.value.message} {error.value.fix}"


def test_two_of_one_name_are_told_apart_by_what_they_hold(here: Path) -> None:
    other = here / "more" / "style.safetensors"
    other.parent.mkdir()
    other.write_bytes(b"style.safetensors")
    folders = [Path("loras"), Path("more")]
    (found,) = adapters_of([Tag("style")], folders)
    assert found.path == Path("loras/style.safetensors")
    other.write_bytes(b"another")
    with pytest.raises(AdapterError, match=r"several are called so: .*loras.*more"):
        adapters_of([Tag("style")], folders)


def test_without_a_folder_and_without_tags(here: Path) -> None:
    with pytest.raises(AdapterError, match="is no folder of adapters"):
        adapters_of([Tag("style")], [Path("nowhere")])
    assert adapters_of([], [Path("nowhere")]) == ()
