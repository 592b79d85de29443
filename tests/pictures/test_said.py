"""Prompts, understood: whose {token} it is, and the adapters and embeddings that they name."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hearing import Heard
from safetensors.numpy import save_file

from kaiffin.foundation.config import SampleConfig, SubjectConfig
from kaiffin.foundation.errors import AdapterError, ConfigError
from kaiffin.pictures.named import Library
from kaiffin.pictures.said import Reader, refuse_twice

KAIFFIN = {"modelspec.trigger_phrase": "my cat tabby", "modelspec.title": "my cat"}
FOLDERS = {"ss_dataset_dirs": json.dumps({"10_sks dog": {"img_count": 4}})}


def file(path: Path, header: dict[str, str] | None = None, key: str = "lora_unet_x.alpha") -> Path:
    """Every one holds something else."""
    save_file({key: np.full((1, 32), len(path.name), np.float32)}, path, header or None)
    return path


def reader(library: Library | None, worn: Sequence[Path] = (), **sample: str) -> Reader:
    return Reader(SampleConfig(**sample), library, (), worn, Heard())


@pytest.mark.parametrize(
    ("header", "prompt", "text", "said"),
    [
        (KAIFFIN, "a {token} {noun}", "a my cat tabby", "'my cat' and {noun} is 'tabby'"),
        (FOLDERS, "a {noun} in snow", "a dog in snow", "'sks' and {noun} is 'dog'"),
        (FOLDERS, "a cat", "a cat", None),
    ],
)
def test_the_subject_of_a_base_is_its_first_adapter_s(
    tmp_path: Path, header: dict[str, str], prompt: str, text: str, said: str | None
) -> None:
    """Beside the prompt, or in it."""
    toy, other = file(tmp_path / "toy.safetensors", header), file(tmp_path / "an.safetensors")
    given = reader(None, [toy, other])
    named = reader(Library(given={"toy": toy, "other": other}))
    for one, asked in ((given, prompt), (named, f"{prompt} <lora:toy:1><lora:other:1>")):
        found = one.read(asked)
        assert found.text == text
        assert found.subjects[0].phrase in ("my cat tabby", "sks dog")
        notes = [note for note in one.tell.notes if "{token}" in note]  # ty: ignore[unresolved-attribute]
        assert notes == ([f"note: {{token}} is {said}, as {toy} says"] if said else [])


def test_a_subject_that_nothing_names(tmp_path: Path) -> None:
    bare = file(tmp_path / "bare.safetensors")
    for worn, said in (([], "a base has no subject"), ([bare], "bare.* does not say who it is of")):
        with pytest.raises(ConfigError, match=rf"\{{noun\}} is not known: .*{said}") as error:
            reader(None, worn).read("a {noun}")
        assert error.value.fix == "Write the words themselves into the prompt."
        assert reader(None, worn).read("a cat").subjects == (SubjectConfig(),)
    own = Reader(SampleConfig(), None, (SubjectConfig(token="kai", noun="bird"),), [bare], Heard())
    assert own.read("a {token} {noun}").text == "a kai bird"


def test_what_a_prompt_names(tmp_path: Path) -> None:
    toy = file(tmp_path / "toy.safetensors")
    bad = file(tmp_path / "bad hands.safetensors", key="emb_params")
    one = reader(Library([tmp_path]), negative="Bad Hands")
    found = one.read("a (toy:1.2) <lora:toy:0.5>")
    assert (found.text, [a.path for a in found.adapters]) == ("a (toy:1.2)", [toy])
    assert [e.path for e in found.embeddings] == [bad]
    assert one.read("a dog", [bad]).embeddings == (), "it is there already"
    assert reader(Library([tmp_path])).read("a dog").embeddings == ()
    plain = reader(Library([tmp_path]), prompt_syntax="plain").read("bad hands <lora:toy:1>")
    assert (plain.text, plain.adapters, plain.embeddings) == ("bad hands <lora:toy:1>", (), ())


def test_an_adapter_is_named_once(tmp_path: Path) -> None:
    """By what it holds, whatever it is called."""
    toy, other = file(tmp_path / "toy.safetensors"), file(tmp_path / "another.safetensors")
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes(toy.read_bytes())
    library = Library([tmp_path])
    assert reader(library, [other]).read("a <lora:toy:1>").adapters
    for worn, prompt in (([toy], "a <lora:copy:1>"), ([], "a <lora:toy:1> <lora:copy:1>")):
        with pytest.raises(AdapterError, match="are the same adapter: its strength would add up"):
            reader(library, worn).read(prompt)
    refuse_twice([toy, other, tmp_path / "gone", tmp_path / "gone as well"])
    with pytest.raises(AdapterError, match="are the same adapter"):
        refuse_twice([toy, other, copy])
