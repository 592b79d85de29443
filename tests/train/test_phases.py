"""Trainings in a row: what each trains and freezes, resumed exactly, saved alone and as one."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from conftest import FEW, grainy_photos, load_tiny
from PIL import Image
from safetensors.torch import load_file

from kaiffin.adapters.load import load_adapter
from kaiffin.cli.main import main
from kaiffin.foundation.errors import ConfigError
from kaiffin.foundation.phases import expand
from kaiffin.foundation.presets import derive
from kaiffin.foundation.run import Run
from kaiffin.foundation.settings import build, override
from kaiffin.models.base import ModelFamily, SizeFacts
from kaiffin.pictures.recipe import read_recipe
from kaiffin.train.watch import RestartPoints

TWO = [{"name": "face", "steps": 4}, {"name": "body", "steps": 4, "own_adapter": True}]


def config(base: Path, photos: Path, phases: list, **more: object) -> dict:
    given = {
        "subject.token": "kai", "subject.noun": "thing", "base.name": str(base),
        "data.photos": str(photos), "data.prior.weight": 0, "adapter.rank": 4, "train.lr": 1e-2,
        "train.batch_size": 2, "train.tensorboard": False, "train.checkpoint_every": 2,
        "train.schedule": "constant", "adapter.targets": FEW,
    } | more  # fmt: skip
    return override({"phases": phases}, given)


def trained(path: Path, data: dict, out: Path) -> Path:
    path.mkdir(exist_ok=True)
    (path / "config.yaml").write_text(yaml.safe_dump(data))
    assert main(["train", str(path / "config.yaml"), "--out", str(out)]) == 0
    return out


@pytest.fixture
def bodies(tmp_path: Path) -> Path:
    path = tmp_path / "bodies"
    path.mkdir()
    grainy_photos(path, 3)
    return path


@torch.no_grad()
def output(family: ModelFamily) -> torch.Tensor:
    size = SizeFacts((64, 64), (0, 0), (64, 64))
    x = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    return family.predict(x, torch.tensor([500]), family.encode_text(["a kai thing"], [size]))


def test_the_list_becomes_configs_of_their_own(tmp_path: Path) -> None:
    phases = [{"name": "a", "steps": 10, "lr": 0.1}, {"name": "b", "train": ["unet"]},
              {"name": "c", "own_adapter": True, "photos": "elsewhere"}]  # fmt: skip
    data = config(tmp_path, tmp_path, phases, **{"train.steps": 30, "adapter.text_encoder": True})
    full, _ = derive(build(data), [4], 64)
    made = expand(full)
    assert [(p.name, p.first, p.last) for p in made] == [("a", 0, 10), ("b", 10, 40), ("c", 40, 70)]
    assert [p.config.train.lr for p in made] == [0.1, 0.01, 0.01]
    assert [sorted(p.trains) for p in made] == [
        ["text_encoder", "unet"], ["unet"], ["text_encoder", "unet"]
    ]  # fmt: skip
    assert [p.adapter for p in made] == ["a", "a", "c"]
    assert [p.attached for p in made] == [("a",), ("a",), ("a", "c")]
    assert made[2].config.data.photos == Path("elsewhere")
    assert not made[0].config.phases


def test_two_adapters_alone_and_as_one(
    sd_path: Path, folder: Path, bodies: Path, tmp_path: Path
) -> None:
    phases = [TWO[0], TWO[1] | {"photos": str(bodies)}]
    run = trained(tmp_path / "two", config(sd_path, folder, phases), tmp_path / "run")
    alone = trained(tmp_path / "one", config(sd_path, folder, TWO[:1]), tmp_path / "first")
    face, body, whole = (run / f"kai{end}.safetensors" for end in ("-face", "-body", ""))
    assert load_file(face).keys() == load_file(body).keys()
    first = load_file(alone / "kai.safetensors")
    # Phase 1 is what it would have been alone but for its seed's name, and phase 2 left it so.
    assert first.keys() == load_file(face).keys()
    family = load_tiny(sd_path)
    stacks = [load_adapter(path, family) for path in (face, body)]
    for stack in stacks:
        stack.inject(family)
    both = output(family)
    for stack in stacks:
        stack.eject()
    one = load_adapter(whole, family)
    one.inject(family)
    assert torch.allclose(output(family), both, atol=1e-5)
    one.eject()
    assert not torch.allclose(output(family), both, atol=1e-3)
    proof = json.loads((run / "proof.json").read_text())
    assert proof["holds"]
    assert [part["holds"] for part in proof["phases"].values()] == [True, True]
    assert (run / "data-2" / "contact_sheet.png").is_file()


def test_what_a_phase_freezes_stays(sd_path: Path, folder: Path, tmp_path: Path) -> None:
    """Two phases of one adapter: the second trains the text encoder alone."""
    more = {"adapter.text_encoder": True}
    phases = [{"name": "a", "steps": 3, "train": ["unet"]},
              {"name": "b", "steps": 3, "train": ["text_encoder"]}]  # fmt: skip
    one = trained(tmp_path / "c1", config(sd_path, folder, phases[:1], **more), tmp_path / "one")
    two = trained(tmp_path / "c2", config(sd_path, folder, phases, **more), tmp_path / "two")
    before, after = (load_file(run / "kai.safetensors") for run in (one, two))
    for key, value in before.items():
        trained_later = key.startswith("lora_te") and not key.endswith("alpha")
        assert torch.equal(value, after[key]) != trained_later, key


@pytest.mark.parametrize(
    "how",
    [
        "plain",
        *(pytest.param(one, marks=pytest.mark.slow) for one in ("ema", "schedulefree", "pivotal")),
    ],
)
def test_stopped_again_and_again_it_ends_in_the_same_bytes(
    how: str, sd_path: Path, folder: Path, bodies: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Before, at and after the end of the first phase; what any resumption does wrong stays."""
    more = {
        "plain": {}, "ema": {"train.ema": 0.8},
        "schedulefree": {"train.optimizer": "schedulefree"},
        "pivotal": {"embedding.vectors": 2, "embedding.train": "first", "train.steps": 4},
    }[how]  # fmt: skip
    more = {"score.candidates": 2} | more
    phases = [] if how == "pivotal" else [TWO[0], TWO[1] | {"photos": str(bodies)}]
    data = config(sd_path, folder, phases, **more)
    whole, torn = trained(tmp_path / "whole", data, tmp_path / "a"), tmp_path / "b"

    save = RestartPoints.save
    start = ["train", str(tmp_path / "whole" / "config.yaml"), "--out", str(torn)]
    for stop, call in ((2, start), (4, ["resume", str(torn)]), (6, ["resume", str(torn)])):

        def save_and_die(self: RestartPoints, stop: int = stop) -> None:
            save(self)
            if self.trainer.step == stop:
                raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(RestartPoints, "save", save_and_die)
            assert main(call) == 130
        assert Run.open(torn).restart_points()[-1][0] == stop
    assert main(["resume", str(torn)]) == 0
    files = sorted(path.name for path in whole.glob("*.safetensors"))
    assert len(files) == (2 if how == "pivotal" else 3)
    for name in files:
        assert (whole / name).read_bytes() == (torn / name).read_bytes(), name
    lines = [len((run / "metrics.jsonl").read_text().splitlines()) for run in (whole, torn)]
    assert lines == [8, 8]


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path)).astype(int)


def same(a: np.ndarray, b: np.ndarray) -> bool:
    """To a grey level: pictures were computed in other batches."""
    return bool(np.abs(a - b).max() <= 1)


def test_blends_and_their_grid(sd_path: Path, folder: Path, tmp_path: Path) -> None:
    seen = {"adapter.targets": "attention"}  # in pictures
    run = trained(tmp_path / "c", config(sd_path, folder, TWO, **seen), tmp_path / "run")
    out = tmp_path / "out"

    def make(name: str, source: str, *more: str) -> list[Path]:
        call = ["generate", source, "a kai thing", "--steps", "3", "--out", str(out / name), *more]
        assert main(call) == 0
        return sorted(p for p in (out / name).glob("a-kai*.png"))

    grid = make("grid", str(run), "--blend", "0,0.5,1", "-n", "2")
    assert len(grid) == 6
    made = {
        (read_recipe(p)["request"]["seed"], read_recipe(p)["adapters"][1]["weight"]): pixels(p)
        for p in grid
    }
    assert sorted(made) == [(s, w) for s in (0, 1) for w in (0.0, 0.5, 1.0)]
    for end, weight in (("face", 0.0), ("body", 1.0)):
        (alone,) = make(end, str(sd_path), "--adapter", str(run / f"kai-{end}.safetensors"))
        assert same(pixels(alone), made[0, weight])
    halves = [f"{run / f'kai-{end}.safetensors'}:0.5" for end in ("face", "body")]
    (half,) = make("half", str(sd_path), "--adapter", halves[0], "--adapter", halves[1])
    assert same(pixels(half), made[0, 0.5])
    assert not same(made[0, 0.0], made[0, 0.5])
    sheet = Image.open(next((out / "grid").glob("sheet*.png")))
    assert sheet.width > 3 * 64
    (again,) = [p for p in grid if np.array_equal(made[1, 0.5], pixels(p))]
    assert main(["generate", "--from", str(again), "--out", str(out / "again")]) == 0
    assert same(pixels(next((out / "again").glob("*.png"))), made[1, 0.5])


@pytest.mark.parametrize(
    ("phases", "more", "said"),
    [
        ([{"name": "a"}, {"name": "a"}], {}, "two phases are called 'a'"),
        ([{"name": "A b"}], {}, r"phases\.0\.name"),
        ([{"name": "a", "train": ["text_encoder"]}], {}, "adapter.text_encoder leaves out"),
        ([{"name": "a", "train": ["embedding"]}], {}, "embedding.vectors leaves out"),
        ([{"name": "a", "train": []}], {}, r"phases\.0\.train"),
        (TWO, {"adapter.kind": "loha"}, "which loha cannot"),
        (TWO, {"embedding.vectors": 1, "embedding.train": "first"}, "is a list of phases itself"),
        ([], {"embedding.lr": 0.1}, "no effect without embedding.vectors"),
        ([], {"train.lora_plus": 16, "adapter.kind": "lokr"}, "which lokr does not have"),
    ],
)
def test_impossible_lists(phases: list, more: dict, said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=said):
        build(config(tmp_path, tmp_path, phases, **more))
