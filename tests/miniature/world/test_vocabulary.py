"""What captions say can be read back: it is what was drawn, and means one thing."""

from kaiffin.miniature.world import world
from kaiffin.miniature.world.vocabulary import (
    ACCESSORIES,
    COLOURS,
    POSES,
    SCENES,
    SPECIES,
    TIMES,
    Spec,
)


def said(text: str) -> dict[str, set[str]]:
    """For each field of a spec, the answers that a caption names."""
    padded = f" {text} "
    ways = {
        "species": {word: (word,) for word in SPECIES},
        "colour": {word: (word,) for word in COLOURS},
        "pose": {word: (word,) for word in POSES},
        "scene": SCENES, "accessory": ACCESSORIES,
        "time": {time: tuple(filter(None, phrases)) for time, phrases in TIMES.items()},
    }  # fmt: skip
    return {
        field: {a for a, phrases in known.items() if any(f" {p} " in padded for p in phrases)}
        for field, known in ways.items()
    }


def test_a_caption_names_what_was_drawn_and_nothing_else() -> None:
    named = dict.fromkeys(("species", "colour", "pose", "scene", "accessory", "time"), 0)
    for index in range(1500):
        spec = world.random_spec(1, index)
        for field, answers in said(world.caption(spec, 1, index)).items():
            assert answers <= {getattr(spec, field)}, (field, world.caption(spec, 1, index))
            named[field] += len(answers)
    assert min(named.values()) > 200, "each is often said"


def test_a_full_caption_says_everything_but_the_pose() -> None:
    for index in range(200):
        spec = world.random_spec(3, index, reserved=True)
        found = said(world.full_caption(spec))
        for field in ("species", "colour", "scene"):
            assert found[field] == {getattr(spec, field)}
        assert found["accessory"] == ({spec.accessory} if spec.accessory else set())


def test_no_phrase_means_two_things() -> None:
    for table in (SCENES, ACCESSORIES):
        phrases = [phrase for ways in table.values() for phrase in ways]
        assert len(set(phrases)) == len(phrases)
    assert not set(SPECIES) & set(world.SUBJECTS)


def test_an_unusual_build_is_never_held_out() -> None:
    """The characters that a user teaches are of no build that training knows."""
    specs = [world.training_spec(1, index) for index in range(500)]
    assert all(spec.species in SPECIES for spec in specs if spec.individual is not None)
    assert all(world.subject_spec(name).individual is None for name in world.SUBJECTS)
    reserved = [world.random_spec(1, index, reserved=True) for index in range(200)]
    assert all(spec.individual is None for spec in reserved)
    assert Spec("cat", "red", "snow").individual is None
