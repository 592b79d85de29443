"""Ways into the pictures of an order: recorded, made again, and refused before anything is made."""

from pathlib import Path

import pytest
import torch
from hearing import Heard, HeardOnDisk
from PIL import Image

from kaiffin.foundation.errors import ConfigError, UserError
from kaiffin.models.base import ModelFamily
from kaiffin.pictures import canvas
from kaiffin.pictures.start import File, Start
from kaiffin.stories.generate import Order, generate, remake

TWO = {"sample.steps": 2}


def pixels(path: Path) -> bytes:
    with Image.open(path) as image:
        return image.tobytes()


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    Image.effect_noise((64, 64), 60).convert("RGB").save(tmp_path / "photo.png")
    mask = Image.new("L", (64, 64))
    mask.paste(255, (0, 0, 24, 24))
    mask.save(tmp_path / "mask.png")
    return tmp_path / "photo.png"


def test_every_way_in_is_recorded_and_made_again(
    sd_path: Path, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the same pixels, also after the photo has another name and lies beside the picture."""
    image, mask = File.at(photo), File.at(photo.with_name("mask.png"))
    ways = {
        "over": Start(image=image, strength=0.7),
        "mask": Start(image=image, strength=0.9, mask=mask),
        "vary": Start(vary=0.2, vary_seed=7),
        "two": Start(upscale=1.5, box=(8, 8, 32, 32)),
        "words": Start(detail="dog"),
    }
    source, made = str(sd_path), {}
    for name, start in ways.items():
        order = Order(source, ["a dog"], start=start, out=tmp_path / "out" / name)
        (made[name],) = generate(order, changes={"sample.steps": 4}).pictures
    assert len({pixels(one.path) for one in made.values()}) == len(ways)
    assert made["mask"].recipe["request"]["start"]["feather"] == 2
    assert made["words"].recipe["request"]["start"]["detail"] == "dog"
    with Image.open(made["two"].path) as picture:
        assert picture.size == (96, 96)
    with Image.open(made["mask"].path) as picture:
        text = picture.info["parameters"]
        left = picture.crop((26, 26, 64, 64))
    assert "Denoising strength: 0.9, Mask blur: 2" in text
    with Image.open(photo) as before:
        assert left.tobytes() == before.crop((26, 26, 64, 64)).tobytes()
    for name, one in made.items():
        assert pixels(remake(one.path, tmp_path / "again").path) == pixels(one.path), name
    monkeypatch.chdir(sd_path)
    photo.rename(tmp_path / "out" / "over" / "renamed.png")
    heard = HeardOnDisk()
    again = remake(made["over"].path, tmp_path / "again", tell=heard)
    assert pixels(again.path) == pixels(made["over"].path)
    assert heard.notes == [f"note: its image {photo} is now {tmp_path / 'out/over/renamed.png'}"]
    with pytest.raises(UserError, match=r"photo\.png, which it was painted over .* is missing"):
        remake(made["mask"].path, tmp_path / "again")


def test_neighbours_of_a_seed(sd_path: Path, tmp_path: Path) -> None:
    start = Start(vary=0.3, vary_seed=9)
    order = Order(str(sd_path), ["a cat"], count=3, seed=4, start=start, out=tmp_path)
    found = generate(order, changes=TWO)
    asked = [(one.request.seed, one.request.start) for one in found.pictures]
    assert asked == [(4, Start(vary=0.3, vary_seed=9 + k)) for k in range(3)]
    assert found.paths[1].name == "a-cat-seed4vary10.png"
    assert len({pixels(path) for path in found.paths}) == 3


def test_a_photo_gives_its_size_unless_another_is_asked_for(
    sd_path: Path, photo: Path, tmp_path: Path
) -> None:
    Image.effect_noise((96, 48), 60).convert("RGB").save(photo)
    start = Start(image=File.at(photo))
    order, heard = Order(str(sd_path), ["a cat"], start=start, out=tmp_path / "a"), Heard()
    sizes = []
    for more in ({}, {"sample.size": (64, 64)}):
        (one,) = generate(order, changes=TWO | more, tell=heard).pictures
        sizes.append((one.request.width, one.request.height))
    assert sizes == [(96, 48), (64, 64)]
    assert len([note for note in heard.notes if "50% is cut off" in note]) == 1


@pytest.mark.parametrize(
    ("start", "said"),
    [
        (Start(detail="{token}"), "names no kaiffin to be found"),
        (Start(box=(0, 0, 65, 8)), "is no part of 8 pixels and more of a picture of 64x64"),
        (Start(box=(0, 0, 4, 8)), "is no part of 8 pixels and more"),
        (Start(vary=0.1, vary_seed=2**63 - 1), "seed 9223372036854775807: is too large"),
    ],
)
def test_what_cannot_be_painted_is_said_before_anything_is(
    start: Start, said: str, sd_path: Path, tmp_path: Path
) -> None:
    order = Order(str(sd_path), ["a cat"], start=start, count=2, out=tmp_path / "out")
    with pytest.raises(ConfigError, match=said):
        generate(order, changes=TWO)
    assert not (tmp_path / "out").exists()


def test_beyond_memory_the_way_out_is_a_smaller_factor(
    sd_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where an enlarged picture is encoded, torch is asked for more than any machine has."""
    real = canvas.encoded

    def encoded(family: ModelFamily, images: list[Image.Image]) -> torch.Tensor:
        torch.empty(2**60 if images[0].width > 64 else 1, dtype=torch.uint8)
        return real(family, images)

    monkeypatch.setattr(canvas, "encoded", encoded)
    order = Order(str(sd_path), ["a cat"], start=Start(upscale=2), out=tmp_path)
    with pytest.raises(UserError, match=r"memory there is\. Take a smaller upscale, such as 1\.5"):
        generate(order, changes=TWO)
