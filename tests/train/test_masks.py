"""Masks that the base makes: held against where the world has painted the character."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kaiffin.cli.main import main
from kaiffin.data import sources
from kaiffin.foundation.config import BaseConfig, DataConfig, SubjectConfig
from kaiffin.foundation.run import Run
from kaiffin.foundation.runtime import Runtime
from kaiffin.foundation.tell import SILENT
from kaiffin.miniature.world import world
from kaiffin.miniature.world.vocabulary import SIDE
from kaiffin.models.base import ModelFamily
from kaiffin.models.files.load import load_base
from kaiffin.train.masks import Masker


@pytest.fixture(scope="module")
def miniature() -> ModelFamily:
    config = BaseConfig(name="miniature")
    return load_base(config, Runtime.from_config(config), SILENT)


def shares(mask: Image.Image) -> np.ndarray:
    return np.asarray(mask, dtype=float) / 255


def test_it_is_where_the_character_is(miniature: ModelFamily) -> None:
    """More than three times as white where the world has painted it as elsewhere, in nine of ten
    photos: also in those that are no square, or much larger than the base paints."""
    masker = Masker(miniature, "puffin", SIDE, "#fff")
    better = []
    for number in range(10):
        scene = ("meadow", "beach", "kitchen")[number % 3]
        spec = world.subject_spec("kaiffin", scene, detail=number)
        whole, bare = (world.render(s, 128) for s in (spec, replace(spec, species=None)))
        there = np.abs(np.asarray(whole).astype(int) - np.asarray(bare)).max(-1) > 12
        if number % 2:
            whole, there = whole.crop((16, 0, 112, 128)), there[:, 16:112]
        found = masker.mask(whole)
        assert found.size == whole.size
        mask = shares(found)
        better.append(mask[there].mean() > 3 * mask[~there].mean())
    assert sum(better) >= 9, better


def test_the_same_photo_has_the_same_mask_and_keeps_it(
    miniature: ModelFamily, tmp_path: Path
) -> None:
    photos, masks = tmp_path / "photos", tmp_path / "masks"
    photos.mkdir()
    ((image, _),) = world.subject_photos("kaiffin", 1)
    image.save(photos / "a.png")
    (photos / "b.png").write_bytes(b"no picture")
    listing = sources.read(DataConfig(photos=photos), SubjectConfig(noun="puffin"))
    masker = Masker(miniature, "puffin", SIDE, "#fff")
    one, other = masker.masked(listing, masks, SILENT).sources
    assert one.mask_path
    assert other.mask_path is None, "it is refused where it is examined"
    made = one.mask_path.read_bytes()
    one.mask_path.unlink()
    again = masker.masked(listing, masks, SILENT).sources[0].mask_path
    assert again
    assert again.read_bytes() == made
    of_another = replace(masker, noun="bear").masked(listing, masks, SILENT).sources[0]
    assert of_another.mask_path != again


def test_a_base_that_says_nothing_of_places_masks_nothing(flow: ModelFamily) -> None:
    grain = Image.effect_noise((64, 64), 60).convert("RGB")
    assert shares(Masker(flow, "dog", flow.native_size, "#fff").mask(grain)).min() == 1


def test_a_training_with_masks_goes_on_exactly(tmp_path: Path) -> None:
    """The sheet shows them, latents carry them, and a run that is resumed takes them again."""
    photos = tmp_path / "photos"
    photos.mkdir()
    for number, (image, caption) in enumerate(world.subject_photos("kaiffin", 2)):
        image.save(photos / f"{number}.png")
        (photos / f"{number}.txt").write_text(caption)
    call = ["train", str(photos), "--class", "puffin", "--steps", "2", "--data.prior.weight", "0",
            "--train.tensorboard", "false", "--adapter.targets", "*.attn1.to_q"]  # fmt: skip
    runs = {name: tmp_path / name for name in ("auto", "plain")}
    assert main([*call, "--out", str(runs["auto"]), "--data.masks", "auto"]) == 0
    assert main([*call, "--out", str(runs["plain"])]) == 0
    losses = [Run.open(path).metrics()[0]["loss"] for path in runs.values()]
    assert losses[0] != losses[1]
    auto = Run.open(runs["auto"])
    assert len(list((auto.photos_folder() / "masks").glob("*.png"))) == 2
    sheets = [(path / "data" / "contact_sheet.png").read_bytes() for path in runs.values()]
    assert sheets[0] != sheets[1]
    assert all(one["mask"] is None for one in auto.beginning()["photos"][0]["photos"])
    config = auto.config_path.read_text().replace("steps: 2\n", "steps: 3\n", 1)
    auto.config_path.write_text(config)
    assert main(["resume", str(runs["auto"])]) == 0
    assert [one["step"] for one in Run.open(runs["auto"]).metrics()] == [1, 2, 3]


def test_masks_are_on_the_sheet_before_a_training(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    ((image, _),) = world.subject_photos("kaiffin", 1)
    image.save(photos / "a.png")
    call = ["prepare", str(photos), "--class", "puffin", "--out", str(tmp_path / "out")]
    assert main([*call, "--data.masks", "auto"]) == 0
    sheet = Image.open(tmp_path / "out" / "contact_sheet.png").convert("RGB")
    red = np.asarray(sheet).astype(int)
    assert (red[..., 0] - red[..., 1:].max(-1) > 40).mean() > 0.02
    assert main([*call[:2], "--data.masks", "auto"]) == 2  # of which class?
