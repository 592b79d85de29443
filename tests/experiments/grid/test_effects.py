"""What each value of an axis does to the scores, in pairs."""

from kaiffin.experiments.grid import effects
from kaiffin.experiments.grid.axes import Axis, Value
from kaiffin.score.statistics import clustered


def test_an_effect_is_in_pairs_that_have_all_else_equal() -> None:
    """Seeds differ by far more than the axis does, and the difference is exact all the same."""
    axis = Axis("guidance", tuple(Value(v, v, str(v)) for v in (3.0, 5.0)))
    seeds, places, scores = [], [], []
    for seed in range(12):
        for place in (0, 1):
            seeds.append(seed)
            places.append(place)
            scores.append(seed * 1.0 + place * 0.25)
    first, second = effects.effects(axis, places, {"clip_t": scores}, seeds)
    assert (first.value, second.value) == (3.0, 5.0)
    assert first.mean["clip_t"] == clustered(scores[::2], seeds[::2])
    gain = second.against_first["clip_t"]
    assert (gain.mean, gain.low, gain.high, gain.n) == (0.25, 0.25, 0.25, 12)
    assert first.mean["clip_t"].high - first.mean["clip_t"].low > 2
