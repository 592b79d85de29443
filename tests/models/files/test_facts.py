"""What is known of a base before its weights are opened."""

import json
import shutil
from pathlib import Path

import pytest
import tiny
from conftest import load_tiny

from kaiffin.foundation.errors import MissingWeightsError
from kaiffin.foundation.tell import SILENT
from kaiffin.models.files.facts import read_text_facts


def test_text_facts_of_a_broken_configuration(sd_path: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(sd_path, tmp_path / "copy")
    (copy / "vae" / "config.json").write_text("[]")
    with pytest.raises(MissingWeightsError, match="its configuration is broken"):
        read_text_facts(str(copy), tell=SILENT)


def test_a_tokenizer_that_promises_more_than_the_encoder_has(sd_path: Path, tmp_path: Path) -> None:
    """ComfyUI's copy says 8192; CLIP has 77 positions."""
    folder = shutil.copytree(sd_path, tmp_path / "sd-turbo")
    path = folder / "tokenizer" / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"model_max_length": 8192}))
    facts = read_text_facts(str(folder), tell=SILENT)
    assert facts.max_tokens == load_tiny(folder).max_tokens == 77
    assert "distilled (Turbo)" in facts.remarks[0]


def test_a_file_has_the_same_facts_as_its_folder(sd_path: Path, tmp_path: Path) -> None:
    file = tiny.tiny_single_file(sd_path, tmp_path / "a.safetensors")
    one, other = read_text_facts(str(file), tell=SILENT), read_text_facts(str(sd_path), tell=SILENT)
    assert one.token_pieces("a dög") == other.token_pieces("a dög")
    assert (one.native_size, one.max_tokens) == (other.native_size, other.max_tokens) == (64, 77)
    (file.with_suffix(".config") / "tokenizer" / "vocab.json").write_text("{")
    with pytest.raises(MissingWeightsError, match="tokenizer: cannot be loaded"):
        read_text_facts(str(file), tell=SILENT)
