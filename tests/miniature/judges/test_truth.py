"""The judge of truth, trained for seconds: it learns, and what is saved is what judges."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import save_file

from kaiffin.miniature.judges import truth
from kaiffin.miniature.world import world
from kaiffin.miniature.world.vocabulary import SCENES, SPECIES, Spec


@pytest.fixture(scope="module")
def small() -> truth.Truth:
    return truth.Truth(truth.train(1, pictures=64, steps=14))


def renders(count: int) -> tuple[list[Image.Image], list[Spec]]:
    """Pictures that `small` was not trained on."""
    specs = [truth.spec(9, index) for index in range(count)]
    return [world.render(spec) for spec in specs], specs


def test_it_learns_the_scenes(small: truth.Truth) -> None:
    images, specs = renders(64)
    named = [truth.likeliest(found["scene"]) for found in small.judge(images)]
    right = np.mean([name == spec.scene for name, spec in zip(named, specs, strict=True)])
    assert right > 0.4  # by chance 1 in 8


def test_answers_are_probabilities_of_every_word(small: truth.Truth) -> None:
    found = small.judge([world.subject_render("plush", size=128)])[0]
    assert set(found["species"]) == {*SPECIES, *world.SUBJECTS, "none"}
    assert set(found["scene"]) == set(SCENES)
    assert all(abs(sum(shares.values()) - 1) < 1e-5 for shares in found.values())


def test_a_judge_of_all_six_knows_them() -> None:
    net = truth.train(1, pictures=32, steps=1, subjects=world.CAST)
    found = truth.Truth(net).judge([world.subject_render("zandor")])[0]
    assert set(found["species"]) == {*SPECIES, *world.CAST, "none"}
    specs = [truth.spec(3, index, world.CAST) for index in range(400)]
    drawn = [spec.species for spec in specs if spec.species in world.CAST]
    assert min(drawn.count(name) for name in world.CAST) > 10


def test_right_is_the_character_and_the_scene(small: truth.Truth) -> None:
    image = world.subject_render("plush", "snow")
    found = small.judge([image])[0]
    who, where = truth.likeliest(found["species"]), truth.likeliest(found["scene"])
    elsewhere = next(scene for scene in SCENES if scene != where)
    other = next(name for name in found["species"] if name != who)
    assert small.right([image, image], who, [where, elsewhere]) == [True, False]
    assert small.right([image], other, [where]) == [False]
    with pytest.raises(ValueError, match="no pairs"):
        small.right([image], who, [])


def test_a_judge_that_is_there_is_read_and_not_trained(small: truth.Truth, tmp_path: Path) -> None:
    path = tmp_path / "truth.safetensors"
    save_file(small.net.state_dict(), path)
    before = path.read_bytes()
    images, _ = renders(4)
    assert truth.load_truth(path).judge(images) == small.judge(images)
    assert path.read_bytes() == before


def test_many_pictures_are_of_the_characters_and_of_what_they_are_mistaken_for() -> None:
    specs = [truth.spec(3, index) for index in range(400)]
    subjects = [spec for spec in specs if spec.species in world.SUBJECTS]
    plain = [spec for spec in specs if (spec.species, spec.colour) == ("bear", "brown")]
    assert 0.3 < len(subjects) / len(specs) < 0.5
    assert len(plain) > 20
    assert len([spec for spec in specs if spec.individual is not None]) > 40
    assert all(spec.individual is None for spec in subjects)
