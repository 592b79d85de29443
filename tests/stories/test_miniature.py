"""A build of the miniature answers with what is there; its workers are heard."""

from multiprocessing import get_context
from pathlib import Path

import pytest
from hearing import Heard

from kaiffin.foundation.errors import UserError
from kaiffin.foundation.tell import SILENT
from kaiffin.miniature.build import build as stages
from kaiffin.miniature.build.recipe import BuildConfig
from kaiffin.stories import miniature


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The stages that are run, none of which does anything."""
    found: list[str] = []

    def stage(name: str):
        return lambda config, tell: found.append(name)

    monkeypatch.setattr(stages, "STAGES", {name: stage(name) for name in stages.STAGES})
    return found


def test_all_stages_in_order_but_for_those_that_one_does_at_once(
    run: list[str], tmp_path: Path
) -> None:
    made = miniature.build(BuildConfig(out=tmp_path))
    assert run == list(made.stages)
    assert run[:4] == ["render", "towers", "words", "latents"]
    assert run[-4:] == ["export", "fast", "fast_twin", "report"]
    assert not {"clip", "vae"} & set(run)
    assert (made.weights, made.weights_xl, made.report) == (None, None, None)


def test_the_answer_names_what_is_there(run: list[str], tmp_path: Path) -> None:
    config = BuildConfig(out=tmp_path)
    config.weights_folder.mkdir()
    config.pool.touch()
    (tmp_path / "miniature.md").touch()
    made = miniature.build(config, "clip")
    assert (run, made.stages) == (["clip"], ("clip",))
    assert (made.weights, made.weights_xl) == (tmp_path / "weights", None)
    assert made.report == tmp_path / "miniature.md"


@pytest.mark.parametrize(
    ("only", "file"),
    [
        ("towers", "pool.npy"), ("latents", "vae/checkpoint.safetensors"), ("unet", "latents.npy"),
        ("twin", "latents_sized.npy"), ("export", "unet/checkpoint.safetensors"),
    ],
)  # fmt: skip
def test_a_stage_alone_needs_what_an_earlier_one_makes(
    only: stages.Stage, file: str, run: list[str], tmp_path: Path
) -> None:
    config = BuildConfig(out=tmp_path)
    with pytest.raises(UserError, match=f"stage {only} needs {file}, which an earlier stage"):
        miniature.build(config, only)
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).touch()
    miniature.build(config, only)
    assert run == [only]


def test_what_a_worker_tells_is_told_by_its_parent() -> None:
    queue = get_context("spawn").SimpleQueue()
    wire, told = stages.Wire(queue), Heard()
    wire.note("100 samples")
    wire.picture(Path("preview.png"), "unet")
    wire.note("200 samples")
    assert told.notes == []
    stages.hear(queue, told)
    assert told.notes == ["100 samples", "200 samples"]
    stages.hear(queue, SILENT)  # nothing more, and no waiting for it
