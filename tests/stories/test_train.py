"""Training as a story: its answer, its folder, what it opens once, and what it leaves behind."""

import re
from pathlib import Path

import pytest
import torch
from begun_run import moved_base
from conftest import FEW, grainy_photos, process

from kaiffin.cli.main import main
from kaiffin.foundation.config import Config
from kaiffin.foundation.errors import ConfigError, RunError
from kaiffin.foundation.folder import read_json
from kaiffin.foundation.run import Run
from kaiffin.foundation.settings import build, override
from kaiffin.foundation.tell import Tell
from kaiffin.models.files import load
from kaiffin.stories import export, plan, train
from kaiffin.train import session


@pytest.fixture
def config(sd_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    """Two steps on the tiny base; the working folder is empty but for the photos."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    grainy_photos(tmp_path / "photos")
    given = {
        "data.photos": "photos", "base.name": str(sd_path), "subject.noun": "thing",
        "data.prior.weight": 0, "train.steps": 2, "train.tensorboard": False, "adapter.rank": 2,
        "score.candidates": 2, "adapter.targets": FEW,
    }  # fmt: skip
    return build(override({}, given))


def named(config: Config, token: str) -> Config:
    return config.model_copy(update={"subject": config.subject.model_copy(update={"token": token})})


def test_the_answer_says_what_was_made(config: Config) -> None:
    made = train.train(config)
    assert made.run.path == Path("runs/kaiffin")
    assert made.adapter.is_file()
    assert (made.steps, made.candidates) == (2, 2)
    assert made.seconds > 0
    assert made.planned is not None
    assert made.planned.plan.steps == 2
    assert "train.batch_size = 2" in made.planned.derived
    assert made.proofs[""].holds
    again = train.resume(made.run.path)
    assert (again.adapter, again.steps, again.planned, again.proofs) == (made.adapter, 2, None, {})


def test_pace_and_notes_are_told(config: Config) -> None:
    said: list[str] = []

    class Ear(Tell):
        def note(self, text: str) -> None:
            said.append(text)

        def progress(self, text: str, total: int | None = None):
            said.append(f"{text} of {total}")
            return super().progress(text, total)

    train.train(config, tell=Ear())
    assert "photos of None" in said
    assert "training of 2" in said
    assert any(line.startswith("plan: ") for line in said)


@pytest.mark.parametrize(
    ("token", "folder"),
    [("../x", "x"), ("<kaiffin>", "kaiffin"), ("/etc/x", "etc_x"), ("..", "subject"),
     ("CON", "_CON"), (".hidden", "hidden"), ("щ" * 300, "щ" * 60)],
)  # fmt: skip
def test_no_word_of_a_subject_leaves_the_folder_of_runs(
    token: str, folder: str, config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = set(tmp_path.parent.iterdir())
    begun: list[Run] = []
    monkeypatch.setattr(train, "_train", lambda run, *_: begun.append(run))
    train.train(named(config, token))
    assert begun[0].path == Path("runs") / folder
    assert {path.name for path in Path("runs").iterdir()} == {folder}
    assert begun[0].adapter_path.name == f"{folder}.safetensors"
    assert set(tmp_path.parent.iterdir()) == before


def test_a_second_training_of_a_subject_gets_a_free_name(config: Config) -> None:
    call = ["train", "photos", "--base", config.base.name, "--class", "thing", "--steps", "1"]
    call += ["--data.prior.weight", "0", "--train.tensorboard", "false", "--subject", "<kai>"]
    call += ["--adapter.targets", FEW]
    assert main(call) == 0
    assert main(call) == 0
    assert sorted(path.name for path in Path("runs").iterdir()) == ["kai", "kai-2"]


def test_a_run_that_has_just_begun_is_left_alone(config: Config) -> None:
    begun = Run.create(Path("runs/kaiffin"), config)
    before = begun.config_path.read_bytes()
    with begun.lock():  # nothing is saved yet
        with pytest.raises(RunError, match="is in use"):
            Run.create(begun.path, named(config, "other"))
        assert begun.config_path.read_bytes() == before
        assert train.train(config).run.path == Path("runs/kaiffin-2")


# --- what is opened once ----------------------------------------------------------------------


def counted(monkeypatch: pytest.MonkeyPatch, module: object, name: str) -> list[int]:
    calls: list[int] = []
    function = getattr(module, name)

    def counting(*args: object, **kwargs: object) -> object:
        calls.append(1)
        return function(*args, **kwargs)

    monkeypatch.setattr(module, name, counting)
    return calls


FIT = {"train.fit_memory": True}


@pytest.mark.parametrize("short", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_base_and_photos_are_opened_once(
    short: bool, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the memory is short and settings change before the first step."""
    loads = counted(monkeypatch, load, "load")
    looks = counted(monkeypatch, session, "look_at")
    if short:
        monkeypatch.setattr(plan, "available", lambda _: 1)
    made = train.train(build(override(config.model_dump(mode="json"), FIT)))
    assert (len(loads), len(looks)) == (1, 1)
    assert made.planned is not None
    assert made.planned.taken == short
    base = Run.open(made.run.path).config.base
    assert (base.dtype, base.quantize) == (("bf16", "nf4") if short else ("auto", "none"))


@pytest.mark.slow  # more trainings
def test_a_run_on_changed_settings_is_one_that_began_with_them(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the byte: what `resume` opens is what the first process had made of its base."""
    with monkeypatch.context() as patch:
        patch.setattr(plan, "available", lambda _: 1)
        first = train.train(build(override(config.model_dump(mode="json"), FIT)), Path("a"))
    assert first.planned is not None
    changes = FIT | {name: str(value).lower() for name, value in first.planned.changes.items()}
    second = train.train(build(override(config.model_dump(mode="json"), changes)), Path("b"))
    assert tensors(first.adapter.read_bytes()) == tensors(second.adapter.read_bytes())


def tensors(file: bytes) -> bytes:
    """A safetensors file without its header, which holds the config's hash."""
    return file[8 + int.from_bytes(file[:8], "little") :]


# --- what is left behind ----------------------------------------------------------------------


def test_the_process_is_what_it_was(config: Config) -> None:
    torch.set_num_threads(2)
    torch.backends.cudnn.benchmark = True
    inside: list[tuple[object, ...]] = []

    class Ear(Tell):
        def note(self, text: str) -> None:
            if text.startswith("plan: "):
                inside.append(process())

    try:
        before = process()
        path = train.train(config, tell=Ear()).run.path
        assert process() == before
        assert inside == [(1, True, True, False, before[-1])]
        train.resume(path)
        plan.plan(config)
        with pytest.raises(ConfigError):
            train.train(config.model_copy(update={"base": config.base.model_copy(
                update={"device": "mps"})}))  # fmt: skip
        assert process() == before
    finally:
        torch.set_num_threads(1)
        torch.backends.cudnn.benchmark = False


def test_what_a_kill_before_the_proof_left_out_is_made_up(
    config: Config, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    whole = train.train(config)
    proof = read_json(whole.run.proof_path)
    card = (whole.run.path / "README.md").read_bytes()

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(export, "prove_files", killed)
        with pytest.raises(KeyboardInterrupt):
            train.train(config)
    run = Run.open(Path("runs/kaiffin-2"))
    assert run.finished
    assert not run.proof_path.exists()
    (run.path / "README.md").unlink()
    before = run.adapter_path.read_bytes()
    assert main(["resume", str(run.path)]) == 0
    said = capsys.readouterr().out
    assert "proof: an independent reader attaches" in said
    assert re.search(r"is finished: .*kaiffin\.safetensors", said)
    assert read_json(run.proof_path) == proof
    assert (run.path / "README.md").read_bytes().replace(b"kaiffin-2", b"kaiffin") == card
    assert run.adapter_path.read_bytes() == before
    again = counted(monkeypatch, load, "load")
    assert train.resume(run.path).proofs == {}
    assert not again
    run.proof_path.unlink()
    moved_base(run, Path.cwd() / "SD, tiny")
    assert train.resume(run.path).proofs.keys() == {""}
    assert read_json(run.proof_path) == proof


def test_an_adapter_that_does_nothing_is_no_success_later_either(
    config: Config, capsys: pytest.CaptureFixture
) -> None:
    """At this rate every up matrix stays too small to move the output by a bit."""
    made = train.train(build(override(config.model_dump(), {"train.lr": 1e-30})))
    assert made.is_idle
    assert main(["resume", str(made.run.path)]) == 1
    assert "it does nothing" in " ".join(capsys.readouterr().out.split())
    words = ["adapter", "verify", str(made.adapter), "--base", config.base.name]
    assert main(words) == 1
