"""Every story with its default listener says nothing: not on stdout, not on stderr, no library's
warning; and leaves the process as it was."""

import json
import logging
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import tiny
import torch
import yaml
from conftest import FEW, grainy_photos, process

from kaiffin.cli.encoding import document
from kaiffin.foundation.config import Config
from kaiffin.foundation.run import Run
from kaiffin.foundation.settings import build, override
from kaiffin.miniature.build.recipe import BuildConfig
from kaiffin.stories import (
    adapter,
    bases,
    choose,
    compare,
    demo,
    doctor,
    generate,
    grid,
    import_training,
    inspect,
    miniature,
    plan,
    prepare,
    publish,
    rank,
    report,
    sweep,
    train,
)

PROMPTS = {"scenes": ["a photo of {token} {noun}"], "class": ["a {noun}"]}


@dataclass(frozen=True)
class World:
    """What the stories are told of. out: a folder of its own for each."""

    config: Config
    base: Path
    tuned: Path
    clip: Path
    photos: Path
    run: Run
    other: Run
    out: Path

    @property
    def adapter(self) -> Path:
        return self.run.adapter_path

    @property
    def changes(self) -> dict[str, object]:
        """A judge and as little as it can do."""
        return {"score.judge": str(self.clip), "score.seeds": 1, "sample.steps": 2}

    def order(self, **more: int) -> generate.Order:
        """Pictures of the run."""
        return generate.Order(str(self.run.path), ["a kai"], out=self.out, **more)

    def sweep_file(self) -> Path:
        self.out.mkdir()
        (self.out / "base.yaml").write_text(yaml.safe_dump(self.config.model_dump(mode="json")))
        file = {"config": "base.yaml", "prompts": ["a {token}"], "count": 1, "trials": {"one": {}}}
        (self.out / "sweep.yaml").write_text(yaml.safe_dump(file))
        return self.out / "sweep.yaml"

    def picture(self) -> Path:
        return next(p for p in self.run.images.glob("*.png") if p.name != "sheet.png")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, sd_path: Path) -> World:
    """A tiny base, another like it, a judge, and two runs with pictures."""
    top = tmp_path_factory.mktemp("silence")
    (top / "photos").mkdir()
    grainy_photos(top / "photos", 3)
    (top / "prompts.yaml").write_text(yaml.safe_dump(PROMPTS))
    clip, tuned = tiny.tiny_clip(top / "clip"), tiny.tiny_sd(top / "tuned", seed=1)
    given = {
        "data.photos": str(top / "photos"), "base.name": str(sd_path), "subject.token": "kai",
        "subject.noun": "thing", "data.prior.weight": 0.5, "data.prior.num_images": 1,
        "data.prior.steps": 1, "train.steps": 2, "adapter.rank": 2, "sample.steps": 2,
        "score.candidates": 2, "score.prompts": str(top / "prompts.yaml"),
        "sample.preview_every": 1, "adapter.targets": FEW,
    }  # fmt: skip
    config = build(override({}, given))
    runs = [Run.create(top / name, config) for name in ("run", "other")]
    for run in runs:
        train.train(config, run.path)
    generate.generate(generate.Order(str(runs[0].path), ["a kai"]))
    run, other = (Run.open(run.path) for run in runs)
    return World(config, sd_path, tuned, clip, top / "photos", run, other, top / "out")


STORIES: dict[str, Callable[[World], object]] = {
    "prepare": lambda w: prepare.prepare(w.config, w.out),
    "bases": lambda w: bases.bases(),
    "bases get": lambda w: bases.get(str(w.base)),
    "bases add": lambda w: bases.add(w.base, "mine"),
    "plan": lambda w: plan.plan(w.config),
    "train": lambda w: train.train(w.config, w.out),
    "resume": lambda w: train.resume(w.run.path),
    "generate": lambda w: generate.generate(w.order(count=2)),
    "generate --from": lambda w: generate.remake(w.picture(), w.out),
    "generate --best": lambda w: generate.generate(
        w.order(count=2, best=1), changes={"score.judge": str(w.clip)}
    ),
    "rank": lambda w: rank.rank([w.picture()], "a thing", judge=str(w.clip)),
    "choose": lambda w: choose.choose(w.run.path, changes=w.changes),
    "compare": lambda w: compare.compare([w.run.path, w.other.path], w.out, changes=w.changes),
    "grid": lambda w: grid.grid(
        grid.GridOrder(str(w.run.path), "a kai", {"x": "guidance=1,2"}, out=w.out)
    ),
    "sweep": lambda w: sweep.sweep(w.sweep_file(), w.out / "sweep"),
    "miniature build": lambda w: miniature.build(
        BuildConfig(out=w.out, pictures=4, workers=1), "render"
    ),
    "report": lambda w: report.report([w.run.path], w.out.with_suffix(".html")),
    "demo": lambda w: demo.demo(w.out, steps=1),
    "doctor": lambda w: doctor.doctor(quick=True),
    "adapter inspect": lambda w: inspect.inspect(w.adapter, str(w.base)),
    "adapter convert": lambda w: adapter.convert(w.adapter, w.out, "peft", str(w.base)),
    "adapter verify": lambda w: adapter.verify(w.adapter, str(w.base)),
    "adapter merge": lambda w: adapter.merge(
        [(w.adapter, 0.5), (w.other.adapter_path, 0.5)], w.out.with_suffix(".safetensors"), 2,
        str(w.base),
    ),
    "adapter merge --into": lambda w: adapter.merge_into(str(w.base), [(w.adapter, 1.0)], w.out),
    "adapter merge --to single": lambda w: adapter.merge_into(
        str(w.base), [(w.adapter, 1.0)], w.out.with_suffix(".safetensors"), to="single"
    ),
    "publish": lambda w: publish.publish(w.run.path, str(w.out)),
    "import": lambda w: import_training.import_training(
        f"accelerate launch train_network.py --train_data_dir={w.photos}",
        w.out.with_suffix(".yaml"), {"subject.token": "kai"},
    ),
    "adapter resize": lambda w: adapter.resize(
        w.adapter, w.out.with_suffix(".safetensors"), 1, None, str(w.base)
    ),
    "adapter extract": lambda w: adapter.extract(
        str(w.tuned), str(w.base), w.out.with_suffix(".safetensors"), 2, None
    ),
    "adapter diff": lambda w: adapter.diff(w.adapter, w.other.adapter_path, str(w.base)),
    "adapter export-comfy": lambda w: adapter.export_comfy(w.run.path, None),
}  # fmt: skip


SLOW = {"demo"}  # on the miniature; its parts are other stories


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in STORIES]
)
def test_a_story_says_nothing_and_leaves_nothing(
    name: str, made: World, tmp_path: Path, capfd: pytest.CaptureFixture,
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KAIFFIN_HOME", str(tmp_path / "home"))
    world = World(**{**vars(made), "out": tmp_path / "out"})
    torch.set_num_threads(2)
    capfd.readouterr()
    caplog.clear()
    try:
        before = process()
        with warnings.catch_warnings(record=True) as heard:
            as_python_does()
            answer = STORIES[name](world)
        assert process() == before
    finally:
        torch.set_num_threads(1)
        torch.use_deterministic_algorithms(False)
    assert [str(one.message) for one in heard] == []
    # Records are printed where nobody handles them; here pytest does.
    assert [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING] == []
    assert capfd.readouterr() == ("", "")
    assert json.loads(document(answer)), "what --json would print"


def as_python_does() -> None:
    """The filters of a Python that nobody has told otherwise."""
    warnings.resetwarnings()
    for kind in (ResourceWarning, ImportWarning, PendingDeprecationWarning, DeprecationWarning):
        warnings.simplefilter("ignore", kind)


FRESH = """
import sys
from pathlib import Path
from kaiffin.foundation.runtime import Runtime
from kaiffin.foundation.settings import changed, load
from kaiffin.foundation.tell import SILENT
from kaiffin.models.files.load import load_base
from kaiffin.models.files.pipeline import save
from kaiffin.stories import generate, rank, train

config = changed(load(Path(sys.argv[1])), **{"train.optimizer": "adamw8bit"})
run = train.train(config, Path("run")).run
made = generate.generate(generate.Order(str(run.path), ["a kai"]))
rank.rank(made.paths, "a thing", judge="miniature")
save(load_base(config.base, Runtime.from_config(config.base), SILENT), Path("saved"))
"""


def test_nor_do_the_libraries_when_they_are_imported(made: World, tmp_path: Path) -> None:
    """In a fresh process, where nothing is imported yet; through every door of a training, to a
    picture that is judged and a base that is saved."""
    call = [sys.executable, "-c", FRESH, str(made.run.config_path)]
    done = subprocess.run(call, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (tmp_path / "saved" / "model_index.json").is_file()


def test_what_a_library_logs_at_its_door_is_not_heard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As bitsandbytes does on processors with AVX512-BF16."""
    from kaiffin.models import parts
    from kaiffin.train import optimizers

    text = 'import logging, warnings\nlogging.getLogger(__name__ + ".ops").warning("no kernels")\n'
    (tmp_path / "bitsandbytes.py").write_text(text + 'warnings.warn("nor others")\n')
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "bitsandbytes", raising=False)
    with warnings.catch_warnings(record=True) as heard:
        optimizers._door("bitsandbytes", "adamw8bit")
    assert (caplog.records, heard) == ([], [])
    monkeypatch.delitem(sys.modules, "bitsandbytes")
    with parts.quiet():
        logging.getLogger("bitsandbytes.backends.cpu.ops").warning("no kernels")
    assert caplog.records == []
