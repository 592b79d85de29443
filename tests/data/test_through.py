"""What comes back of photos: the measures against known answers, and what is said of a set."""

from pathlib import Path

import numpy as np
import pytest
from hearing import Heard
from PIL import Image, ImageFilter

from kaiffin.data.findings import look_at
from kaiffin.data.prepare import Prepared
from kaiffin.data.through import HOLDS, likeness, psnr
from kaiffin.foundation.config import DataConfig, SubjectConfig

RNG = np.random.default_rng(0)


class Lens(Heard):
    """Gives back a photo blurred so much; asked too often, it has no memory left."""

    fix, press = "Teach a better one.", "Choose a better one."
    max_tokens, token_pieces = 77, staticmethod(str.split)

    def __init__(self, blur: float, most: int = 100) -> None:
        super().__init__()
        self.blur, self.most = blur, most
        self.asked: list[str] = []

    def __call__(self, photo: Image.Image, sha256: str) -> Image.Image | None:
        self.asked.append(sha256)
        if len(self.asked) > self.most:
            return None
        return photo.filter(ImageFilter.GaussianBlur(self.blur))

    def progress(self, total: int):
        return super().progress("lens", total)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three photos, of which the left half is soft and the right half grain."""
    path = tmp_path_factory.mktemp("photos")
    for i in range(3):
        pixels = np.full((96, 96, 3), 90 + 30 * i, np.uint8)
        pixels[:, 48:] = RNG.integers(0, 255, (96, 48, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path / f"{i}.png")
    (path / "masks").mkdir()
    for i in range(3):
        mask = np.zeros((96, 96), np.uint8)
        mask[:, :40] = 255
        Image.fromarray(mask).save(path / "masks" / f"{i}.png")
    return path


def run(folder: Path, lens: Lens, out: Path | None = None, **data) -> Prepared:
    given = DataConfig(photos=folder, **data)
    subject = SubjectConfig(noun="toy")
    return look_at(given, subject, 64, words=lens, through=lens, out=out, tell=lens)


def test_the_measures_have_their_known_values() -> None:
    x = RNG.random((32, 32, 3))
    assert psnr(x, x) == pytest.approx(99)
    assert psnr(x, x + 0.1) == pytest.approx(20)
    assert likeness(x, x) == pytest.approx(1)
    assert likeness(x, 1 - x) < 0  # the negative of grain: its structure turned round
    flat = np.full_like(x, 0.5)
    # Flat pictures: what is left of the formula are the means, 2ab + c / (a2 + b2 + c).
    assert likeness(flat, flat + 0.25) == pytest.approx((0.75 + 1e-4) / (0.8125 + 1e-4))
    weight = np.zeros((32, 32))
    weight[:, :8] = 1
    half = x.copy()
    half[:, 16:] = 0
    assert likeness(x, half) < 0.7
    assert likeness(x, half, weight) == pytest.approx(1)


def test_a_set_that_the_base_cannot_show_is_warned_of(folder: Path, tmp_path: Path) -> None:
    good, bad = Lens(0), Lens(3)
    assert not [w for w in run(folder, good, tmp_path / "good").findings if "cannot show" in str(w)]
    found = run(folder, bad, tmp_path / "bad")
    assert [f.fix for f in found.findings if "cannot show" in f.what] == [bad.fix]
    assert any("Teach a better one." in note for note in bad.notes)
    told = [photo["autoencoder"] for photo in found.manifest["photos"]]
    assert all(one["psnr"] < 40 and one["likeness"] < HOLDS for one in told)
    assert len(set(good.asked)) == 3  # a name of its own for each photo
    sizes = [Image.open(tmp_path / name / "contact_sheet.png").size for name in ("good", "bad")]
    assert sizes[0] == sizes[1]
    with Image.open(tmp_path / "bad" / "contact_sheet.png") as sheet:
        assert sheet.width > 1000  # two photos a row, each with what came back


def test_with_masks_only_the_subject_counts(folder: Path) -> None:
    found = run(folder, Lens(3), masks="folder")
    assert all(photo["autoencoder"]["likeness"] > 0.98 for photo in found.manifest["photos"])


def test_where_memory_ends_the_rest_is_not_looked_at(folder: Path, tmp_path: Path) -> None:
    found = run(folder, Lens(0, most=1), tmp_path)
    assert ["autoencoder" in photo for photo in found.manifest["photos"]] == [True, False, False]
