"""Many pictures: each adapter loaded once, equal settings together, and the family left clean."""

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import FEW, load_tiny
from hearing import Heard
from PIL import Image
from safetensors.torch import load_file, save_file
from tiny import tiny_sd

from kaiffin.adapters import strength
from kaiffin.adapters.files import safe
from kaiffin.cli.main import main
from kaiffin.foundation.errors import AdapterError
from kaiffin.foundation.run import Run
from kaiffin.models.base import ModelFamily
from kaiffin.pictures import infotext
from kaiffin.pictures import make as module
from kaiffin.pictures.make import Task, Wardrobe, WeightedAdapter, make
from kaiffin.pictures.request import Request
from kaiffin.pictures.sample import generate

CALL = {"width": 64, "height": 64, "steps": 2}


@pytest.fixture(scope="module")
def run(sd_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("make")
    Image.effect_noise((64, 64), 40).convert("RGB").save(folder / "0.png")
    call = ["train", str(folder), "--base", str(sd_path), "--class", "thing", "--steps", "2"]
    more = ["--data.prior.weight", "0", "--train.tensorboard", "false", "--train.lr", "1e-2"]
    more += ["--adapter.targets", FEW]
    assert main([*call, *more, "--out", str(folder / "run")]) == 0
    return Run.open(folder / "run")


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image).astype(int)


def test_each_adapter_is_loaded_once_and_all_are_taken_off(
    run: Run, sd: ModelFamily, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = []
    real = module.load_adapter
    monkeypatch.setattr(module, "load_adapter", lambda *a: loaded.append(a[0]) or real(*a))
    before = pixels(next(generate(sd, [Request("a dog", 1, **CALL)])))
    full = WeightedAdapter(run.adapter_path)
    half = WeightedAdapter(run.adapter_path, strength.parse("0.5"))
    mixes = [(full,), (), (half,), (full,)]
    tasks = [Task(Request("a dog", 1, **CALL), mix) for mix in mixes]
    made = dict(make(sd, tasks))
    assert loaded == [run.adapter_path]
    assert set(made) == {0, 1, 2, 3}
    assert made[0].tobytes() == made[3].tobytes()
    assert len({made[i].tobytes() for i in (0, 1, 2)}) == 3
    assert np.abs(pixels(made[1]) - before).max() <= 1
    again = pixels(next(generate(sd, [Request("a dog", 1, **CALL)])))
    assert (again == before).all()


def test_what_was_worn_last_is_not_read_again(
    run: Run, sd: ModelFamily, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = []
    real = module.load_adapter
    monkeypatch.setattr(module, "load_adapter", lambda *a: loaded.append(a[0].name) or real(*a))
    for name in ("a", "b"):
        shutil.copy(run.adapter_path, tmp_path / f"{name}.safetensors")

    def made(*names: str, weights: str = "1") -> bytes:
        worn = [WeightedAdapter(tmp_path / f"{n}.safetensors", strength.parse(weights))
                for n in names]  # fmt: skip
        task = Task(Request("a dog", 1, **CALL), tuple(worn))
        ((_, image),) = make(sd, [task], wardrobe=wardrobe)
        return image.tobytes()

    wardrobe = Wardrobe(sd, most=2)
    full, bare, half = made("a"), made(), made("a", weights="0.5")
    assert loaded == ["a.safetensors"]
    assert len({full, bare, half}) == 3
    assert made("a") == full, "at the strength that is asked for, not the last one"
    assert made("a", "a") not in (full, bare)  # twice is twice as strong
    made("b")
    made("a")
    assert [name[0] for name in loaded] == ["a", "a", "b", "a"]  # the first had to make room
    other = load_file(tmp_path / "a.safetensors")
    save_file({k: 0.5 * v for k, v in other.items()}, tmp_path / "a.safetensors",
              metadata=safe.header(tmp_path / "a.safetensors")[1])  # fmt: skip
    assert made("a") != full, "a file that has changed is read again"


def test_a_recipe_names_the_file_and_its_strength(run: Run, sd: ModelFamily) -> None:
    for text, weight in (("0.5", 0.5), ("1..0.3", "1..0.3")):
        one = WeightedAdapter(run.adapter_path, strength.parse(text))
        (found,) = Task(Request("x", 0, **CALL), (one,)).recipe(sd)["adapters"]
        assert found["path"] == str(run.adapter_path)
        assert found["name"] == "kaiffin"
        assert (found["weight"], len(found["sha256"])) == (weight, 64)


def test_the_hash_by_which_others_know_an_adapter(
    run: Run, sd: ModelFamily, tmp_path: Path
) -> None:
    """SHA-256 of what follows the header, unless the header says it; computed here once more."""
    data = run.adapter_path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    expected = hashlib.sha256(data[start:]).hexdigest()
    assert safe.header(run.adapter_path)[1]["sshs_model_hash"] == expected
    legacy = hashlib.sha256(data[0x100000:0x110000]).hexdigest()[:8]  # the file is shorter
    assert safe.header(run.adapter_path)[1]["sshs_legacy_hash"] == legacy
    bare, other = tmp_path / "bare.safetensors", tmp_path / "other.safetensors"
    save_file(load_file(run.adapter_path), bare)
    save_file(load_file(run.adapter_path), other, {"sshs_model_hash": "c" * 64})
    assert [safe.model_hash(p) for p in (run.adapter_path, bare)] == [expected] * 2
    assert safe.model_hash(other) == "c" * 64
    assert safe.model_hash(tmp_path) == ""
    task = Task(Request("x", 0, **CALL), (WeightedAdapter(run.adapter_path),))
    assert f"kaiffin: {expected[:12]}" in infotext.written(task.recipe(sd))


def test_an_adapter_of_other_weights_is_said(run: Run, sd: ModelFamily, tmp_path: Path) -> None:
    tasks = [Task(Request("x", 0, **CALL), (WeightedAdapter(run.adapter_path),))]
    other = load_tiny(tiny_sd(tmp_path / "other", seed=1))
    for family, count in ((sd, 0), (other, 1)):
        heard, said = (
            Heard(),
            f"kaiffin.safetensors was trained on other weights than {family.base}",
        )
        list(make(family, tasks, tell=heard))
        assert [said in note for note in heard.notes] == [True] * count


def test_a_picture_that_fails_leaves_no_adapter_behind(run: Run, sd: ModelFamily) -> None:
    before = next(generate(sd, [Request("a dog", 1, **CALL)])).tobytes()
    one = WeightedAdapter(run.adapter_path)
    pictures = make(sd, [Task(Request("a dog", i, **CALL), (one,)) for i in (1, 2)], 1)
    next(pictures)
    pictures.close()
    assert next(generate(sd, [Request("a dog", 1, **CALL)])).tobytes() == before
    broken = run.path / "broken.safetensors"
    broken.write_bytes(b"no adapter")
    with pytest.raises(AdapterError, match=r"broken\.safetensors"):
        list(make(sd, [Task(Request("a dog", 1, **CALL), (WeightedAdapter(broken),))]))
