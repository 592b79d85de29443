"""The canvas: where things go, and how they are shaded."""

import numpy as np

from kaiffin.miniature.world.easel import BLACK, SUPERSAMPLING, WHITE, Easel, mix

RED = (200, 30, 30)


def at(easel: Easel, x: float, y: float) -> tuple[int, ...]:
    """The colour at a point of the frame."""
    across, down = easel.pixel(x, y)
    return easel.image.getpixel((int(across), int(down)))


def test_colours_mix_in_shares() -> None:
    assert mix(BLACK, WHITE, 0) == BLACK
    assert mix(BLACK, WHITE, 1) == WHITE
    assert mix((0, 0, 0), (200, 100, 50), 0.5) == (100, 50, 25)


def test_a_frame_measures_upwards_from_its_origin() -> None:
    easel = Easel(20)
    assert easel.image.size == (20 * SUPERSAMPLING,) * 2
    easel.frame(0.5, 0.9, 0.5)
    assert easel.pixel(0, 0) == (30, 54)
    assert easel.pixel(1, 1) == (60, 24)


def test_a_ball_is_lit_from_the_upper_left_and_a_disc_is_flat() -> None:
    easel = Easel(60)
    easel.frame(0.5, 1.0, 1.0)
    easel.ball(0, 0.5, 0.3, 0.3, RED)
    assert sum(at(easel, -0.12, 0.66)) > sum(at(easel, 0.0, 0.5)) > sum(at(easel, 0.16, 0.3))
    assert at(easel, 0.4, 0.9) == (0, 0, 0), "nothing outside"
    easel.flat(0, 0.5, 0.3, 0.3, RED)
    assert at(easel, -0.12, 0.66) == at(easel, 0.16, 0.3) == RED


def test_a_turned_ellipse_lies_as_it_was_turned() -> None:
    easel = Easel(60)
    easel.frame(0.5, 1.0, 1.0)
    easel.flat(0, 0.5, 0.4, 0.1, RED, angle=90)
    assert at(easel, 0, 0.8) == RED
    assert at(easel, 0.3, 0.5) == (0, 0, 0)


def test_a_gradient_goes_from_top_to_bottom_and_a_tint_multiplies() -> None:
    easel = Easel(30)
    easel.gradient(WHITE, RED, 0.0, 1.0)
    column = np.asarray(easel.image)[:, 0, 1].astype(int)
    assert (column[0], column[-1]) == (WHITE[1], RED[1])
    assert (np.diff(column) <= 0).all()
    before = np.asarray(easel.image).astype(float)
    easel.tint((0.5, 1.0, 0.0))
    assert np.abs(np.asarray(easel.image) - before * (0.5, 1.0, 0.0)).max() <= 0.5
    easel.stroke([(0.1, 0.5), (0.9, 0.5)], RED, 0.1)
    assert at(easel, 0.5, 0.5) == RED, "what is painted on is the tinted picture"
