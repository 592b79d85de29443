"""Settings edited in a begun run: applied where they do not touch what was learnt, else refused."""

from pathlib import Path

import pytest
from begun_run import STEPS, STOP, begun_run, call, copied, edit

from kaiffin.adapters.files import safe
from kaiffin.cli.main import main
from kaiffin.foundation.errors import RunError
from kaiffin.foundation.paths import PLACES
from kaiffin.foundation.run import Run
from kaiffin.foundation.settings import fields
from kaiffin.stories.train import resume
from kaiffin.train.edits import MAY_CHANGE, edits_of, may_change, settings_of


@pytest.fixture(scope="module")
def begun(sd_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return begun_run(tmp_path_factory.mktemp("begun"), sd_path)


@pytest.fixture(scope="module")
def longer(begun: Run, sd_path: Path) -> bytes:
    """The adapter of a run that was begun with two steps more."""
    out = begun.path.with_name("longer")
    assert main(call(sd_path, out, steps=STEPS + 2)) == 0
    return Run.open(out).adapter_path.read_bytes()


def test_every_setting_is_either_applied_or_refused_with_both_values(
    begun: Run, tmp_path: Path
) -> None:
    run = copied(begun, tmp_path)
    record = run.beginning()
    names = {name for name, _ in fields()} - set(PLACES)
    assert record["settings"].keys() == names == settings_of(run.config).keys()
    free = {name for name in names if may_change(name)}
    assert {"train.lr", "adapter.rank", "train.seed", "data.template"} <= names - free
    assert free >= {name for name in MAY_CHANGE if "*" not in name}
    for name in names:
        run.write_json("beginning.json", record | {"settings": record["settings"] | {name: "?"}})
        if name in free:
            assert edits_of(run) == {name: ("?", record["settings"][name])}
        else:
            with pytest.raises(RunError, match=f'{name} = .*, begun with "\\?"\\. Put them back'):
                edits_of(run)


def test_refused_edits_change_nothing(
    begun: Run, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    run = edit(copied(begun, tmp_path), train__lr=0.5, adapter__rank=4, train__optimizer="lion")
    before = run.config_path.read_bytes()
    assert main(["resume", str(run.path)]) == 2
    said = capsys.readouterr().err
    for told in (
        "train.lr = 0.5, begun with 0.01", "adapter.rank = 4, begun with 2",
        'train.optimizer = "lion", begun with "adamw"', "what may change: train.steps",
    ):  # fmt: skip
        assert told in said
    assert run.config_path.read_bytes() == before
    assert not run.finished


def test_fewer_steps_than_are_done(begun: Run, tmp_path: Path) -> None:
    run = edit(copied(begun, tmp_path), train__steps=STOP - 1)
    with pytest.raises(RunError, match=f"steps end at {STOP - 1}, and {STOP} are done already"):
        resume(run.path)
    made = resume(edit(run, train__steps=STOP).path)
    assert made.steps == STOP
    assert made.proofs[""].holds
    with pytest.raises(RunError, match="are done already"):
        resume(edit(run, train__steps=1).path)


def test_applied_edits_leave_the_bytes(
    begun: Run, longer: bytes, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """At a constant rate a run that is made longer is one that was begun so, also once finished."""
    run = edit(copied(begun, tmp_path / "a"), train__checkpoint_every=3, train__keep=1)
    run = edit(run, train__steps=STEPS + 2, sample__guidance=3.0)
    assert main(["resume", str(run.path)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert f"train.steps is now {STEPS + 2}, was {STEPS}; it ends as a run that was begun" in said
    assert "train.keep is now 1, was 3" in said
    assert run.adapter_path.read_bytes() == longer
    assert [step for step, _ in run.restart_points()] == [STEPS + 2]
    assert run.beginning()["changes"][0]["after"] == STOP

    done = copied(begun, tmp_path / "b")
    resume(done.path)
    short = done.adapter_path.read_bytes()
    assert resume(edit(done, train__steps=STEPS + 2).path).adapter.read_bytes() == longer
    assert dict(done.candidates())[STEPS].read_bytes() == short
    assert resume(done.path).planned is None


def test_a_schedule_that_is_stretched_is_said_in_the_file(
    sd_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    run = begun_run(tmp_path, sd_path, train__schedule="cosine")
    run = edit(run, train__steps=STEPS + 2)
    assert main(["resume", str(run.path)]) == 0
    assert "the cosine schedule spans all steps" in " ".join(capsys.readouterr().out.split())
    header = safe.header(run.adapter_path)[1]
    assert header["kaiffin.changed"] == f"train.steps {STEPS} -> {STEPS + 2} after step {STOP}"
