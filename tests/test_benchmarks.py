"""The benchmarks run from the command line on a tiny base and print what they promise."""

import importlib.util
import json
import sys
from dataclasses import asdict
from pathlib import Path
from types import ModuleType

import fresh
import httpx
import kept
import psutil
import pytest
import tables
import torch
from conftest import REPO
from PIL import Image
from served import Hand, World, listening

from kaiffin.adapters import ranks
from kaiffin.adapters.files import safe
from kaiffin.foundation.config import BaseConfig
from kaiffin.foundation.runtime import Runtime
from kaiffin.foundation.tell import SILENT
from kaiffin.miniature.judges.judge import Judge
from kaiffin.miniature.judges.truth import ANSWERS, Truth, answers, load_truth
from kaiffin.miniature.world import world
from kaiffin.miniature.world.vocabulary import SIDE
from kaiffin.models.files.load import load_base
from kaiffin.pictures.make import WeightedAdapter
from kaiffin.score.judge import Scorer


def opened(name: str) -> ModuleType:
    """A benchmark's functions."""
    place = importlib.util.spec_from_file_location(name, REPO / f"benchmarks/{name}.py")
    assert place is not None
    assert place.loader is not None
    module = importlib.util.module_from_spec(place)
    sys.modules[name] = module  # where its dataclass looks for its own module
    place.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("script", "options", "names", "unit"),
    [
        (
            "train_step.py",
            ["--batch", "1", "--kinds", "dora,oft"],
            ["floor", "bound", "plain", "ours", "dora", "oft"],
            "floor",
        ),
        ("generate.py", ["--steps", "2"], ["unet", "bare", "ours", "diffusers"], "unet"),
    ],
)
def test_a_benchmark(
    script: str, options: list[str], names: list[str], unit: str, sd_path: Path, tmp_path: Path
) -> None:
    file = tmp_path / "times.json"
    call = [REPO / "benchmarks" / script, "--base", sd_path, "--rounds", 2, "--keep", file]
    done = fresh.run([*map(str, call), *options])
    assert done.returncode == 0, done.stderr
    found = kept.read(file)
    assert list(found["seconds"]) == names
    assert all(len(times) == 2 and min(times) > 0 for times in found["seconds"].values())
    for one in found.get("parts", ()):
        assert 0 < one["unet"] + one["text"] + one["decoder"] < one["all"]
    lines = [line for line in done.stdout.splitlines() if line.startswith("| ")]
    rows = [line.split("|") for line in lines][1 : len(names) + 1]
    assert [row[1].strip() for row in rows] == names
    ratios = {row[1].strip(): float(row[3].split()[0]) for row in rows}
    assert ratios[unit] == 1
    assert all(ratio > 0 for ratio in ratios.values())


def test_what_is_measured_is_kept_with_its_conditions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command without where it is kept, and without this machine's folders."""
    file = tmp_path / "new" / "found.json"
    call = ["/a/b/bench.py", "--out", "/secret/place", "--keep", str(file), "--rounds", "2"]
    monkeypatch.setattr(sys, "argv", call)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    kept.keep(file, {"seconds": {"ours": [1.5, 2.0]}})
    assert kept.read(file) == {"seconds": {"ours": [1.5, 2.0]}}
    of = json.loads(file.read_text())["of"]
    assert of["command"] == "OMP_NUM_THREADS=1 python benchmarks/bench.py --out place --rounds 2"
    assert of["torch"] == torch.__version__
    assert of["threads"] == torch.get_num_threads()
    assert "cores" in of["machine"]
    kept.keep(None, {})  # asked for nothing


@pytest.mark.slow  # each command in a process of its own
def test_starts_and_loads_are_compared(sd_path: Path, tmp_path: Path) -> None:
    file = tmp_path / "times.json"
    call = [REPO / "benchmarks/start.py", "--base", sd_path, "--rounds", 1, "--keep", file]
    done = fresh.run([*map(str, call), "--commands=--help"])
    assert done.returncode == 0, done.stderr
    found = kept.read(file)
    assert list(found["starts"] | found["loads"]) == [
        "import torch", "--help", "safetensors", "kaiffin",
    ]  # fmt: skip
    rows = [line.split("|") for line in done.stdout.splitlines() if line.startswith("| ")]
    ratios = {row[1].strip(): row[3].split()[0] for row in rows if row[1].strip()}
    assert float(ratios["--help"]) < float(ratios["import torch"]) == 1
    assert float(ratios["kaiffin"]) > float(ratios["safetensors"]) == 1
    assert 0 < found["excess"] < 2**30


def test_a_load_from_the_disk(sd_path: Path) -> None:
    times = opened("start").loads(str(sd_path), "fp32", 2, cold=True)
    assert list(times) == ["safetensors", "kaiffin"]
    assert all(len(of) == 2 and min(of) > 0 for of in times.values())


@pytest.mark.slow  # a service, its workers, and a base here as well
def test_the_service_is_beside_what_it_serves(tmp_path: Path) -> None:
    file = tmp_path / "found.json"
    few = ["--clients", 2, "--rounds", 1, "--steps", 1, "--requests", 50]
    few += ["--train", 20, "--yields", 1]
    done = fresh.run([REPO / "benchmarks/serve.py", *few, "--keep", file], timeout=600)
    assert done.returncode == 0, done.stderr
    found = kept.read(file)
    assert found["throughput, service / offline"] > 0
    assert found["health p99, ms"] >= found["health p50, ms"] > 0
    assert found["after 50 requests, MB"] > 0
    assert found["with 1 yields / without"] > 1


@pytest.mark.slow  # two services with their workers
def test_a_full_service_is_beside_an_empty_one(tmp_path: Path) -> None:
    file = tmp_path / "found.json"
    few = ["--clients", 2, "--rounds", 1, "--steps", 1, "--filled"]
    done = fresh.run([REPO / "benchmarks/serve.py", *few, "--keep", file], timeout=600)
    assert done.returncode == 0, done.stderr
    ratios = [value for name, value in kept.read(file).items() if "filled / " in name]
    assert len(ratios) == 7
    assert min(ratios) > 0


def test_the_parts_of_the_services_benchmark(tmp_path: Path) -> None:
    """Those that need no worker, so that they are looked at each time."""
    serve = opened("serve")
    world = World(tmp_path)
    key = {"authorization": f"Bearer {world.key('ada')}"}
    serve.fill(tmp_path, jobs=3, pictures=5)
    counts = [world.studio.db.rows(f"SELECT COUNT(*) FROM {t}")[0][0] for t in ("jobs", "images")]
    assert counts == [3, 5]
    with (
        listening(world) as address,
        Hand(world),
        httpx.Client(base_url=address, headers=key) as client,
    ):
        serve.crowd(client, 2, 4, steps=1)
        made, there = 4, 2  # of five pictures every second is hers
        assert len(client.get("api/v1/images").json()["items"]) == made + there
        found = serve.memory(client, psutil.Process(), 10)
        assert found["after 10 requests, MB"] > 0
        photos = client.get(f"api/v1/datasets/{serve.dataset(client)}").json()
        assert photos["photos"] == 4
    world.studio.close()
    base = BaseConfig()
    family = serve.load_base(base, Runtime.from_config(base), SILENT)
    serve.paint(family, 2, 2, steps=1)


@pytest.mark.slow  # a training
def test_personalising_is_counted_as_the_judge_names_it(tmp_path: Path) -> None:
    """A training of two steps, judged by random weights: the counts are their answers."""
    personalise = opened("personalise")
    family = load_base(BaseConfig(), Runtime.from_config(BaseConfig()), tell=SILENT)
    torch.manual_seed(0)
    truth = Truth(Judge(ANSWERS))
    few = {"train.steps": 2, "sample.steps": 1, "data.prior.num_images": 1, "data.prior.steps": 1}
    found = personalise.study("plush", tmp_path, "miniature", few, family, truth)
    assert found.pictures == sum(found.named.values()) == 80
    assert found.right["both"] <= min(found.right["subject"], found.right["scene"])
    assert found.right["subject"] == found.named.get("plush", 0)
    assert 0 <= found.drift < 1
    with Image.open(tmp_path / "plush.png") as page:
        assert min(page.size) > 1000
    (row,) = tables.personalised([asdict(found)]).splitlines()[2:]
    assert row.startswith("| plush |")
    assert f"{found.class_kept} ({found.class_kept_before}) of 20" in row


@pytest.mark.slow  # a judge and a training
def test_two_taught_in_one_adapter_are_each_right(tmp_path: Path) -> None:
    """By the network that knows the truth, in places that no photo shows."""
    personalise = opened("personalise")
    family = load_base(BaseConfig(), Runtime.from_config(BaseConfig()), tell=SILENT)
    truth = load_truth(tmp_path / "truth.safetensors")
    run = personalise.taught_together(list(world.SUBJECTS), tmp_path, "miniature", {})
    for subject in world.SUBJECTS:
        found = personalise.shown(subject, run, tmp_path, family, truth)
        assert found.right["both"] >= 0.9 * found.pictures, found
        assert found.class_kept >= 18, "of 20"


def test_ways_of_choosing_are_compared_by_training() -> None:
    """Two trainings in which the last checkpoint lost the place, one in which it did not."""
    choosing = opened("choosing")
    right = {"subject": True, "scene": True, "both": True}
    lost = {"subject": True, "scene": False, "both": False}
    outcomes = [
        choosing.Outcome(
            choosing.Training("plush", photos, 1e-3, 4, "constant"),
            {choosing.RECOMMENDED: 1, "the last": 2},
            {1: [right, right], 2: [right, lost] if photos < 12 else [right, right]},
        )
        for photos in (3, 6, 12)
    ]
    found = choosing.summary(outcomes)
    assert (found["trainings"], found["pictures"]) == (3, 6)
    assert found["ways"][choosing.RECOMMENDED]["both"] == [100, 100, 100]
    last = found["ways"]["the last"]
    assert last["place"][0] == last["both"][0] == pytest.approx(66.67)
    assert last["against"][0] == pytest.approx(33.33)
    assert last["tally"] == [2, 1, 0]
    row = tables.choices(found).splitlines()[-1]
    assert row.startswith("| the last | 100 % [100, 100] | 67 % [")
    assert row.endswith("| 2, 1, 0 |")


@pytest.mark.slow  # two trainings
def test_two_subjects_beside_each_other(tmp_path: Path) -> None:
    """In regions both are right, in one picture of each place; on top of each other they are not.
    The judge is taught here as well."""
    together = opened("together")
    truth = load_truth(tmp_path / "truth.safetensors")
    runs = [together.taught(who, tmp_path, "miniature", {}) for who in world.SUBJECTS]
    sample = runs[0].config.sample.model_copy(update={"size": (2 * SIDE, SIDE)})
    found, page = together.measured(runs, truth, sample, seeds=[101])
    everywhere, _, columns = (found[way] for way in together.WAYS)
    assert columns["pictures"] == 10
    assert columns["subjects"] >= 7
    assert everywhere["subjects"] < columns["subjects"]
    assert page.width > 600


def test_halves_are_judged_one_by_one() -> None:
    """Two renders beside each other are right in either order; one of them twice is not."""
    together = opened("together")
    places = [place for _, place in together.SCENES]
    renders = {(who, p): world.subject_render(who, p) for who in world.SUBJECTS for p in places}
    answers = {
        image.tobytes(): {"species": {who: 1.0}, "scene": {place: 1.0}}
        for (who, place), image in renders.items()
    }

    class Eyes:
        def judge(self, images: list[Image.Image]) -> list[dict[str, dict[str, float]]]:
            return [answers[image.tobytes()] for image in images]

    def judged(left: str, right: str) -> dict[str, int]:
        pages = [sheet_of(renders[left, place], renders[right, place]) for place in places]
        return together.judged(pages, Eyes())

    def sheet_of(left: Image.Image, right: Image.Image) -> Image.Image:
        page = Image.new("RGB", (2 * SIDE, SIDE))
        page.paste(left, (0, 0))
        page.paste(right, (SIDE, 0))
        return page

    all_right = {"pictures": 10, "subjects": 10, "place": 10, "both": 10}
    assert judged("kaiffin", "plush") == judged("plush", "kaiffin") == all_right
    assert judged("plush", "plush") == all_right | {"subjects": 0, "both": 0}


@pytest.mark.slow  # pictures of 25 steps
def test_ways_to_a_picture_are_measured_in_pairs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two scenes, a judge of random weights: every measure has a value for each picture, and a way
    of fewer seeds is compared on those."""
    bench = opened("pictures")
    renders = bench.true_renders
    family = load_base(BaseConfig(), Runtime.from_config(BaseConfig()), tell=SILENT)
    monkeypatch.setattr(bench, "SCENES", bench.SCENES[:2])
    monkeypatch.setattr(bench, "true_renders", lambda *a: renders(*a)[:2])
    own = WeightedAdapter(bench.find(bench.OWN, "miniature").path)  # in a subject's place
    (tmp_path / "sheets").mkdir()
    torch.manual_seed(0)
    studio = bench.Studio(
        tmp_path, family, dict.fromkeys(bench.world.SUBJECTS, own), own.path,
        Truth(Judge(ANSWERS)), Scorer(tell=SILENT), [1, 2],
    )  # fmt: skip
    few = {"default": bench.Way({"steps": 2}), "fast/1": bench.ways()["fast/1"]}
    found = {
        name: studio.measure(name, few[name], n) for name, n in (("default", 2), ("fast/1", 1))
    }
    assert {name: one["rows"] for name, one in found.items()} == {"default": 4, "fast/1": 1}
    for measure in bench.MEASURES:
        assert [len(one[measure]) for one in found.values()] == [8, 4]
    short = bench.summary(found)
    like = [found[name]["likeness"] for name in few]
    gap = sum(a - b for a, b in zip(like[1], like[0][::2], strict=True)) / 4
    assert short["fast/1"]["likeness"]["gap"][0] == pytest.approx(gap, abs=1e-5)
    rows = [line.split("|") for line in tables.ways(short).splitlines()[2:]]
    assert {row[1].strip() for row in rows} == set(few)
    (same,) = [row for row in rows if row[1].strip() == "default"]
    assert all(cell.strip() == "+0.000 [+0.000, +0.000]" for cell in same[-4:-1])
    assert set(bench.SMALL) <= set(bench.ways())


@pytest.fixture
def teach(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The bench of methods, with two prompts on one seed."""
    monkeypatch.syspath_prepend(str(REPO / "benchmarks"))  # where the plain recipe finds it
    bench = opened("teach")
    monkeypatch.setattr(bench, "SCENES", bench.SCENES[:2])
    monkeypatch.setattr(bench, "SEEDS", (1,))
    return bench


def bench_of(teach: ModuleType, out: Path) -> object:
    """With a judge of random weights."""
    torch.manual_seed(0)
    family = load_base(BaseConfig(), Runtime.from_config(BaseConfig()), tell=SILENT)
    return teach.Bench(out, family, Truth(Judge(answers(world.CAST))), Scorer(tell=SILENT))


@pytest.mark.slow  # a training with its pictures
def test_a_cell_of_the_bench_of_methods(teach: ModuleType, tmp_path: Path) -> None:
    """A training of four steps, measured after the first, the second and the last."""
    cell = teach.Cell("grippo", 1, 0, "keep 1")
    (tmp_path / "runs" / cell.name).mkdir(parents=True)
    (tmp_path / "runs" / cell.name / "config.yaml").write_text("cut off")
    found = bench_of(teach, tmp_path).measure(cell, steps=4)
    assert list(found["at"]) == ["25", "50", "100"]
    for shares in found["at"].values():
        assert set(shares) == {*teach.MEASURES, "loss", "held out"}
        assert shares["both"] <= min(shares["subject"], shares["place"])
        assert shares["leak"] + shares["kept"] <= 1
        assert shares["loss"] > 0
        assert shares["held out"] > 0
    assert found["at"]["25"]["held out"] != found["at"]["100"]["held out"]
    assert found["at"]["25"]["drift"] < found["at"]["100"]["drift"]
    assert found["steps"] == 4
    assert found["cpu"] > 0


def test_cells_are_compared_in_pairs(teach: ModuleType) -> None:
    """What a method brings is the difference on one character and seed, whatever these are."""
    found = []
    for cell in teach.cells(["plush", "zandor"], [1], [0, 1, 2], [teach.PICTURES, "keep 1"]):
        level = 0.1 * cell.seed + 0.3 * (cell.subject == "plush") + 0.2 * (cell.method == "keep 1")
        at = {"100": dict.fromkeys(teach.MEASURES, level)}
        own = {"subject": cell.subject, "photos": 1, "seed": cell.seed, "method": cell.method}
        found.append({**own, "cpu": 2.0, "at": at})
    today, keep = teach.summary([*found, {**found[1], "seed": 9}])
    assert (today["trainings"], keep["trainings"], keep["pairs"]) == (6, 7, 6)
    assert keep["both more"] == [0.2, 0.2, 0.2]
    assert today["both"][1] < today["both"][0] == 0.25 < today["both"][2]
    assert "both more" not in today
    assert len(teach.tables.teaching([today, keep]).splitlines()) == 4


@pytest.mark.slow  # a training with its pictures, three times
def test_ranks_by_timestep_are_judged_as_others_have_them(
    teach: ModuleType, tmp_path: Path
) -> None:
    timed = opened("timed_ranks")
    (method, *_), bench = timed.AGAINST, bench_of(teach, tmp_path)
    found = timed.measured(bench, timed.teach.Cell("plush", 1, 0, method), steps=4)
    assert list(found) == [method, f"{method}, all ranks", f"{method}, plain file"]
    assert len({one["at"]["100"]["drift"] for one in found.values()}) == 3
    files = sorted((tmp_path / "elsewhere").rglob("*.safetensors"))
    assert not any(ranks.HEADER in safe.header(file)[1] for file in files)
    weights = [safe.read(file)[0] for file in files]
    assert any(not weights[0][key].equal(weights[1][key]) for key in weights[0])


@pytest.mark.slow  # two trainings
def test_time_to_right_is_beside_the_plain_recipes(teach: ModuleType, tmp_path: Path) -> None:
    right = opened("time_to_right")
    cell = right.teach.Cell("plush", 3, 0, "preset")
    found = right.measured(bench_of(right.teach, tmp_path), cell, (10, 10))
    for name in ("kaiffin", "plain"):
        seconds = [at for at, _ in found[name]["looked"]]
        assert 0 < seconds[0] <= found[name]["seconds"] == seconds[-1] == max(seconds)


@pytest.mark.slow
def test_a_service_that_is_killed_loses_nothing(sd_path: Path, tmp_path: Path) -> None:
    file = tmp_path / "facts.json"
    call = ["--base", sd_path, "--kills", 6, "--steps", 20, "--out", tmp_path / "out"]
    done = fresh.run([REPO / "benchmarks/crash.py", *call, "--keep", file], timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    found = kept.read(file)
    assert found["problems"] == []
    assert found["deaths"]["server"] + found["deaths"].get("worker", 0) == 6
    assert found["starts"] > found["deaths"]["server"]
