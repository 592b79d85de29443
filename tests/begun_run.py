"""A run that was stopped after half of its steps, beside its photos; and ways to tamper with it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml
from conftest import FEW, grainy_photos
from PIL import Image

from kaiffin.cli.main import main
from kaiffin.foundation.run import Run
from kaiffin.foundation.settings import override
from kaiffin.train.watch import RestartPoints

STEPS, STOP = 4, 2


def call(base: Path, out: Path, **more: object) -> list[str]:
    """A training of `source`, or the photos beside `out`; `more`: flags, dots written as `__`,
    None for one that is not given."""
    source = more.pop("source", out.parent / "pics")
    flags = {
        "base": base, "class": "thing", "out": out, "steps": STEPS, "train.checkpoint_every": 1,
        "adapter.rank": 2, "adapter.targets": FEW, "train.schedule": "constant", "train.lr": 1e-2,
        "data.prior.weight": 0.3, "data.prior.num_images": 2, "data.prior.steps": 2,
        "train.tensorboard": "false", "data.masks": "folder", "score.candidates": 2,
    } | {name.replace("__", "."): value for name, value in more.items()}  # fmt: skip
    given = {name: value for name, value in flags.items() if value is not None}
    words = [word for name, value in given.items() for word in (f"--{name}", str(value))]
    return ["train", str(source), *words]


def photos(folder: Path) -> None:
    """Three photos with masks; the first has a caption of its own."""
    (folder / "masks").mkdir(parents=True)
    grainy_photos(folder, 3)
    for i in range(3):
        Image.new("L", (64, 64), 200 + i).save(folder / "masks" / f"{i}.png")
    (folder / "0.txt").write_text("a photo of kaiffin thing, sitting")


def begun_run(folder: Path, base: Path, **more: object) -> Run:
    """`folder` gets pics and a run of STEPS steps that was stopped after STOP."""
    photos(folder / "pics")
    save = RestartPoints.save

    def save_and_die(self: RestartPoints) -> None:
        save(self)
        if self.trainer.step == STOP:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RestartPoints, "save", save_and_die)
        assert main(call(base, folder / "run", **more)) == 130
    return Run.open(folder / "run")


def copied(run: Run, to: Path) -> Run:
    """The run and its photos at another place, as somebody may copy or move them."""
    shutil.copytree(run.path.parent, to, dirs_exist_ok=True)
    return Run.open(to / "run")


def edit(run: Run, **changes: object) -> Run:
    """The run with settings edited in its config.yaml, dots written as `__`."""
    dotted = {name.replace("__", "."): value for name, value in changes.items()}
    data = override(yaml.safe_load(run.config_path.read_text()), dotted)
    run.config_path.write_text(yaml.safe_dump(data))
    return Run.open(run.path)


def moved_base(run: Run, to: Path) -> Path:
    """As if the run's base had been moved to `to` from beside it; answers with where it was."""
    base, before = Path(run.config.base.name), to.with_name("where it was")
    shutil.copytree(base, to)
    record = run.beginning()
    record["places"]["base.name"] |= {"folder": str(before), "from_run": "../where it was"}
    run.write_json(run.beginning_path.name, record)
    edit(run, base__name=str(before))
    return before
