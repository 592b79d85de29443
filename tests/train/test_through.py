"""The miniature's own autoencoder: its world comes back, other things do not; it is asked once."""

from pathlib import Path

import pytest
import tiny
from hearing import Heard
from PIL import Image

from kaiffin.data.through import HOLDS
from kaiffin.foundation.config import BaseConfig
from kaiffin.foundation.runtime import Runtime
from kaiffin.foundation.settings import build, override
from kaiffin.foundation.tell import SILENT
from kaiffin.miniature.world import world
from kaiffin.models.files.load import load_autoencoder, load_base
from kaiffin.stories.prepare import PhotoSet, prepare
from kaiffin.train.through import Through

GIVEN = {"subject.noun": "puffin"}


@pytest.fixture(scope="module")
def renders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("renders")
    for i, (image, _) in enumerate(world.subject_photos("kaiffin", 3)):
        image.save(folder / f"{i}.png")
    return folder


def look(folder: Path, out: Path, **more) -> tuple[PhotoSet, Heard]:
    heard = Heard()
    config = build(override({}, {"data.photos": str(folder), **GIVEN, **more}))
    return prepare(config, out, tell=heard), heard


def test_what_the_toy_world_drew_comes_back_and_grain_does_not(
    renders: Path, tmp_path: Path
) -> None:
    found, heard = look(renders, tmp_path / "out")
    assert all(p["autoencoder"]["psnr"] > 23 for p in found.prepared.manifest["photos"])
    assert not any("cannot show" in note for note in heard.notes)
    (tmp_path / "grain").mkdir()
    for path in renders.glob("*.png"):
        Image.effect_noise((96, 96), 90).convert("RGB").save(tmp_path / "grain" / path.name)
    found, heard = look(tmp_path / "grain", tmp_path / "out")
    assert all(p["autoencoder"]["likeness"] < HOLDS for p in found.prepared.manifest["photos"])
    assert any("cannot show" in note and "--base sd15" in note for note in heard.notes)


def test_the_autoencoder_alone_is_that_of_the_whole_base(renders: Path, tmp_path: Path) -> None:
    base = BaseConfig()
    runtime = Runtime.from_config(base)
    photo = Image.open(renders / "0.png").convert("RGB")
    one, other = (
        Through(load(base, runtime, SILENT), "miniature", tmp_path / load.__name__, SILENT)
        for load in (load_autoencoder, load_base)
    )
    assert one(photo, "a").tobytes() == other(photo, "a").tobytes()


def test_a_photo_goes_through_once(
    renders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, _ = look(renders, tmp_path)
    monkeypatch.setattr("kaiffin.models.parts.encode_images", None)  # nobody may ask again
    again, _ = look(renders, tmp_path)
    assert again.prepared.manifest == before.prepared.manifest


def test_a_checkpoint_file_gives_its_autoencoder_too(
    sd_path: Path, renders: Path, tmp_path: Path
) -> None:
    file = tiny.tiny_single_file(sd_path, tmp_path / "a.safetensors")
    found, _ = look(renders, tmp_path, **{"base.name": str(file)})
    assert all("autoencoder" in photo for photo in found.prepared.manifest["photos"])


def test_a_base_that_is_not_here_is_not_taken_for_it(
    renders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kaiffin.stories.prepare.is_here", lambda name: False)
    found, heard = look(renders, tmp_path)
    assert any("kaiffin bases get" in note for note in heard.notes)
    assert not any("autoencoder" in photo for photo in found.prepared.manifest["photos"])
