"""The bench of methods: its photos, its table, and what a loss knows of a checkpoint."""

import json
from pathlib import Path

import losses
import pytest
import tables
import teach
import time_to_right
import timed_ranks

from kaiffin.data.prepare import prepare
from kaiffin.foundation.config import BaseConfig, DataConfig, SubjectConfig
from kaiffin.foundation.runtime import Runtime
from kaiffin.foundation.settings import build, override
from kaiffin.foundation.tell import SILENT
from kaiffin.miniature.world import world
from kaiffin.models.files.load import load_base
from kaiffin.stories import train


@pytest.mark.parametrize(("count", "held_out"), [(1, 1), (3, 2), (6, 3)])
def test_one_photo_more_is_held_out(tmp_path: Path, count: int, held_out: int) -> None:
    """Where `data.hold_out` takes it from; those that are learnt from are the same without it."""
    cell = teach.Cell("grippo", count, 1, "keep 1")
    learnt = teach.render_photos(tmp_path / "more", cell, held_out=1)
    assert learnt == teach.render_photos(tmp_path / "as many", cell)
    captions = [(tmp_path / "more" / f"{i}.txt").read_text() for i in range(count + 1)]
    del captions[held_out]
    own = [(tmp_path / "as many" / f"{i}.txt").read_text() for i in range(count)]
    assert captions == own
    data = DataConfig(photos=tmp_path / "more", hold_out=1)
    prepared = prepare(data, SubjectConfig(), 128)
    assert [one.path.name for one in prepared.held_out] == [f"{held_out}.png"]


def test_the_table_that_six_hours_make() -> None:
    """Every method where there is one photo, a few where there are more."""
    every = teach.whole(list(world.CAST), teach.PHOTOS, teach.TRAINING_SEEDS)
    assert len(every) == 6 * 5 * (len(teach.METHODS) + 2 * len(teach.WHOLE))
    assert {cell.method for cell in every if cell.photos == 6} == set(teach.WHOLE)


def test_what_a_loss_would_take() -> None:
    """The photo held out sees what the training loss does not: that the middle was the best."""
    at = {
        "25": {"both": 0.6, "kept": 1.0, "repeat": 0.0, "loss": 3.0, "held out": 2.0},
        "50": {"both": 0.9, "kept": 1.0, "repeat": 0.2, "loss": 2.0, "held out": 1.0},
        "100": {"both": 0.7, "kept": 0.5, "repeat": 0.6, "loss": 1.0, "held out": 3.0},
    }
    found = teach.picked([{"subject": who, "at": at} for who in ("plush", "zandor")])
    assert [one["both"][0] for one in found.values()] == [0.7, 0.7, 0.9, 0.9]
    assert found["the lowest loss of the photo held out"]["takes"] == {"25": 0, "50": 2, "100": 0}
    assert found["the lowest training loss"]["both more"] == [0, 0, 0]
    row = "| 0 / 2 / 0 | 90 [90, 90] | +20 [+20, +20] | 100 [100, 100] | +50 [+50, +50] | 20"
    assert row in teach.tables.picked(found)


def test_a_plain_loss_falls_where_an_adapter_learnt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the photo that it learnt; the base is as it was afterwards."""
    photos = world.subject_photos("plush", 1)
    monkeypatch.setattr(losses, "TIMESTEPS", (300, 600))
    monkeypatch.setattr(losses, "NOISES", 1)
    for number, (image, caption) in enumerate(photos):
        image.save(tmp_path / f"{number}.png")
        (tmp_path / f"{number}.txt").write_text(caption)
    given = {"subject.token": "tobbul", "subject.noun": "bear", "data.photos": tmp_path,
             "train.steps": 12, "data.prior.weight": 0.0, "train.tensorboard": False}  # fmt: skip
    run = train.train(build(override({}, given)), tmp_path / "run", tell=SILENT).run
    family = load_base(BaseConfig(), Runtime.from_config(BaseConfig()), tell=SILENT)
    before = losses.plain_loss(family, photos)
    assert losses.of_adapter(family, run.adapter_path, photos) < before
    assert losses.plain_loss(family, photos) == before


def test_ranks_by_timestep_are_compared_with_all_ranks(tmp_path: Path) -> None:
    for cell in teach.cells(["plush", "zandor"], [1], [0, 1], [*timed_ranks.AGAINST.values()]):
        own = {"subject": cell.subject, "photos": 1, "seed": cell.seed, "cpu": 2.0}
        named = [cell.method]
        for method, against in timed_ranks.AGAINST.items():
            ways = ("", ", all ranks", ", plain file")
            named += [f"{method}{way}" for way in ways if against == cell.method]
        found = {
            name: {**own, "method": name, "at": {"100": dict.fromkeys(teach.MEASURES, 0.1 * i)}}
            for i, name in enumerate(named)
        }
        path = tmp_path / "cells" / f"{cell.name}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(found))
    rows = timed_ranks.summary(tmp_path)
    assert [row.get("both more", [0])[0] for row in rows] == [0, 0.1, 0.2, 0.3] * 2
    lines = tables.in_pairs(rows).splitlines()
    assert len(lines) == 10
    assert "| 30, +30 [+30, +30] |" in lines[5]


def test_time_to_right_is_the_first_that_is_near_the_end() -> None:
    shares = {"a": 0.2, "b": 0.85, "c": 0.95, "d": 0.9, "e": 1.0}
    found = time_to_right.time_to(list(enumerate(shares, 1)), shares.__getitem__)
    assert found == {"seconds": 3, "both": 1.0, "looked": [(1, 0.2), (2, 0.85), (3, 0.95)]}
    assert time_to_right.time_to([(1, "a"), (2, "a")], shares.__getitem__)["seconds"] == 1
