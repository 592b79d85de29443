"""The painter: what it makes is what `generate` makes, together where settings agree."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from asked import open_studio, pictures, training
from hearing import Heard
from PIL import Image

from kaiffin.experiments.work import workers
from kaiffin.experiments.work.jobs import Job as Work
from kaiffin.pictures import make
from kaiffin.pictures.batches import Batches
from kaiffin.pictures.recipe import read_recipe
from kaiffin.pictures.start import File, Start
from kaiffin.serve import painter as module
from kaiffin.serve.kinds import KINDS
from kaiffin.serve.orders import given_away
from kaiffin.serve.painter import Painter, paint
from kaiffin.serve.spool import Spool
from kaiffin.serve.studio import Studio
from kaiffin.serve.work import House, Task, picture_id
from kaiffin.stories.generate import Order, generate


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    made = open_studio(tmp_path_factory.mktemp("painter") / "studio")
    yield made
    made.close()


@pytest.fixture(scope="module")
def run(studio: Studio, sd_path: Path) -> str:
    asked = training(sd_path, steps=2, train__lr=1e-2)
    job = studio.jobs.submit("ann", "train", asked)
    KINDS["train"](Task(job.id, "train", asked, studio, House()), Heard())
    return job.id


class Easel:
    """A painter in this process, one turn at a time."""

    def __init__(self, studio: Studio, folder: Path, most: int = 8) -> None:
        self.studio, self.told = studio, Heard()
        self.spool = Spool(folder / "painter")
        self.spool.make()
        batches = Batches(folder / "batches.json")
        batches.most = lambda key, waiting: most  # ty: ignore[invalid-assignment]
        self.painter = Painter(self.spool, batches, str, self.told)
        self.number = 0
        self.sizes: list[int] = []

    def give(self, id: str, **asked: Any) -> None:
        self.number += 1
        self.spool.give(self.number, id, {"kind": "generate", "request": pictures(**asked)})

    def turn(self) -> bool:
        self.painter.look(lambda id, said: Task(id, said["kind"], said["request"], self.studio,
                                                House()))  # fmt: skip
        return self.painter.work()

    def notes(self, job: str) -> list[str]:
        """What whoever asked for it has not been told yet."""
        news = self.spool.news()
        return [facts["text"] for _, id, which, facts in news if (id, which[-5:]) == (job, ".note")]

    def paint(self) -> dict[str, dict[str, Any]]:
        """Until nothing is left; {job: how it ended}."""
        while self.turn():
            self.sizes.append(len(self.spool.computing()))
        news = list(self.spool.news())
        for path, *_ in news:
            path.unlink()
        return {id: facts for _, id, which, facts in news if which == "end"}


@pytest.fixture
def easel(studio: Studio, tmp_path: Path) -> Easel:
    return Easel(studio, tmp_path)


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image).astype(int)


def test_pictures_of_many_that_agree_are_computed_together(
    studio: Studio, run: str, sd_path: Path, easel: Easel, tmp_path: Path
) -> None:
    """And are those of `generate`, with its recipe."""
    easel.give("a" * 16, run=run, count=2, prompts=["a {token}"])
    easel.give("b" * 16, run=run, seed=7, prompts=["a {token} in the snow"])
    easel.give("c" * 16, base=sd_path, seed=7)
    easel.give("d" * 16, run=run, seed=9, sample={"steps": 3})
    ends = easel.paint()
    assert ends == {letter * 16: {} for letter in "abcd"}
    assert easel.sizes == [2, 1, 1]  # jobs: a with b, then c, then d
    order = Order(str(studio.run(run)), ["a {token}"], count=2, out=tmp_path / "alone")
    alone = generate(order, changes={"sample.steps": 2}).paths
    for number, path in enumerate(alone):
        made = studio.image(picture_id("a" * 16, number))
        assert np.abs(pixels(made) - pixels(path)).max() <= 1
        assert read_recipe(made) == given_away(read_recipe(path)) | {"batch": 3}


def test_a_prompt_names_its_adapter(
    studio: Studio, run: str, sd_path: Path, easel: Easel, tmp_path: Path
) -> None:
    """The picture is that of the run itself at that weight."""
    prompt = "a {token} <lora:toy:0.5>"
    easel.give("e" * 16, base=sd_path, prompts=[prompt], names={"toy": run})
    easel.turn()
    assert any("the prompt's adapter toy is" in text for text in easel.notes("e" * 16))
    assert any("{token} is 'kai'" in text for text in easel.notes("e" * 16))
    assert easel.paint() == {"e" * 16: {}}
    order = Order(str(studio.run(run)), ["a {token}"], strength=0.5, out=tmp_path / "alone")
    (path,) = generate(order, changes={"sample.steps": 2}).paths
    made = studio.image(picture_id("e" * 16, 0))
    assert np.abs(pixels(made) - pixels(path)).max() <= 1
    recipe = read_recipe(made)
    assert recipe["request"]["prompt"] == "a kai"
    assert [(one["name"], one["weight"]) for one in recipe["adapters"]] == [("toy", 0.5)]


def test_everybody_hears_that_an_adapter_is_of_other_weights(
    run: str, sd_v_path: Path, easel: Easel
) -> None:
    """Once for each job, of however many pictures; also where the adapter was in memory."""
    easel.painter.batches.most = lambda key, waiting: 1  # ty: ignore[invalid-assignment]
    jobs = ["f" * 16, "0" * 16]
    for job in jobs:
        easel.give(job, base=sd_v_path, prompts=["a <lora:toy:1>"], names={"toy": run}, count=2)
    while easel.turn():
        pass
    for job in jobs:
        told = [text for text in easel.notes(job) if "was trained on other weights than" in text]
        assert len(told) == 1
    assert easel.paint() == {job: {} for job in jobs}


def test_pictures_over_one_that_the_job_has_kept(
    studio: Studio, sd_path: Path, easel: Easel, tmp_path: Path
) -> None:
    """As `generate` makes them, together with others of the same way in, with their true size."""
    photo = tmp_path / "image.png"
    Image.effect_noise((64, 64), 60).convert("RGB").save(photo)
    start = {"image": "i" * 16, "strength": 0.6, "upscale": 1.5, "mask": None}
    for id in ("a" * 16, "b" * 16):
        studio.made(id).mkdir(parents=True)
        shutil.copy(photo, studio.made(id) / "image.png")
    easel.give("a" * 16, base=sd_path, start=start, sample={"steps": 4}, count=2)
    easel.give("b" * 16, base=sd_path, start=start | {"image": None, "strength": 0.6, "vary": 0.5})
    assert easel.paint() == {"a" * 16: {}, "b" * 16: {}}
    way = Start(image=File.at(photo), strength=0.6, upscale=1.5)
    order = Order(str(sd_path), ["a red car"], count=2, start=way, out=tmp_path / "alone")
    for number, path in enumerate(generate(order, changes={"sample.steps": 4}).paths):
        made = studio.image(picture_id("a" * 16, number))
        assert pixels(made).shape == (96, 96, 3)
        assert np.abs(pixels(made) - pixels(path)).max() <= 1
        kept = read_recipe(made)["request"]["start"]["image"]
        assert (kept["path"], kept["sha256"]) == ("image.png", File.at(photo).sha256)


def test_bases_and_adapters_stay_warm(
    run: str, easel: Easel, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    for where, name in ((module, "load_base"), (make, "load_adapter")):
        real = getattr(where, name)
        monkeypatch.setattr(where, name, lambda *a, n=name, f=real: read.append(n) or f(*a))
    for seed in range(3):
        easel.give(str(seed) * 16, run=run, seed=seed)
        easel.paint()
    assert read == ["load_base", "load_adapter"]


def test_a_cancelled_job_stops_within_a_step(sd_path: Path, easel: Easel) -> None:
    seen: list[int] = []
    cancelled = easel.spool.cancelled

    def after_three_steps() -> set[str]:
        seen.append(1)
        if len(seen) == 4:  # the first look is before the batch
            easel.spool.cancel("a" * 16)
        return cancelled()

    easel.spool.cancelled = after_three_steps  # ty: ignore[invalid-assignment]
    easel.give("a" * 16, base=sd_path, sample={"steps": 100}, count=3)
    assert easel.paint() == {}
    assert len(seen) < 10
    easel.give("a" * 16, base=sd_path, count=3)  # asked for again
    assert easel.paint() == {"a" * 16: {}}
    assert not easel.painter.left


def test_others_in_the_batch_do_not_notice_a_cancel(sd_path: Path, easel: Easel) -> None:
    easel.give("a" * 16, base=sd_path)
    easel.give("b" * 16, base=sd_path, seed=1)
    easel.give("c" * 16, base=sd_path, seed=2)
    easel.spool.cancel("b" * 16)
    assert easel.paint() == {"a" * 16: {}, "c" * 16: {}}
    assert easel.sizes == [2]


def test_pictures_in_the_making_are_shown_to_who_asked(
    studio: Studio, sd_path: Path, easel: Easel
) -> None:
    easel.give("a" * 16, base=sd_path, sample={"steps": 5}, preview_every=2)
    easel.give("b" * 16, base=sd_path, sample={"steps": 5}, seed=1)
    while easel.turn():
        pass
    partial = [(id, facts["step"]) for _, id, which, facts in easel.spool.news()
               if which.endswith("partial")]  # fmt: skip
    assert partial == [("a" * 16, 4)], "the last one is in the folder"
    with Image.open(studio.partial(picture_id("a" * 16, 0))) as image:
        assert image.size == (64, 64)


def test_what_cannot_be_made_is_said_and_the_painter_goes_on(
    studio: Studio, sd_path: Path, easel: Easel
) -> None:
    studio.adapter("broken0000000000").write_bytes(b"no adapter")
    easel.give("a" * 16, run="nothere000000000")
    easel.give("b" * 16, base=sd_path, adapters=[{"adapter": "broken0000000000", "weights": "1"}])
    easel.give("c" * 16, base=sd_path)
    ends = easel.paint()
    assert ends["c" * 16] == {}
    assert "nothere000000000" in ends["a" * 16]["problem"]
    assert "broken0000000000" in ends["b" * 16]["problem"]
    assert all(ends[letter * 16]["way_out"] for letter in "ab")
    assert not easel.painter.left


def test_what_a_library_makes_of_a_stop_is_nobodys_failure(
    easel: Easel, monkeypatch: pytest.MonkeyPatch
) -> None:
    easel.give("a" * 16, run="nothere000000000")
    monkeypatch.setattr(workers.told, "is_set", lambda: True)
    with pytest.raises(KeyboardInterrupt):
        easel.turn()
    assert list(easel.spool.news()) == []


def test_too_many_for_the_memory_are_made_by_fewer(
    sd_path: Path, easel: Easel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The memory is torch's own error; CPUs have no limit that a test could reach."""
    import torch

    del easel.painter.batches.most
    real, sizes = make.make, []

    def limited(family: Any, tasks: Any, *more: Any, **by_name: Any) -> Iterator:
        sizes.append(len(tasks))
        if len(tasks) > 2 or tasks[0].request.seed == 99:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(family, tasks, *more, **by_name)

    monkeypatch.setattr(make, "make", limited)
    monkeypatch.setattr(easel.painter.batches, "took", lambda *a: None)
    easel.painter.batches.most = lambda key, waiting: easel.painter.batches._of(key)[1]  # ty: ignore
    easel.give("a" * 16, base=sd_path, count=5)
    easel.give("b" * 16, base=sd_path, seed=99, sample={"steps": 3})
    ends = easel.paint()
    assert ends["a" * 16] == {}
    assert "out of memory" in ends["b" * 16]["problem"]
    assert sizes == [5, 2, 2, 1, 1]


def test_it_ends_when_it_has_long_been_idle(studio: Studio, sd_path: Path) -> None:
    made = Work(studio.work, "painter-9", "", {"house": {}, "idle": 0.5}, ("painter-9",))
    spool = Spool(studio.work / "paint" / made.name)
    spool.make()
    spool.give(1, "a" * 16, {"kind": "generate", "request": pictures(sd_path)})
    assert paint(made) == {"idle": 0.5}
    assert [which for _, _, which, _ in spool.news()] == ["0", "end"]
