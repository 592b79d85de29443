"""The picture pool: `count` renders of the world in one memory-mapped file, made once.

Picture i is `world.render(world.training_spec(seed, i))`, so the pool is a cache and nothing else.
"""

import multiprocessing
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from kaiffin.foundation.tell import SILENT, Tell
from kaiffin.miniature.world import world

CHUNK = 512


def _render_chunk(job: tuple[str, int, int, int, int, bool]) -> int:
    """Render pictures [start, stop) into the open file; returns how many."""
    path, size, seed, start, stop, reserved = job
    pixels = np.load(path, mmap_mode="r+")
    for index in range(start, stop):
        spec = (
            world.random_spec(seed, index, reserved=True)
            if reserved
            else world.training_spec(seed, index)
        )
        pixels[index] = np.asarray(world.render(spec, size))
    pixels.flush()
    return stop - start


@contextmanager
def _workers(count: int) -> Iterator:
    with multiprocessing.get_context("spawn").Pool(count) as pool:
        yield pool.imap_unordered


def render_pool(
    path: Path,
    count: int,
    size: int,
    seed: int,
    workers: int = 2,
    reserved: bool = False,
    tell: Tell = SILENT,
) -> np.ndarray:
    """Render the pool into `path` unless it is there; (count, size, size, 3) uint8, read-only."""
    if not path.exists():
        # Drawn in place by many processes, and too large to be held: no case for `write_bytes`.
        draft = path.with_suffix(".draft.npy")
        np.lib.format.open_memmap(draft, "w+", np.uint8, (count, size, size, 3)).flush()
        jobs = [
            (str(draft), size, seed, start, min(start + CHUNK, count), reserved)
            for start in range(0, count, CHUNK)
        ]
        with _workers(workers) as run, tell.progress("pictures", count) as progress:
            for made in run(_render_chunk, jobs):
                progress.advance(made)
        os.replace(draft, path)
    return np.load(path, mmap_mode="r")
