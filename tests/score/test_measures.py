"""Each formula on numbers worked out by hand, and on pictures whose truth is known."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

from kaiffin.miniature.world import world
from kaiffin.miniature.world.vocabulary import POSES, SCENES
from kaiffin.score import measures

X, Y, XY = [1.0, 0.0], [0.0, 1.0], [0.6, 0.8]


def rows(*vectors: list[float]) -> torch.Tensor:
    return torch.tensor(vectors)


def test_clip_t_is_the_cosine_of_each_pair() -> None:
    assert measures.clip_t(rows(X, XY), rows(XY, Y)).tolist() == pytest.approx([0.6, 0.8])


def test_a_prompt_wins_where_no_other_is_nearer() -> None:
    texts = rows(X, Y)
    assert measures.wins(rows(X, XY, XY), texts, [0, 1, 0]).tolist() == [1, 1, 0]
    assert measures.wins(rows(X), rows(X, X), [1]).tolist() == [1]  # a tie is no loss


def test_the_margin_is_blind_to_what_all_prompts_lose_alike() -> None:
    texts, subject = torch.eye(4)[:3], torch.eye(4)[3]
    plain = torch.nn.functional.normalize(texts[0] + 0.1, dim=-1)[None]
    own = measures.margin(plain, texts, [0]).item()
    expected = plain[0, 0] - (plain[0, 1] + plain[0, 2]) / 2
    assert own == pytest.approx(expected.item(), abs=1e-6)
    moved = plain + 0.5 * subject  # away from every text
    assert measures.margin(moved, texts, [0]).item() == pytest.approx(own, abs=1e-6)
    assert measures.margin(plain, texts, [1]).item() < 0
    assert measures.margin(plain, texts[:1], [0]).item() == pytest.approx(plain[0, 0].item())


def test_likeness_goes_from_the_base_to_the_photos() -> None:
    before, photos = rows([0.0, 0.0, 1.0], [0.0, 0.2, 1.0]), rows([1.0, 0.1, 1.0], [1.0, 0.1, 1.0])
    assert measures.likeness(before, before, photos).tolist() == pytest.approx([0, 0])
    there = before + torch.tensor([1.0, 0.0, 0.0])
    assert measures.likeness(before, there, photos).tolist() == pytest.approx([1, 1])
    aside = before + torch.tensor([0.5, 0.0, -3.0])  # half the way; the rest does not count
    assert measures.likeness(before, aside, photos).tolist() == pytest.approx([0.5, 0.5])


def test_identity_leaves_the_nearest_photo_out() -> None:
    photos = rows(X, Y)
    alone = measures.identity(rows(XY), photos, held_out=False)
    assert alone.tolist() == pytest.approx([0.6])  # 0.8 to the nearest is not counted
    assert measures.identity(rows(XY), photos, held_out=True).tolist() == pytest.approx([0.7])
    assert measures.identity(rows(XY), rows(X), held_out=False).tolist() == pytest.approx([0.6])


def test_a_copy_of_a_photo_gains_nothing() -> None:
    photos = torch.nn.functional.normalize(torch.randn(5, 16), dim=-1)
    copies = measures.identity(photos, photos, held_out=False)
    cosines = photos @ photos.T
    others = (cosines.sum(1) - 1) / 4
    assert torch.allclose(copies, others, atol=1e-6)
    mean = measures.ceiling(photos, photos, held_out=False)
    assert mean == pytest.approx(others.mean().item(), abs=1e-6)
    assert measures.ceiling(photos[:1], photos[:1], held_out=False) is None


def test_drift_is_none_where_nothing_changed() -> None:
    assert measures.drift(rows(X, X), rows(X, XY)).tolist() == pytest.approx([0.0, 0.4])


def test_copying_names_the_photo() -> None:
    near, which = measures.copying(rows(XY), rows(X, Y))
    assert (near.item(), which.item()) == (pytest.approx(0.8), 1)


def taught(name: str) -> tuple[list[Image.Image], torch.Tensor]:
    photos = [image for image, _ in world.subject_photos(name, 6)]
    return photos, torch.stack([measures.layout(image) for image in photos])


@pytest.mark.parametrize("name", list(world.SUBJECTS))
def test_soft_and_turned_copies_are_copies_and_true_pictures_are_not(name: str) -> None:
    photos, layouts = taught(name)
    copies = [
        p.filter(ImageFilter.GaussianBlur(0.8)).rotate(2, fillcolor=(128, 128, 128)) for p in photos
    ]
    true = [
        world.subject_render(name, scene, detail=7, pose=pose)
        for scene in SCENES
        if scene not in ("meadow", "beach", "kitchen")
        for pose in POSES
    ]
    found = measures.is_copy(torch.stack([measures.layout(i) for i in copies]), layouts)
    assert found.all()
    assert not measures.is_copy(torch.stack([measures.layout(i) for i in true]), layouts).any()


def test_burn_counts_pixels() -> None:
    pixels = np.full((4, 4, 3), 128, dtype=np.uint8)
    pixels[0, 0] = (255, 128, 128)  # clipped
    pixels[0, 1] = (200, 2, 2)  # saturated
    pixels[0, 2] = (40, 0, 0)  # clipped, and too dark to look saturated
    assert measures.burn(Image.fromarray(pixels)) == (2 / 16, 1 / 16)


def test_contrast_is_the_deviation_of_luminance() -> None:
    halves = np.zeros((2, 2, 3), dtype=np.uint8)
    halves[0] = 255
    assert measures.contrast(Image.fromarray(halves)) == pytest.approx(0.5)
    assert measures.contrast(Image.new("RGB", (2, 2), "grey")) == 0


def test_diversity_is_none_among_equal_pictures() -> None:
    found = measures.diversity(rows(X, X, X, Y, XY), ["a", "a", "b", "b", "c"])
    assert found == {"a": pytest.approx(0.0), "b": pytest.approx(1.0)}
