"""The model card: sound front matter for the hub, and the ways in for each kind and family."""

from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard
from made_run import BASE, made_run

from kaiffin.adapters.elsewhere import card
from kaiffin.foundation.run import Run


def front(text: str) -> dict:
    return yaml.safe_load(text.split("---\n", 2)[1])


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return made_run(tmp_path / "run", subject="<toy>")


def test_what_the_hub_reads(run: Run) -> None:
    text = card.text(run)
    assert front(text) == {
        "base_model": "miniature",
        "library_name": "diffusers",
        "pipeline_tag": "text-to-image",
        "tags": ["text-to-image", "diffusers", "lora", "template:sd-lora", "stable-diffusion",
                 "kaiffin"],
        "instance_prompt": "a photo of <toy> bird",
        "widget": [{"text": "a photo of <toy> bird"}],
    }  # fmt: skip
    assert ModelCard(text).data.base_model == "miniature"
    assert "# `<toy> bird`" in text  # Markdown would take it for a tag
    assert "| trainable weights | 1,234,567 |" in text
    assert "A LoRA adapter that teaches `miniature`" in text


@pytest.mark.parametrize("noun", ["bird: small", "- 'bird'", "пингвин #1", "bird\ttwo"])
def test_words_of_people_are_kept_by_the_front_matter(noun: str, tmp_path: Path) -> None:
    run = made_run(tmp_path / "run", **{"subject.noun": noun})
    assert front(card.text(run))["instance_prompt"] == f"a photo of {run.config.subject.phrase}"


def test_a_folder_is_told_by_its_name_alone(tmp_path: Path) -> None:
    (tmp_path / "secret" / "my-base").mkdir(parents=True)
    run = made_run(tmp_path / "run", **{"base.name": str(tmp_path / "secret" / "my-base")})
    assert front(card.text(run))["base_model"] == "my-base"
    assert "secret" not in card.text(run)


def test_what_others_make_of_ranks_by_timestep_is_said(run: Run, tmp_path: Path) -> None:
    text = card.text(made_run(tmp_path / "timed", **{"adapter.rank": 8, "adapter.min_rank": 4}))
    assert "| ranks at the most noise | 4 |" in text
    assert "convert kaiffin.safetensors plain.safetensors --to kohya --plain" in text
    assert "--plain" not in card.text(run)


@pytest.mark.parametrize(
    ("kind", "peft", "row"),
    [("lora", True, "rank"), ("dora", True, "rank"), ("lokr", False, "rank"),
     ("oft", False, "block size")],
)  # fmt: skip
def test_who_reads_which_kind(kind: str, peft: bool, row: str, tmp_path: Path) -> None:
    settings = {"adapter.kind": kind, "adapter.rank": 8, "adapter.alpha": 4.0}
    text = card.text(made_run(tmp_path / "run", **settings))
    assert ("diffusers does not read this kind." in text) == (not peft)
    assert ("load_lora_weights" in text) == peft
    assert f"| {row} / alpha | 8 / 4 |" in text


def test_sdxl_with_a_token(run: Run) -> None:
    manifest = run.read_json(run.manifest_path.name) | {"base": BASE | {"family": "sdxl"}}
    run.write_json(run.manifest_path.name, manifest)
    run.part_path("embedding").write_bytes(b"")
    text = card.text(run)
    assert "stable-diffusion-xl" in front(text)["tags"]
    assert "StableDiffusionXLPipeline.from_pretrained" in text
    assert text.count("load_textual_inversion") == 2
    assert "embedding:toy-embedding" in text


def test_diffusers_own_file_is_used_where_there_is_one(run: Run) -> None:
    assert 'weight_name="toy.safetensors"' in card.text(run)
    run.folder("diffusers")
    assert 'load_lora_weights("diffusers")' in card.text(run)
