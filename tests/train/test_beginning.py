"""A run is what it was begun with: photos, captions, masks, class pictures, base; by content."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from begun_run import STEPS, begun_run, call, copied, edit, photos
from conftest import load_tiny
from hearing import Heard
from PIL import Image
from tiny import tiny_sd

from kaiffin.cli.main import main
from kaiffin.data import sources
from kaiffin.foundation.errors import PhotoError, RunError
from kaiffin.foundation.run import Run
from kaiffin.foundation.tell import SILENT
from kaiffin.score.photos import subject_photos
from kaiffin.stories.train import resume
from kaiffin.train import beginning


@pytest.fixture(scope="module")
def begun(sd_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return begun_run(tmp_path_factory.mktemp("begun"), sd_path)


@pytest.fixture(scope="module")
def whole(begun: Run, sd_path: Path) -> bytes:
    """The adapter of the same run, never stopped."""
    out = begun.path.with_name("whole")
    assert main(call(sd_path, out)) == 0
    return Run.open(out).adapter_path.read_bytes()


# --- photos -------------------------------------------------------------------------------------


def paint(path: Path) -> None:
    mode = "L" if path.parent.name == "masks" else "RGB"
    Image.new(mode, (64, 64), 77).save(path)


def rename(pics: Path) -> None:
    for folder in (pics, pics / "masks"):
        (folder / "1.png").rename(folder / "7.png")


def add(pics: Path) -> None:
    paint(pics / "masks" / "9.png")
    paint(pics / "9.png")


def remove(pics: Path) -> None:
    (pics / "2.png").unlink()


def several(pics: Path) -> None:
    add(pics)
    remove(pics)
    paint(pics / "0.png")
    (pics / "1.txt").write_text("kaiffin thing by day")


DIFFERENT: dict[str, Callable[[Path], object]] = {
    "replaced: 1.png": lambda pics: paint(pics / "1.png"),
    "missing: 2.png": remove,
    "new: 9.png": add,
    "renamed: 1.png to 7.png": rename,
    "captioned otherwise: 1.png": lambda pics: (pics / "1.txt").write_text("kaiffin thing, red"),
    "captioned otherwise: 0.png": lambda pics: (pics / "0.txt").unlink(),
    "with another mask: 1.png": lambda pics: paint(pics / "masks" / "1.png"),
    "replaced: 0.png; missing: 2.png; new: 9.png; captioned otherwise: 1.png": several,
    "replaced: 0.png, 1.png, 2.png": lambda pics: [paint(pics / f"{i}.png") for i in range(3)],
}


@pytest.mark.parametrize("told", DIFFERENT)
def test_other_photos_are_refused_by_name(told: str, begun: Run, tmp_path: Path) -> None:
    run = copied(begun, tmp_path)
    if told.count(".png") == 3:  # nothing is left by which its folder could be known elsewhere
        shutil.move(begun.path.parent, tmp_path / "away")
    try:
        DIFFERENT[told](tmp_path / "pics")
        before = {path: path.read_bytes() for path in run.path.rglob("*.*") if path.is_file()}
        with pytest.raises(RunError, match=f"begun with: {told}\\. Put them back"):
            resume(run.path)
        after = {path: path.read_bytes() for path in before}
        assert {p.name for p in before if before[p] != after[p]} <= {"lock"}
    finally:
        if (tmp_path / "away").exists():
            shutil.move(tmp_path / "away", begun.path.parent)


def test_what_is_no_photo_may_come_and_go(begun: Run, tmp_path: Path) -> None:
    run = copied(begun, tmp_path)
    (tmp_path / "pics" / "notes.md").write_text("sunny")
    (tmp_path / "pics" / ".hidden").write_text("")
    assert beginning.check(run, SILENT)[0] == {}


def test_class_pictures_and_base_are_the_same(begun: Run, sd_path: Path, tmp_path: Path) -> None:
    run = copied(begun, tmp_path)
    picture = next(run.cache.glob("prior-*/*.png"))
    paint(picture)
    with pytest.raises(RunError, match=f"class pictures.*: {picture.parent.name}/{picture.name}"):
        resume(run.path)
    other = edit(copied(begun, tmp_path / "b"), base__name=str(tiny_sd(tmp_path / "other", seed=1)))
    with pytest.raises(RunError, match="was begun on base weights"):
        resume(other.path)
    with pytest.raises(RunError, match="Install the Kaiffin that they came with"):
        beginning.refuse_other_base(begun, "5" * 64, "miniature")
    same = shutil.copytree(sd_path, tmp_path / sd_path.name)
    assert (
        beginning.check(edit(copied(begun, tmp_path / "c"), base__name=str(same)), SILENT)[0] == {}
    )
    assert load_tiny(same).revision == begun.beginning()["base"]


# --- places -------------------------------------------------------------------------------------


def test_the_run_knows_its_photos_from_anywhere(
    sd_path: Path, tmp_path: Path, begun: Run, whole: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Begun with relative paths, and asked from elsewhere after a move of both."""
    here = tmp_path / "here"
    shutil.copytree(begun.path.with_name("pics"), here / "pics")
    monkeypatch.chdir(here)
    assert main(call(sd_path, Path("run"))) == 0
    run = Run.open(Path("run"))
    assert run.config.data.photos == here / "pics"
    assert run.adapter_path.read_bytes() == whole
    (here / "elsewhere" / "pics").mkdir(parents=True)
    paint(here / "elsewhere" / "pics" / "0.png")
    monkeypatch.chdir(here / "elsewhere")
    there = here.rename(tmp_path / "there")
    moved = Run.open(there / "run")
    assert {path.parent for path in subject_photos([moved]).trained} == {there / "pics"}


@pytest.mark.parametrize("how", ["together", "renamed", "the run alone", "named", "the photos"])
def test_moved_it_ends_in_the_same_bytes(
    how: str, begun: Run, whole: bytes, tmp_path: Path
) -> None:
    run = copied(begun, tmp_path / "a")
    pics = tmp_path / "a" / "pics"
    if how == "the run alone":
        run = Run.open(run.path.rename(tmp_path / "other"))
        shutil.rmtree(pics)
        pics = begun.path.with_name("pics")
    elif how == "renamed":
        pics = pics.rename(pics.with_name("Puffin, 2024"))
        run = Run.open(run.path.rename(run.path.with_name("first try")))
        run = without(begun, run)
    elif how == "named":
        pics = Path(shutil.move(pics, tmp_path / "far" / "deep" / "photos"))
        run = edit(run, data__photos=str(pics))
    elif how == "the photos":
        pics = Path(shutil.move(pics, tmp_path / "pics"))
        run = edit(run, data__photos=str(tmp_path / "a" / "pics"))
        run = without(begun, run)
    if how == "the photos":
        with pytest.raises(RunError, match=r"gone: 0\.png, 1\.png, 2\.png; they are neither in"):
            resume(run.path)
        return
    heard = Heard()
    made = resume(run.path, tell=heard)
    assert made.run.config.data.photos == pics
    assert made.adapter.read_bytes() == whole
    assert len(subject_photos([made.run]).trained) == 3
    assert resume(run.path).adapter == made.adapter


@pytest.fixture(scope="module")
def onward(
    begun: Run, whole: bytes, sd_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Run:
    """A run that goes on from an adapter beside it, a base and a VAE beside it; all was moved."""
    folder = tmp_path_factory.mktemp("onward") / "before"
    shutil.copytree(sd_path, folder / "base")
    (folder / "start.safetensors").write_bytes(whole)
    shutil.copytree(sd_path / "vae", folder / "vae")
    more = {"adapter__init_from": folder / "start.safetensors", "base__vae": folder / "vae"}
    more["adapter__targets"] = None  # the file's
    begun_run(folder, folder / "base", **more)
    return Run.open(folder.rename(folder.with_name("now")) / "run")


MOVED: dict[str, Callable[[Path], object]] = {
    "": lambda top: None,
    "start": lambda top: (top / "start.safetensors").rename(top / "older.safetensors"),
    "base": lambda top: (top / "base").rename(top / "SD, tiny"),
    "vae": lambda top: (top / "vae").rename(top / "vae 2"),
    "adapter.init_from is gone or replaced": lambda top: (top / "start.safetensors").unlink(),
    "adapter.init_from is gone or replaced: its": lambda top: shutil.copy(
        next((top / "run" / "candidates").iterdir()), top / "start.safetensors"
    ),
    "base.name is gone or replaced": lambda top: shutil.rmtree(top / "base"),
    "base.vae is gone or replaced": lambda top: shutil.rmtree(top / "vae"),
}


@pytest.mark.parametrize("how", MOVED)
def test_adapter_and_base_are_found_where_they_were_moved(
    how: str, onward: Run, tmp_path: Path
) -> None:
    run, heard = copied(onward, tmp_path), Heard()
    MOVED[how](tmp_path)
    if "gone" in how:
        shutil.move(onward.path.parent, onward.path.parent.with_name("away"))
        try:
            with pytest.raises(RunError, match=how):
                beginning.check(run, SILENT)
        finally:
            shutil.move(onward.path.parent.with_name("away"), onward.path.parent)
        return
    assert beginning.check(run, heard)[0] == {}
    start = "older.safetensors" if how == "start" else "start.safetensors"
    base = "SD, tiny" if how == "base" else "base"
    assert run.config.adapter.init_from == tmp_path / start
    assert run.config.base.name == str(tmp_path / base)
    assert run.config.base.vae == str(tmp_path / ("vae 2" if how == "vae" else "vae"))
    assert len(heard.notes) == 4  # photos, adapter, base, VAE
    if how == "start":
        before = onward.beginning()["id"]
        assert resume(run.path).run.beginning()["id"] == before
        assert Run.open(run.path).config.adapter.init_from == tmp_path / start


@pytest.fixture(scope="module")
def phased(sd_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that was stopped in the first of two phases, the second with photos of its own; all
    was moved."""
    folder = tmp_path_factory.mktemp("phased") / "before"
    photos(folder / "more")
    for i in range(3):
        Image.new("RGB", (64, 64), (40 * i, 90, 200)).save(folder / "more" / f"{i}.png")
    phases = [{"name": "first"}, {"name": "second", "photos": str(folder / "more")}]
    given = {"data": {"photos": str(folder / "pics")}, "phases": phases}
    (folder / "two.yaml").write_text(json.dumps(given))
    begun_run(folder, sd_path, source=folder / "two.yaml")
    return Run.open(folder.rename(folder.with_name("now")) / "run")


def of_second(top: Path, folder: Path | None) -> None:
    second = {"name": "second"} | ({"photos": str(folder)} if folder else {})
    edit(Run.open(top / "run"), phases=[{"name": "first"}, second])


OTHERWISE: dict[str, Callable[[Path], object]] = {
    r"replaced: 1\.png\.": lambda top: paint(top / "more" / "1.png"),
    r"missing: 1\.png\.": lambda top: (top / "more" / "1.png").unlink(),
    r"/pics are not .*replaced: 0\.png, 1\.png, 2\.png\.": lambda top: [
        shutil.copytree(top / "pics", top / "others" / "pics"),
        of_second(top, top / "others" / "pics"),
    ],
    "names 1 folder of photos, and the run was begun with 2": lambda top: of_second(top, None),
}


@pytest.mark.parametrize("told", OTHERWISE)
def test_the_photos_of_one_phase_are_held_to_what_they_were(
    told: str, phased: Run, tmp_path: Path
) -> None:
    run = copied(phased, tmp_path)
    OTHERWISE[told](tmp_path)
    with pytest.raises(RunError, match=told):
        beginning.check(Run.open(run.path), SILENT)


def test_the_photos_of_one_phase_are_found_where_they_were_moved(
    phased: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And each folder is read once: what was compared is what is trained on."""
    run, heard = copied(phased, tmp_path), Heard()
    (tmp_path / "more").rename(tmp_path / "later")
    assert beginning.check(run, heard)[0] == {}
    assert run.config.data.photos == tmp_path / "pics"
    assert [phase.photos for phase in run.config.phases] == [None, tmp_path / "later"]
    assert len(heard.notes) == 2  # of each folder
    looked_at, read = [], sources.read
    monkeypatch.setattr(sources, "read", lambda data, s: looked_at.append(data) or read(data, s))
    assert resume(run.path).steps == 2 * STEPS
    assert [data.photos for data in looked_at] == [tmp_path / "pics", tmp_path / "later"]


def test_another_folder_is_not_passed_over(begun: Run, tmp_path: Path) -> None:
    """Also where the photos that the run was begun with are still there."""
    run = edit(copied(begun, tmp_path), data__photos=str(tmp_path / "others"))
    with pytest.raises(PhotoError, match="others"):
        resume(run.path)
    photos(tmp_path / "others")
    (tmp_path / "others" / "3.png").write_bytes((tmp_path / "others" / "2.png").read_bytes())
    (tmp_path / "others" / "masks" / "3.png").write_bytes(b"mask")
    with pytest.raises(RunError, match=r"others are not those .*: replaced: .*; new: 3\.png\."):
        resume(run.path)


def without(begun: Run, run: Run) -> Run:
    """As if the original were gone: the record names a place that is not there."""
    record = run.beginning()
    record["photos"][0]["folder"] = str(run.path / "gone" / "pics")
    run.write_json("beginning.json", record)
    return edit(run, data__photos=record["photos"][0]["folder"])


def test_an_older_run_goes_on_and_gets_its_record(begun: Run, whole: bytes, tmp_path: Path) -> None:
    run = copied(begun, tmp_path)
    run.beginning_path.unlink()
    run = edit(run, data__photos=str(tmp_path / "pics"))  # nothing says where it was moved from
    aside = (tmp_path / "pics" / "1.png").rename(tmp_path / "1.png")
    paint(tmp_path / "pics" / "1.png")
    with pytest.raises(RunError, match=r"begun with: replaced: 1\.png\."):
        resume(run.path)
    aside.rename(tmp_path / "pics" / "1.png")
    assert resume(run.path).adapter.read_bytes() == whole
    assert run.beginning()["id"] == begun.beginning()["id"]


def test_a_run_that_is_begun_anew_forgets(begun: Run, sd_path: Path, tmp_path: Path) -> None:
    run = copied(begun, tmp_path)
    shutil.rmtree(run.path / "checkpoints")
    paint(tmp_path / "pics" / "1.png")
    with pytest.raises(RunError, match=r"replaced: 1\.png"):
        resume(run.path)
    assert main(call(sd_path, run.path, train__lr=1e-3)) == 0
    assert run.beginning()["settings"]["train.lr"] == 1e-3
    assert run.beginning()["settings"]["train.steps"] == STEPS
