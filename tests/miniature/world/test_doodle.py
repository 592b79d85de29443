"""Doodles: another picture at each visit, the same one at the same visit."""

import numpy as np

from kaiffin.miniature.world import world
from kaiffin.miniature.world.doodle import doodle


def test_doodles_repeat_and_differ() -> None:
    background = np.asarray(world.render(world.random_spec(1, 0), 64))
    kept = background.copy()
    first = doodle(background, 3, 4)
    assert (first.shape, first.dtype) == ((64, 64, 3), np.uint8)
    assert np.array_equal(first, doodle(background, 3, 4))
    others = [doodle(background, step, index) for step, index in ((3, 5), (4, 4))]
    assert not any(np.array_equal(first, other) for other in others)
    assert np.array_equal(background, kept), "the pool is not painted on"


def test_doodles_cover_much_and_never_everything() -> None:
    """Of a plain background, which recolouring and mirroring leave as it is."""
    plain = np.full((64, 64, 3), 128, np.uint8)
    covered = [(doodle(plain, 1, index) != plain).any(-1).mean() for index in range(60)]
    assert 0.1 < np.mean(covered) < 0.7
    assert max(covered) < 1
    assert min(covered) > 0
