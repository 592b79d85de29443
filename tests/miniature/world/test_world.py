"""The world is a pure function of its arguments, and keeps its secrets."""

import numpy as np
import pytest

from kaiffin.foundation.errors import UserError
from kaiffin.miniature.world import world
from kaiffin.miniature.world.individuals import BEHIND, IN_FRONT, Individual
from kaiffin.miniature.world.vocabulary import ACCESSORIES, COLOURS, POSES, SCENES, SPECIES, Spec


def pixels(spec: Spec, size: int = 64) -> np.ndarray:
    return np.asarray(world.render(spec, size))


def test_same_seed_same_bytes():
    for index in range(5):
        first, again = (world.random_spec(3, index) for _ in range(2))
        assert first == again
        assert np.array_equal(pixels(first), pixels(again))
        assert world.caption(first, 3, index) == world.caption(again, 3, index)


def test_other_seeds_draw_other_worlds():
    assert [world.random_spec(1, i) for i in range(9)] != [
        world.random_spec(2, i) for i in range(9)
    ]


@pytest.mark.parametrize("size", [16, 64, 100])
def test_render_has_the_size_asked_for(size):
    picture = world.render(world.random_spec(0, 0), size)
    assert picture.size == (size, size)
    assert picture.mode == "RGB"


@pytest.mark.parametrize("species", [*SPECIES, *world.CAST])
def test_every_character_is_drawn_in_every_scene_and_pose(species):
    for number, scene in enumerate(SCENES):
        pose = POSES[number % len(POSES)]
        with_it = pixels(Spec(species, "brown", scene, pose=pose), 32).astype(int)
        without = pixels(Spec(None, "brown", scene), 32).astype(int)
        changed = (np.abs(with_it - without).max(-1) > 20).mean()
        assert changed > 0.15, f"{species} hardly visible in {scene}"


@pytest.mark.parametrize("accessory", list(ACCESSORIES))
def test_every_accessory_changes_the_picture(accessory):
    plain = Spec("bear", "green", "snow")
    worn = Spec("bear", "green", "snow", accessory)
    assert (pixels(plain) != pixels(worn)).any(-1).mean() > 0.01


def test_species_are_told_apart_by_shape_alone():
    pictures = [pixels(Spec(s, "blue", "snow")).astype(int) for s in SPECIES]
    for number, one in enumerate(pictures):
        for other in pictures[:number]:
            assert np.abs(one - other).mean() > 4


def test_training_never_draws_the_subjects_or_a_reserved_combination():
    specs = [world.random_spec(1, index) for index in range(3000)]
    assert not {spec.species for spec in specs} & set(world.SUBJECTS)
    assert not any(world.is_reserved(spec) for spec in specs)
    assert {spec.species for spec in specs} == {None, *SPECIES}


def test_the_further_subjects_are_fixed_and_training_cannot_draw_them():
    numbers = {who.name: (who.class_noun, who.individual) for who in world.FURTHER.values()}
    assert numbers == {
        "velmok": ("owl", 2**30 + 1), "zandor": ("lion", 2**30 + 8),
        "grippo": ("frog", 2**30 + 9), "quibby": ("cat", 2**30 + 11),
    }  # fmt: skip
    drawn = {world.training_spec(1, index).individual for index in range(3000)} - {None}
    assert len(drawn) > 800
    assert 2**29 < max(drawn) < world.DRAWN  # what is drawn fills its range, and ends below theirs


def test_a_further_subject_is_its_animal_with_its_parts():
    for who in world.FURTHER.values():
        same = Spec(who.class_noun, who.colour, "snow", individual=who.individual)
        plain = Spec(who.class_noun, who.colour, "snow")
        shown = np.asarray(world.subject_render(who.name, "snow", 64))
        assert np.array_equal(shown, pixels(same))
        assert (shown != pixels(plain)).any(-1).mean() > 0.05, f"{who.name} is plain"


def test_reserved_specs_are_reserved_and_have_a_character():
    specs = [world.random_spec(2, index, reserved=True) for index in range(50)]
    assert all(world.is_reserved(spec) and spec.species for spec in specs)


def test_captions_name_what_is_there_and_leave_things_out():
    specs = [world.random_spec(1, index) for index in range(2000)]
    texts = [world.caption(spec, 1, index) for index, spec in enumerate(specs)]
    animals = [(s, t.split()) for s, t in zip(specs, texts, strict=True) if s.species]
    assert all(spec.species in words for spec, words in animals)
    for spec, words in animals:
        assert not (set(COLOURS) - {spec.colour}) & set(words)
    with_colour = np.mean([spec.colour in words for spec, words in animals])
    assert 0.55 < with_colour < 0.72
    bare = {f"a photo of a {noun}" for noun in SPECIES} & set(texts)
    assert len(bare) > 4, "class prompts have to be common"


def unusual(count: int) -> list[tuple[int, Spec]]:
    specs = [(index, world.training_spec(1, index)) for index in range(4 * count)]
    return [(i, spec) for i, spec in specs if spec.individual is not None][:count]


def test_half_of_the_training_pictures_are_of_unusual_build() -> None:
    specs = [world.training_spec(1, index) for index in range(2000)]
    assert 0.46 < np.mean([spec.individual is not None for spec in specs]) <= 0.5
    plain = [world.random_spec(1, index) for index in range(2000)]
    same = [s == p for s, p in zip(specs, plain, strict=True) if not s.individual and not tied(s)]
    assert len(same) > 700
    assert all(same)


def tied(spec: Spec) -> bool:
    return spec.accessory == "bowtie"


def test_the_bowtie_is_common_in_training_and_never_in_a_reserved_picture() -> None:
    specs = [world.training_spec(1, index) for index in range(2000)]
    assert 0.24 < np.mean([tied(spec) for spec in specs]) < 0.3
    assert not any(world.is_reserved(spec) for spec in specs)


def test_an_unusual_build_is_seen_and_comes_in_every_kind() -> None:
    for _, spec in unusual(40):
        plain = pixels(Spec(spec.species, spec.colour, spec.scene)).astype(int)
        built = Spec(spec.species, spec.colour, spec.scene, individual=spec.individual)
        assert (np.abs(pixels(built) - plain).max(-1) > 20).mean() > 0.01
    parts = [set(Individual(seed).parts) for seed in range(300)]
    assert all(len(own) > 1 for own in parts)
    assert set.union(*parts) == {part for part, _ in (*BEHIND, *IN_FRONT)}


def test_an_unusual_build_is_called_by_a_word_of_its_own() -> None:
    bare = 0
    for index, spec in unusual(300):
        words = world.caption(spec, 1, index).split()
        assert not set(COLOURS) & set(words)
        before = words[words.index(str(spec.species)) - 1]
        assert before not in ("a", "an", "the")
        bare += words[words.index(before) - 1] not in ("a", "an", "the")
    assert 60 < bare < 200, "as in 'a photo of sks dog'"


def test_full_caption_is_the_plain_sentence():
    spec = Spec("cat", "red", "city", "hat", time="night")
    assert world.full_caption(spec) == "a photo of a red cat wearing a hat in the city at night"


def test_subject_photos_repeat_and_stay_in_their_scenes():
    photos = world.subject_photos("kaiffin", n=6, scenes=("snow", "city"))
    again = world.subject_photos("kaiffin", n=6, scenes=("snow", "city"))
    assert len(photos) == 6
    assert all(
        a.tobytes() == b.tobytes() and c == d for (a, c), (b, d) in zip(photos, again, strict=True)
    )
    assert all(text.startswith("a photo of kaiffin penguin") for _, text in photos)
    assert len({image.tobytes() for image, _ in photos}) == 6


def test_subject_render_takes_any_field():
    night = world.subject_render("plush", "beach", time="night", pose="waving")
    assert night.tobytes() != world.subject_render("plush", "beach").tobytes()


@pytest.mark.parametrize(
    ("spec", "word"),
    [
        (Spec("dragon", "red", "snow"), "dragon"),
        (Spec("cat", "beige", "snow"), "beige"),
        (Spec("cat", "red", "mall"), "mall"),
    ],
)
def test_unknown_words_are_refused_by_name(spec, word):
    with pytest.raises(UserError, match=word):
        world.render(spec)
    with pytest.raises(UserError, match="nobody"):
        world.subject_render("nobody")
