"""Every kind of job on the miniature: ids in, what its story answered out as JSON, and no paths."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from asked import DATASET, open_studio, pictures, training
from PIL import Image

from kaiffin.experiments.work import jobs as places
from kaiffin.foundation.run import Run
from kaiffin.pictures.recipe import read_recipe
from kaiffin.serve.studio import Studio
from kaiffin.serve.work import House, picture_id, work


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    made = open_studio(tmp_path_factory.mktemp("kinds") / "studio")
    yield made
    made.close()


def done(studio: Studio, kind: str, request: dict[str, Any], house: House | None = None) -> dict:
    """The result of a job, as its worker leaves it; "job" is its id."""
    job = studio.jobs.submit("ann", kind, request)
    made = work(studio, job, house or House())
    made.write()
    result = places.do(places.Job.read(studio.work, job.id))
    assert json.loads(json.dumps(result)) == result
    assert str(studio.path) not in json.dumps(result)
    return {**result, "job": job.id}


@pytest.fixture(scope="module")
def run(studio: Studio) -> str:
    result = done(studio, "train", training(steps=2, data__hold_out=1))
    assert (result["steps"], result["candidates"], result["idle"]) == (2, 2, False)
    assert result["proofs"][""]["holds"] is True
    assert result["run"] == result["job"]
    return result["run"]


def test_a_scan_says_what_to_mend(studio: Studio) -> None:
    result = done(studio, "scan", training())
    assert (result["photos"], result["problems"]) == (3, [])
    assert (studio.made(result["job"]) / result["sheet"]).is_file()
    gone = done(studio, "scan", {**training(), "dataset": "nothere000000000"})
    assert "nothere000000000" in gone["problem"]


def test_a_training_keeps_the_photos_as_they_were(studio: Studio, run: str) -> None:
    """The caption that its owner wrote afterwards is not in the run."""
    photos = Run.open(studio.run(run)).config.data.photos
    assert photos == studio.made(run) / "photos"
    before = sorted(path.name for path in photos.iterdir())
    caption = studio.dataset(DATASET) / "0.txt"
    caption.write_text("a photo of something else")
    try:
        assert sorted(path.name for path in photos.iterdir()) == before
    finally:
        caption.unlink()


def test_a_job_that_was_done_is_not_done_again(studio: Studio, run: str) -> None:
    adapter = Run.open(studio.run(run)).adapter_path
    before = adapter.stat().st_mtime_ns
    result = places.do(places.Job.read(studio.work, run))
    assert result["run"] == run
    assert adapter.stat().st_mtime_ns == before


def test_what_a_person_can_mend_is_a_problem_with_its_way_out(studio: Studio, run: str) -> None:
    result = done(
        studio, "export", {"run": None, "adapter": "nothere000000000", "base": "miniature"}
    )
    assert "nothere000000000" in result["problem"]
    unfinished = {**pictures(run="nothere000000000"), "best": 1}
    assert done(studio, "generate", unfinished)["problem"]


def test_the_best_of_some_pictures(studio: Studio, run: str) -> None:
    asked = pictures(run=run, count=3, best=1, checkpoint=2, prompts=["a photo of {token} {noun}"])
    result = done(studio, "generate", asked)
    ids = [picture_id(result["job"], number) for number in range(3)]
    assert [one["id"] for one in result["images"]] == ids
    (ranking,) = result["rankings"]
    assert {one["image"] for one in ranking} == set(ids)
    assert sum(one["chosen"] for one in ranking) == 1
    recipe = read_recipe(studio.image(ids[2]))
    assert recipe["request"]["seed"] == 2
    assert recipe["request"]["prompt"] == "a photo of kai thing"
    with Image.open(studio.image(ids[0])) as image:
        assert image.size == (result["images"][0]["width"], result["images"][0]["height"])
    ranked = done(studio, "rank", {"images": ids, "prompt": "a thing", "like": DATASET, "best": 2})
    assert [one["image"] in ids for one in ranked["pictures"]] == [True] * 3
    assert all(one["likeness"] is not None for one in ranked["pictures"])
    assert (studio.made(ranked["job"]) / ranked["sheet"]).is_file()


def test_a_choice_and_a_report(studio: Studio, run: str) -> None:
    asked = {"run": run, "like": None, "prompts": ["{token} {noun} in the snow"],
             "score": {"seeds": 1}, "sample": {"steps": 2}, "budget": None}  # fmt: skip
    result = done(studio, "choose", asked)
    assert result["chosen"] in (1, 2)
    assert Run.open(studio.run(run)).best_path.is_file()
    assert done(studio, "report", {"runs": [run]})["files"] == []
    assert Run.open(studio.run(run)).report_path.is_file()


def test_runs_side_by_side(studio: Studio, run: str) -> None:
    other = done(studio, "train", training(steps=2, train__seed=1))["run"]
    asked = {"runs": [run, other], "last": True, "like": DATASET, "prompts": ["{token} {noun}"],
             "score": {"seeds": 2}}  # fmt: skip
    result = done(studio, "compare", asked)
    assert "train.seed" in result["settings"]
    assert len(result["differences"]) == 1
    for name in result["files"]:
        assert (studio.made(result["job"]) / name).is_file()
    page = done(studio, "report", {"runs": [run, other]})
    assert (studio.made(page["job"]) / page["files"][0]).is_file()


def test_a_grid(studio: Studio, run: str) -> None:
    asked = {
        **pictures(run=run),
        "prompt": "a {token}",
        "axes": {"x": "guidance=1,3", "y": "seed=1,2"},
    }
    result = done(studio, "grid", asked)
    assert len(result["pictures"]) == 4
    for name in result["files"]:
        assert (studio.made(result["job"]) / name).is_file()
    worn = [{"adapter": "worn000000000000", "weights": "0.5"}]
    adapter = Run.open(studio.run(run)).adapter_path.read_bytes()
    studio.adapter("worn000000000000").write_bytes(adapter)
    plain = {**asked, "run": None, "base": "miniature", "axes": {"x": "weight=0|1"}}
    one, other = (done(studio, "grid", {**plain, "adapters": each}) for each in (worn, []))
    assert len(one["pictures"]) == 2
    assert "weight" in other["problem"]
    assert "one adapter" in done(studio, "grid", {**plain, "adapters": worn * 2})["problem"]


def test_a_sweep(studio: Studio) -> None:
    asked = {**training(steps=2), "grid": {"sample.guidance": [1.0, 4.0]}, "seeds": [0],
             "prompts": ["a {token}"], "count": 1}  # fmt: skip
    result = done(studio, "sweep", asked)
    assert result["failed"] == {}
    assert len(result["standings"]) == 2
    assert (studio.made(result["job"]) / "sweep" / result["files"][0]).is_file()


def test_an_export(studio: Studio, run: str) -> None:
    proof = done(studio, "export", {"run": run, "adapter": None, "base": None})["proof"]
    assert proof["holds"] is True
    made = done(studio, "export", {"run": run, "adapter": None, "base": None, "to": "peft"})
    assert (studio.made(made["job"]) / made["files"][0]).is_dir()
    unknown = {"run": None, "adapter": "worn000000000000", "base": None}
    studio.adapter("worn000000000000").write_bytes(
        Run.open(studio.run(run)).adapter_path.read_bytes()
    )
    assert "needs its base" in done(studio, "export", unknown)["problem"]


def test_a_base_is_called_as_the_operator_says(studio: Studio, tmp_path: Path) -> None:
    """Callers know a name, and never what lies behind it."""
    house = House(bases={"house": "miniature"})
    asked = {"run": None, "adapter": "worn000000000000", "base": "house"}
    studio.adapter("worn000000000000").write_bytes(b"no adapter")
    assert "worn000000000000" in done(studio, "export", asked, house)["problem"]
    scanned = done(studio, "scan", training(base="house"), house)
    assert scanned["photos"] == 3
