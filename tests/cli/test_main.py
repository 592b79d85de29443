"""What bad input gets: one line that names field, value and way out, exit code 2, no traceback."""

import shutil
import sys
from pathlib import Path

import fresh
import pytest
from conftest import FEW, grainy_photos
from PIL import Image

from kaiffin.cli.main import main
from kaiffin.foundation.settings import load

KAIFFIN = [sys.executable, "-m", "kaiffin"]


@pytest.fixture(scope="module")
def trained(sd_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of two steps on the tiny base."""
    folder = tmp_path_factory.mktemp("trained")
    grainy_photos(folder)
    run = folder / "run"
    call = ["train", str(folder), "--base", str(sd_path), "--class", "thing", "--steps", "2"]
    more = ["--out", str(run), "--data.prior.weight", "0", "--train.tensorboard", "false"]
    more += ["--adapter.targets", FEW]
    assert main([*call, *more]) == 0
    return run


def said(arguments: list[object], capsys: pytest.CaptureFixture[str]) -> str:
    """stderr of a call that must fail with one line and exit code 2."""
    code = main([str(argument) for argument in arguments])
    text = capsys.readouterr().err
    assert code == 2, text
    assert text.startswith("kaiffin: ")
    assert text.count("\n") == 1, text
    assert "Traceback" not in text
    return text


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["train", "PHOTOS", "--steps", "-5"], "kaiffin: --steps: train.steps = -5"),
        (["train", "PHOTOS", "--train.stepz", "5"], 'Did you mean "--train.steps"'),
        (["train", "PHOTOS", "--stepz", "5"], 'no --stepz. Did you mean "--steps"'),
        (["train", "PHOTOS", "--zzz", "5"], "See `kaiffin train --help`"),
        (["train", "PHOTOS", "--train.lr", "fast"], "--train.lr = 'fast'"),
        (["choose", "RUN", "--base.device"], "'--base.device' requires an argument"),
        (["--train.lr", "1", "train", "PHOTOS"], "--train.lr belongs behind the command"),
        (["train", "PHOTOS", "--resolution", "65"], "the nearest is 64"),
        (["train", "PHOTOS", "--data.template", "{x}"], "{x}"),
        (["train", "PHOTOS", "--adapter.targets", "nope"], "matches no module"),
        (["train", "PHOTOS", "--base", "sd-15"], 'Did you mean "sd15"'),
        (["train", "PHOTOS", "--base.dtype", "fp16"], "fp16"),
        (["train", "EMPTY"], "holds no photos"),
        (["train", "GONE"], "no such folder"),
        (["train", "OLD.yaml"], "version 0"),
        (["train", "BROKEN.yaml"], "not valid YAML"),
        (["train", "UNKNOWN.yaml"], 'Did you mean "adapter.rank"'),
        (["resume", "GONE"], "no run folder"),
        (["generate", "RUN", "x", "--size", "65x64"], "divisible by 8; the nearest is 64x64"),
        (["generate", "RUN", "x", "--size", "big"], "kaiffin: --size: sample.size = 'big'"),
        (["generate", "RUN", "x", "--size", "big"], "Write it as 512x768"),
        (["generate", "RUN", "x", "--steps", "-1"], "sample.steps = -1"),
        (["generate", "RUN", "x", "--sampler", "plms"], "sample.sampler"),
        (["generate", "RUN", "x", "--adapter", "GONE.safetensors:0.5"], "cannot be read"),
        (["generate", "RUN", "x", "--adapter", "PICKLE.pt"], "pickle"),
        (["generate", "RUN", "--prompts", "HOLE.txt"], "line 2: is empty"),
        (["generate", "RUN"], "one prompt, or a file"),
        (["generate"], "Name a run folder or a base"),
        (["generate", "--from", "PLAIN.png"], "carries no Kaiffin recipe"),
        (["generate", "RUN", "x", "-n", "0"], "must be at least 1"),
        (["prepare", "PHOTOS", "--data.background", "nocolour"], "not a colour"),
        (["demo", "--subject", "cat"], "kaiffin or plush"),
        (["demo", "--train.steps", "3"], "has no effect on `kaiffin demo`"),
        (["generate", "RUN", "x", "--train.lr", "1"], "has no effect on `kaiffin generate`"),
        (["choose", "RUN", "--score.candidates", "3"], "has no effect on `kaiffin choose`"),
        (["grid", "RUN", "x", "--score.seeds", "3"], "has no effect on `kaiffin grid`"),
        (["nonsense"], "nonsense"),
        (["trian", "PHOTOS"], "'train'"),
        (["resume"], "Missing argument 'RUN'. See `kaiffin resume --help`"),
        (["rank", "PHOTOS"], "Missing option '--prompt'"),
    ],
)
def test_bad_input(
    arguments: list[str], expected: str, photos6: Path, trained: Path, sd_path: Path,
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / "EMPTY").mkdir()
    (tmp_path / "OLD.yaml").write_text("version: 0")
    (tmp_path / "BROKEN.yaml").write_text("train: [")
    (tmp_path / "UNKNOWN.yaml").write_text("adapter: {rnak: 4}")
    (tmp_path / "HOLE.txt").write_text("a dog\n\na cat\n")
    (tmp_path / "PICKLE.pt").write_bytes(b"cos\nsystem\n.")
    Image.new("RGB", (8, 8)).save(tmp_path / "PLAIN.png")
    places = {"PHOTOS": str(photos6), "RUN": str(trained)}
    call = [places.get(a, a) for a in arguments]
    if call[0] == "train" and "--base" not in call and call[1] == str(photos6):
        call += ["--base", str(sd_path)]
    assert expected in said(call, capsys)
    made = [path for path in tmp_path.rglob("*.safetensors") if "cache" not in path.parts]
    assert not made  # no adapter, that is; how the base sees the photos may be kept
    assert not list(tmp_path.rglob("*.part"))


def test_a_bad_photo_stops_training_by_name(
    photos6: Path, sd_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos6 / "bad.png").write_bytes((photos6 / "0.png").read_bytes()[:200])
    call = ["train", photos6, "--base", sd_path, "--class", "x", "--out", tmp_path / "run"]
    assert "bad.png" in said(call, capsys)
    # Nothing was trained: the same call may be made again once the photo is mended.
    (photos6 / "bad.png").unlink()
    more = ["--steps", "1", "--data.prior.weight", "0", "--train.tensorboard", "false"]
    more += ["--adapter.targets", FEW]
    assert main([str(a) for a in [*call, *more]]) == 0


def test_an_adapter_of_another_base(
    trained: Path, sdxl_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    adapter = next(trained.glob("*.safetensors"))
    text = said(["generate", sdxl_path, "x", "--adapter", adapter, "--steps", 1], capsys)
    assert "was made for sd_v1" in text


def test_a_finished_run_is_not_overwritten(
    trained: Path, photos6: Path, sd_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = ["train", photos6, "--base", sd_path, "--out", trained]
    assert "holds a run already" in said(call, capsys)


def test_train_generate_and_remake(trained: Path, tmp_path: Path) -> None:
    """Photos to picture to the same picture again, and nothing is overwritten."""
    call = ["generate", str(trained), "a photo of kaiffin", "-n", "2", "--steps", "3"]
    call += ["--batch-size", "1"]  # in a batch of two, a pixel may round otherwise
    assert main([*call, "--out", str(tmp_path / "a")]) == 0
    assert main([*call, "--out", str(tmp_path / "a"), "--no-metadata"]) == 0
    made = sorted((tmp_path / "a").glob("a-photo*.png"))
    assert len(made) == 4
    first = next(p for p in made if p.name.endswith("seed0.png"))
    assert main(["generate", "--from", str(first), "--out", str(tmp_path / "b")]) == 0
    again = next((tmp_path / "b").glob("*.png"))
    assert again.read_bytes() == first.read_bytes()
    with Image.open(first.with_name(first.stem + "-2.png")) as bare:
        assert bare.info == {}
    assert (tmp_path / "a" / "sheet.png").is_file()
    moved = trained.parent / "moved"
    adapter = next(trained.glob("*.safetensors"))
    shutil.move(adapter, moved)
    try:
        assert main(["generate", "--from", str(first), "--out", str(tmp_path / "b")]) == 2
    finally:
        shutil.move(moved, adapter)


def test_a_run_folder_has_what_is_promised(trained: Path) -> None:
    names = {path.name for path in trained.iterdir()}
    assert {"config.yaml", "manifest.json", "metrics.jsonl", "README.md", "data"} <= names
    config = load(trained / "config.yaml")
    assert config.adapter.rank == 16
    assert config.data.resolution == 64
    card = (trained / "README.md").read_text()
    assert card.startswith("---\nbase_model:")
    assert "instance_prompt: a photo of kaiffin thing" in card
    assert str(trained.parent) not in card
    assert (trained / "data" / "contact_sheet.png").is_file()


def test_dry_run_trains_nothing(
    photos6: Path, sd_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    call = ["train", str(photos6), "--base", str(sd_path), "--class", "x", "--dry-run"]
    assert main([*call, "--adapter.targets", FEW]) == 0
    out = capsys.readouterr().out
    assert "trainable weights" in out
    assert "adapter.rank = 16" in out
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow  # processes of their own
def test_the_miniature_gives_the_same_bytes_on_any_number_of_cores(
    photos6: Path, tmp_path: Path
) -> None:
    files = []
    for name in ("one", "four"):
        out = tmp_path / name
        train = ["train", photos6, "--class", "bear", "--steps", "2", "--out", out]
        make = ["generate", out, "a bear", "--steps", "2", "--out", out / "i"]
        for call in ([*map(str, train), "--data.prior.weight", "0"], [*map(str, make)]):
            if name == "one":  # as this process has
                assert main(call) == 0
            else:
                assert fresh.run(call, before=fresh.four_threads).returncode == 0
        with Image.open(out / "i" / "a-bear-seed0.png") as image:
            files.append(((out / "kaiffin.safetensors").read_bytes(), image.tobytes()))
    assert files[0] == files[1]


def test_folders_and_photos_without_rights(photos6: Path, sd_path: Path, tmp_path: Path) -> None:
    def refused(*arguments: object) -> str:
        done = fresh.run(arguments, before=fresh.without_root)
        assert done.returncode == 2, done.stderr
        assert done.stderr.count("\n") == 1, done.stderr
        return done.stderr

    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    call = ["train", photos6, "--base", sd_path, "--class", "x"]
    assert "no right to write" in refused(*call, "--out", closed / "run")
    (photos6 / "1.png").chmod(0)
    assert "1.png: cannot be read" in refused("prepare", photos6, "--out", tmp_path / "out")
    photos6.chmod(0)
    try:
        assert "photos: cannot be read" in refused("prepare", photos6, "--out", tmp_path / "out2")
    finally:
        photos6.chmod(0o700)
