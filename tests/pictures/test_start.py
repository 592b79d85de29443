"""Ways into a picture as they are asked for and recorded."""

from pathlib import Path

import pytest
from PIL import Image

from kaiffin.foundation.errors import ConfigError
from kaiffin.pictures.start import File, Start


@pytest.fixture
def photo(tmp_path: Path) -> File:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    return File.at(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"strength": 1.5}, r"--strength: must be at most 1"),
        ({"vary": -0.1}, r"--vary: must be at least 0"),
        ({"vary_seed": 2**63}, r"--vary-seed: must be"),
        ({"upscale": 0.5}, r"--upscale: must be at least 1"),
        ({"upscale": 9}, r"--upscale: must be at most 4"),
        ({"box": (0, 0, 0, 8)}, r"a box has a width and a height"),
        ({"mask": File(path="m", name="m", sha256="0")}, r"which part of a picture is painted"),
        ({"unknown": 1}, r"--unknown: "),
    ],
)  # fmt: skip
def test_what_cannot_be_meant(given: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Start.of("--", **given)


def test_a_mask_and_a_second_pass_do_not_go_together(photo: File) -> None:
    for more in ({"upscale": 2.0}, {"detail": "x"}, {"box": (0, 0, 8, 8)}):
        with pytest.raises(ConfigError, match="do one after the other"):
            Start.of("--", image=photo, mask=photo, **more)


def test_a_file_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone\.jpg: is no picture"):
        File.at(tmp_path / "gone.jpg")
    with pytest.raises(ConfigError, match="is no picture"):
        File.at(tmp_path)


def test_there_and_back(photo: File) -> None:
    for start in (
        Start(image=photo, mask=photo, feather=3), Start(vary=0.2, vary_seed=5),
        Start(upscale=1.5, box=(8, 8, 16, 16), second=0.3),
    ):  # fmt: skip
        assert Start.of("", **start.as_json()) == start


def test_sizes_and_the_words_of_others(photo: File) -> None:
    assert Start(upscale=1.3).size(64, 96) == (80, 128)
    assert Start(upscale=2).parameters() == {
        "Denoising strength": "0.4", "Hires upscale": "2", "Hires upscaler": "Lanczos",
    }  # fmt: skip
    over = Start(image=photo, mask=photo, feather=4, strength=0.7)
    assert over.parameters() == {"Denoising strength": "0.7", "Mask blur": 4}
    varied = Start(vary=0.25, vary_seed=9).parameters()
    assert varied == {"Variation seed": 9, "Variation seed strength": "0.25"}
    assert Start(detail="x").parameters() == {}
