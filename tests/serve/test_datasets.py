"""Datasets on the disk: what a training finds, what stands aside, what goes."""

import asyncio
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image
from served import World, jpeg

from kaiffin.foundation.errors import PhotoError
from kaiffin.serve.database import new_id
from kaiffin.serve.datasets import Photo
from kaiffin.serve.decoding import Looked
from kaiffin.serve.jobs import Conflict, NotFound


@pytest.fixture(scope="module")
def loop(world: World) -> Iterator[asyncio.AbstractEventLoop]:
    found = asyncio.new_event_loop()
    yield found
    found.run_until_complete(world.service.decoder.close())
    found.close()


def add(world: World, loop: asyncio.AbstractEventLoop, dataset: str, data: bytes) -> Photo:
    path = incoming(world, data)
    adding = world.service.datasets.add("ada", dataset, path, "mine.jpg", "a word")
    try:
        return loop.run_until_complete(adding)
    finally:
        path.unlink(missing_ok=True)


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_photo_its_caption_and_its_crops(world: World, loop: asyncio.AbstractEventLoop) -> None:
    datasets = world.service.datasets
    id = datasets.create("ada", "mine").id
    folder = world.studio.dataset(id)
    photo = add(world, loop, id, jpeg(side=128))
    name, data = photo.id, (folder / f"{photo.id}.jpg").read_bytes()
    assert files(folder) == [f"{name}.jpg", f"{name}.txt"]
    assert (folder / f"{name}.txt").read_text() == "a word"
    assert add(world, loop, id, jpeg(side=128)).id == name  # the same bytes

    crop = {"left": 8, "top": 8, "width": 64, "height": 32}
    changed = loop.run_until_complete(datasets.change(photo, crop=crop, caption=""))
    assert (changed.crop, changed.caption) == (crop, "")
    assert files(folder) == [f"{name}.png"]
    with Image.open(folder / f"{name}.png") as cut:
        assert cut.size == (64, 32)
    other = {"left": 0, "top": 0, "width": 128, "height": 128}  # of the whole, not of the part
    assert loop.run_until_complete(datasets.change(changed, crop=other)).crop == other
    assert loop.run_until_complete(datasets.change(changed, uncrop=True)).crop is None
    assert files(folder) == [f"{name}.jpg"]
    assert (folder / f"{name}.jpg").read_bytes() == data


def test_a_png_is_cropped_in_its_place(world: World, loop: asyncio.AbstractEventLoop) -> None:
    import io

    datasets = world.service.datasets
    id = datasets.create("ada", "").id
    file = io.BytesIO()
    Image.effect_noise((64, 64), 50).save(file, format="PNG")
    photo = add(world, loop, id, file.getvalue())
    crop = {"left": 0, "top": 0, "width": 16, "height": 16}
    loop.run_until_complete(datasets.change(photo, crop=crop))
    loop.run_until_complete(datasets.change(photo, uncrop=True))
    assert (world.studio.dataset(id) / f"{photo.id}.png").read_bytes() == file.getvalue()


def test_what_is_no_photo_leaves_nothing(world: World, loop: asyncio.AbstractEventLoop) -> None:
    id = world.service.datasets.create("ada", "").id
    with pytest.raises(PhotoError):
        add(world, loop, id, b"PK\3\4" + bytes(50))
    assert files(world.studio.dataset(id)) == []
    assert files(world.studio.path / "incoming") == []


def incoming(world: World, data: bytes) -> Path:
    path = world.studio.folder("incoming") / new_id()
    path.write_bytes(data)
    return path


def test_the_same_at_once_is_kept_once(world: World) -> None:
    datasets = world.service.datasets
    id = datasets.create("ada", "").id
    looked = Looked(64, 64, "same", "JPEG", ())
    paths = [incoming(world, jpeg()) for _ in range(8)]
    with ThreadPoolExecutor(len(paths)) as pool:
        kept = list(pool.map(lambda path: datasets._keep(id, path, "", "", looked), paths))
    assert len({photo.id for photo in kept}) == 1
    assert files(world.studio.dataset(id)) == [f"{kept[0].id}.jpg"]
    for path in paths:
        path.unlink(missing_ok=True)


def test_what_the_table_did_not_take_is_not_trained_on(world: World) -> None:
    datasets, writer = world.service.datasets, world.studio.db._writer
    id, path = datasets.create("ada", "").id, incoming(world, jpeg())
    assert writer is not None
    writer.execute(
        "CREATE TRIGGER full BEFORE INSERT ON photos BEGIN SELECT RAISE(ABORT, 'full'); END"
    )
    try:
        with pytest.raises(sqlite3.Error, match="full"):
            datasets._keep(id, path, "", "", Looked(64, 64, "new", "JPEG", ()))
    finally:
        writer.execute("DROP TRIGGER full")
        path.unlink(missing_ok=True)
    assert files(world.studio.dataset(id)) == []


def test_a_caption_follows_a_photo_that_is_left_out_meanwhile(
    world: World, loop: asyncio.AbstractEventLoop
) -> None:
    datasets = world.service.datasets
    id = datasets.create("ada", "").id
    photo = add(world, loop, id, jpeg((3, 2, 1)))
    datasets.leave_out(photo, True)
    loop.run_until_complete(datasets.change(photo, caption="another"))  # who had it as it was
    assert files(world.studio.dataset(id)) == []
    text = world.studio.path / "left-out" / f"{photo.id}.txt"
    assert text.read_text() == "another"
    assert datasets.leave_out(photo, False).caption == "another"
    assert files(world.studio.dataset(id)) == [f"{photo.id}.jpg", f"{photo.id}.txt"]


def test_one_that_a_job_works_with_stays(world: World, loop: asyncio.AbstractEventLoop) -> None:
    datasets, jobs = world.service.datasets, world.studio.jobs
    id = datasets.create("ada", "").id
    photo = add(world, loop, id, jpeg((1, 2, 3)))
    job = jobs.submit("ada", "scan", {"dataset": id})
    for act in (lambda: datasets.delete("ada", id), lambda: datasets.remove("ada", photo)):
        with pytest.raises(Conflict, match=job.id):
            act()
    jobs.cancel("ada", job.id)
    datasets.delete("ada", id)
    assert not world.studio.dataset(id).exists()
    assert not datasets.picture(photo, thumb=True).exists()
    with pytest.raises(NotFound):
        datasets.get("ada", id)
