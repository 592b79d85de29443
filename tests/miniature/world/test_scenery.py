"""The places: told apart, the same every time, lit by the time of day."""

import numpy as np
import pytest

from kaiffin.miniature.world import world
from kaiffin.miniature.world.scenery import SCENE_PAINTERS, TINT
from kaiffin.miniature.world.vocabulary import INDOORS, SCENES, TIMES, Spec


def scene(name: str, **more: object) -> np.ndarray:
    return np.asarray(world.render(Spec(None, "red", name, **more))).astype(int)


def test_there_is_a_painter_for_each_and_a_tint_for_each_time() -> None:
    assert set(SCENE_PAINTERS) == set(SCENES)
    assert set(TINT) == set(TIMES)


def test_no_two_look_alike() -> None:
    pictures = {name: scene(name) for name in SCENES}
    for name, one in pictures.items():
        assert np.array_equal(one, scene(name))
        for other in set(SCENES) - {name}:
            assert np.abs(one - pictures[other]).mean() > 10, (name, other)


@pytest.mark.parametrize("name", list(SCENES))
def test_the_time_of_day_is_seen_outdoors_alone(name: str) -> None:
    day, sunset, night = (scene(name, time=time) for time in TIMES)
    if name in INDOORS:
        assert np.array_equal(day, sunset)
        assert np.array_equal(day, night)
        return
    assert night.mean() < sunset.mean() < day.mean()
    assert night.mean() < 0.85 * day.mean()


def test_details_move_small_things_and_keep_the_place() -> None:
    moved = 0
    for name in SCENES:
        one, other = scene(name, detail=1), scene(name, detail=2)
        changed = (one != other).any(-1).mean()
        assert changed < 0.35, name
        moved += changed > 0
    assert moved >= 3
