"""The values in a sweep's file mean what they mean in a config, and what is wrong is named."""

from pathlib import Path

import pytest

from kaiffin.experiments.sweep.trials import Trial, read
from kaiffin.foundation.errors import ConfigError
from kaiffin.foundation.settings import flat


def trials(folder: Path, text: str) -> list[Trial]:
    (folder / "base.yaml").write_text("data: {photos: 2024}\nsubject: {noun: x}\ntrain:\n")
    file = folder / "sweep.yaml"
    file.write_text(f"config: base.yaml\nprompts: [x]\n{text}\n")
    return read(file)[1]


@pytest.mark.parametrize(
    ("text", "setting", "values"),
    [
        ("grid: {data.photos: [2024, no, 1e3]}", "data.photos", ["2024", "no", "1e3"]),
        ("trials: {a: , b: {train.lr: 1e-4}}", "train.lr", [None, 1e-4]),
        ("grid: {train.schedule: [null, linear]}", "train.schedule", [None, "linear"]),
        ("grid: {train.steps: [1_000, 2e3]}", "train.steps", [1000, 2000]),
        ("set: {data.flip: yes}\ntrials: {a: {}}", "data.flip", [True]),
        ("set:\ngrid: {train.betas: [[0.9, 0.99]]}", "train.betas", [[0.9, 0.99]]),
    ],
)
def test_values_are_those_of_their_field(
    tmp_path: Path, text: str, setting: str, values: list[object]
) -> None:
    assert [flat(trial.config)[setting] for trial in trials(tmp_path, text)] == values


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("grid: {train.lr: [1e-4, 0.0001]}", "grid.train.lr holds 0.0001 twice"),
        ("grid: {train.steps: [yes]}", "train.steps = 'yes': is not a whole number"),
        ("trials: {a: {train.lr: '0,1'}}", "trial a: train.lr = '0,1': is not a number; write 0.1"),
        ("trials: {a: {}, a: {}}", "line 3: a: stands in line 3 already"),
        ("grid: {adapter.rnk: [4]}", 'Did you mean "adapter.rank"'),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        trials(tmp_path, text)
    assert said in str(caught.value)
    assert str(tmp_path / "sweep.yaml") in str(caught.value)
