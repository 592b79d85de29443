"""The pool of pictures: a cache of the world, made once."""

import contextlib
from pathlib import Path

import numpy as np

from kaiffin.foundation.tell import Progress, Tell
from kaiffin.miniature.build import pool as pools
from kaiffin.miniature.build.pool import render_pool
from kaiffin.miniature.world import world


def test_pool_is_the_renders_in_order(tmp_path):
    pool = render_pool(tmp_path / "pool.npy", 4, 16, seed=5, workers=1)
    for index, pixels in enumerate(pool):
        assert np.array_equal(pixels, np.asarray(world.render(world.training_spec(5, index), 16)))


def test_what_is_there_is_read_and_what_was_cut_short_is_not(tmp_path: Path, monkeypatch) -> None:
    """A draft is no pool; held-out pictures are of reserved combinations; waits are told."""
    waits: list[Progress] = []

    class Told(Tell):
        def progress(self, text: str, total: int | None = None):
            waits.append(Progress(total))
            return contextlib.nullcontext(waits[-1])

    @contextlib.contextmanager
    def here(count: int):
        yield map

    monkeypatch.setattr(pools, "_workers", here)
    path = tmp_path / "pool.npy"
    path.with_suffix(".draft.npy").write_bytes(b"half")
    made = render_pool(path, 3, 16, seed=2, reserved=True, tell=Told())
    assert (waits[0].done, waits[0].total) == (3, 3)
    for index, pixels in enumerate(made):
        spec = world.random_spec(2, index, reserved=True)
        assert np.array_equal(pixels, np.asarray(world.render(spec, 16)))
    assert [file.name for file in tmp_path.iterdir()] == ["pool.npy"]
    monkeypatch.setattr(pools, "_workers", None)
    assert np.array_equal(render_pool(path, 3, 16, seed=2), made)
