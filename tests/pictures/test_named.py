"""Adapters that prompts name."""

from pathlib import Path

import numpy as np
import pytest
from made_run import made_run
from safetensors.numpy import save_file

from kaiffin.adapters import strength
from kaiffin.foundation.errors import AdapterError
from kaiffin.foundation.prompts import Tag, read
from kaiffin.pictures.named import Library


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
    found = Library([Path("loras")]).adapters(tags)
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
        Library([Path("loras")]).adapters([Tag(name)])
    assert said in f"{error.value.message} {error.value.fix}"


def test_two_of_one_name_are_told_apart_by_what_they_hold(here: Path) -> None:
    other = here / "more" / "style.safetensors"
    other.parent.mkdir()
    other.write_bytes(b"style.safetensors")
    folders = [Path("loras"), Path("more")]
    (found,) = Library(folders).adapters([Tag("style")])
    assert found.path == Path("loras/style.safetensors")
    other.write_bytes(b"another")
    with pytest.raises(AdapterError, match=r"several are called so: .*loras.*more"):
        Library(folders).adapters([Tag("style")])


def test_without_a_folder_and_without_tags(here: Path) -> None:
    with pytest.raises(AdapterError, match="is no folder of adapters"):
        Library([Path("nowhere")]).adapters([Tag("style")])
    assert Library([Path("nowhere")]).adapters([]) == ()


def test_a_run_by_its_folder_and_by_its_file(here: Path) -> None:
    """So that `<lora:kaiffin:1>`, which its pictures say, finds it."""
    both = Library().adapters([Tag("puffin"), Tag("kaiffin")])
    assert [one.path.parent.name for one in both] == ["puffin", "puffin"]
    assert [one.name for one in both] == ["puffin", "kaiffin"]
    made_run(here / "runs" / "kaiffin").adapter_path.write_bytes(b"of another")
    (named,) = Library().adapters([Tag("kaiffin")])
    assert named.path.parent.name == "kaiffin", "a run of that name comes first"
    (here / "runs" / "kaiffin").rename(here / "runs" / "other")
    with pytest.raises(AdapterError, match="kaiffin: several are called so"):
        Library().adapters([Tag("kaiffin")])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a bad-hand photo", ["bad-hand"]),
        ("a BAD-Hand, easy negative", ["bad-hand", "easy negative"]),
        ("a (bad-hand:1.3) photo", ["bad-hand"]),
        ("a [dog:bad-hand:0.5] photo", ["bad-hand"]),
        ("\\(toy\\)", ["(toy)"]),
        ("a bad-handle, a style of easy negatives", []),
    ],
)
def test_embeddings_are_words(here: Path, text: str, expected: list[str]) -> None:
    """Of the prompt as it is read, in any case; those of adapters are words as others."""
    for name in ("bad-hand", "deep/easy negative", "(toy)"):
        file = here / "loras" / f"{name}.safetensors"
        save_file({"emb_params": np.ones((1, 32), np.float32)}, file)
    for name in ("style", "photo"):
        save_file({"lora_unet_x.alpha": np.ones(1, np.float32)}, here / f"loras/{name}.safetensors")
    found = Library([Path("loras")]).embeddings([read(text)], 10)
    assert sorted(one.word for one in found) == sorted(expected)


def test_embeddings_that_cannot_be_meant(here: Path) -> None:
    """A broken file and a pickle of that name, and two of one name."""
    library = [Path("loras")]
    for name, said in (("cat", "deep/er/cat.safetensors"), ("old", r"old\.pt: .*pickle")):
        (here / "loras" / "old.pt").write_bytes(b"PK")
        with pytest.raises(AdapterError, match=said):
            Library(library).embeddings([read(f"a {name}")], 2)
    for i, name in enumerate(("Toy", "toy")):
        (here / "loras" / str(i)).mkdir()
        save_file({"emb_params": np.full((1, 32), i, np.float32)},
                  here / "loras" / str(i) / f"{name}.safetensors")  # fmt: skip
    with pytest.raises(AdapterError, match=r"several are called so: .*Toy.*toy"):
        Library(library).embeddings([read("a toy")], 2)
    assert Library().embeddings([read("a toy")], 2) == ()
