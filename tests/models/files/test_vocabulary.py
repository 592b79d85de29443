"""CLIP's vocabulary: found where it lies, by its content, and never taken for another."""

import gzip
import re
import sys
from pathlib import Path

import pytest
import tiny
from hearing import Heard
from hub import Hub, Repo
from huggingface_hub import constants

from kaiffin.foundation.errors import MissingWeightsError
from kaiffin.foundation.tell import SILENT
from kaiffin.models.files import shelf, vocabulary

LIST = ["version of OpenAI's list", "i n", "t h", "in g</w>", "left out"]


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No cache, no network, no package that carries it, no base with a name."""
    monkeypatch.setenv("KAIFFIN_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(vocabulary, "PACKAGES", ())


@pytest.fixture
def listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A list of three merges that stands for OpenAI's 48,894: its vocabulary is the published."""
    file = tmp_path / "package" / vocabulary.MERGES
    file.parent.mkdir()
    file.write_bytes(gzip.compress("\n".join(LIST).encode()))
    monkeypatch.setattr(vocabulary, "NUM_MERGES", 3)
    made = vocabulary.of_merges(file)
    assert made is not None
    sums = [vocabulary.hashlib.sha256(data).hexdigest() for data in made.files()]
    monkeypatch.setattr(vocabulary, "PUBLISHED", tuple(sums))
    return file


def write_crlf(found: vocabulary.Vocabulary, folder: Path) -> None:
    """As some repositories have it: other line ends, other order, the same content."""
    found.write(folder)
    for name in vocabulary.FILES:
        path = folder / name
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))


def test_a_vocabulary_from_the_list_of_merges(listed: Path) -> None:
    found = vocabulary.of_merges(listed)
    assert found is not None
    assert found.merges == ("i n", "t h", "in g</w>")
    symbols = tiny.byte_symbols()
    pieces = [*symbols, *(s + "</w>" for s in symbols), "in", "th", "ing</w>"]
    pieces += ["<|startoftext|>", "<|endoftext|>"]
    assert list(found.ids) == pieces
    assert list(found.ids.values()) == list(range(517))
    assert found.is_clips
    vocab, merges = found.files()
    assert merges == b"#version: 0.2\ni n\nt h\nin g</w>\n"
    assert vocab.startswith(b'{\n  "!": 0,\n  "!</w>": 256,\n  "\\"": 1,')


def test_it_is_found_by_its_content_wherever_it_lies(listed: Path, tmp_path: Path) -> None:
    found = vocabulary.of_merges(listed)
    assert found is not None
    cache = tmp_path / "hub"
    tiny.write_tokenizer(cache / "models--a--gpt-2" / "snapshots" / "0" / "tokenizer")
    shelf.add(tmp_path / "elsewhere" / "named", "mine")
    for place in (
        cache / "models--a--any-base" / "snapshots" / "0" / "tokenizer",
        cache / "models--openai--clip-vit-large-patch14" / "snapshots" / "0",
        tmp_path / "models" / "checkpoints" / "a-diffusers-folder" / "tokenizer",
        tmp_path / "models" / "checkpoints" / "tokenizer",
        tmp_path / "comfy" / "sd1_tokenizer",
        tmp_path / "elsewhere" / "named" / "tokenizer",
    ):
        checkpoint = tmp_path / "models" / "checkpoints" / "a.safetensors"
        with pytest.raises(MissingWeightsError):
            vocabulary.for_checkpoint(checkpoint, tell=SILENT)
        write_crlf(found, place)
        assert vocabulary.for_checkpoint(checkpoint, tell=SILENT) == found
        for name in vocabulary.FILES:
            (place / name).unlink()


def test_an_installed_package_carries_it(
    listed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (listed.parent / "__init__.py").write_text("raise ImportError('is not to be imported')")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setattr(vocabulary, "PACKAGES", ("package",))
    assert vocabulary.for_checkpoint(tmp_path / "a.safetensors", tell=SILENT).is_clips
    listed.write_bytes(b"damaged")
    with pytest.raises(MissingWeightsError):
        vocabulary.for_checkpoint(tmp_path / "a.safetensors", tell=SILENT)


def test_the_wrong_one_beside_the_file_is_refused_by_name(tmp_path: Path) -> None:
    tiny.write_tokenizer(tmp_path / "tokenizer")
    with pytest.raises(MissingWeightsError, match="tokenizer: holds another vocabulary than CLIP"):
        vocabulary.for_checkpoint(tmp_path / "a.safetensors", tell=SILENT)


def test_where_there_is_none_it_is_said_what_to_put_where(tmp_path: Path) -> None:
    with pytest.raises(MissingWeightsError, match=r"vocab\.json and merges\.txt .* into .*tokeniz"):
        vocabulary.for_checkpoint(tmp_path / "a.safetensors", tell=SILENT)


def test_it_is_taken_from_the_hub_and_said(listed: Path, hub: Hub, tmp_path: Path) -> None:
    found, checkpoint, heard = vocabulary.of_merges(listed), tmp_path / "a.safetensors", Heard()
    assert found is not None
    files = dict(zip(vocabulary.FILES, found.files(), strict=True))
    hub.repos[vocabulary.REPO] = Repo(files | {"model.safetensors": b"noise"}, licence="mit")
    assert vocabulary.for_checkpoint(checkpoint, heard) == found
    assert sorted(hub.bodies()) == sorted(files)
    assert re.search(rf"taking {vocabulary.REPO} .* kB, .*merges.txt.*licence mit", heard.notes[0])
    hub.requests.clear()
    assert vocabulary.for_checkpoint(checkpoint, heard) == found
    assert not hub.requests


def test_a_folder_has_its_own_and_a_file_gets_clips(listed: Path, tmp_path: Path) -> None:
    configs, checkpoint = tmp_path / "configs", tmp_path / "a.safetensors"
    with vocabulary.tokenizer_folder(configs, tmp_path, tell=SILENT) as folder:
        assert folder == configs
    found = vocabulary.of_merges(listed)
    assert found is not None
    found.write(tmp_path / "tokenizer")
    configs.mkdir()
    (configs / "tokenizer_config.json").write_text("{}")
    with vocabulary.tokenizer_folder(configs, checkpoint, tell=SILENT) as folder:
        assert folder != configs
        assert vocabulary.read(folder) == found
        assert (folder / "tokenizer_config.json").is_file()
    assert not folder.exists()
    tiny.write_tokenizer(configs)
    with vocabulary.tokenizer_folder(configs, checkpoint, tell=SILENT) as folder:
        assert folder == configs
