"""Scores against transformers' own CLIP, and intervals against known statistics."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer, CLIPVisionConfig
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from kaiffin.errors import MissingWeightsError
from kaiffin.score import Scorer, bootstrap, paired, rank


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random CLIP with tokenizer, in transformers layout."""
    path = tmp_path_factory.mktemp("clip") / "tiny-clip"
    torch.manual_seed(0)
    vision = CLIPVisionConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        image_size=32, patch_size=8, projection_dim=16,
    )  # fmt: skip
    text = tiny._text_config(32, 16)
    config = CLIPConfig(
        text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=16
    )
    CLIPModel(config).save_pretrained(path)
    tiny.write_tokenizer(path)
    return path


def pictures(count: int = 5) -> list[Image.Image]:
    rng = np.random.default_rng(0)
    sizes = [(40, 60), (64, 64), (100, 33), (32, 32), (300, 200)]
    return [
        Image.fromarray(rng.integers(0, 255, (h, w, 3), dtype=np.uint8)) for w, h in sizes[:count]
    ]


def test_cosines_equal_those_of_transformers(folder: Path) -> None:
    scorer = Scorer(str(folder))
    model = CLIPModel.from_pretrained(folder).eval()
    tokenizer = CLIPTokenizer.from_pretrained(folder)
    processor = CLIPImageProcessorPil(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
    )
    images, texts = pictures(), ["a dog", "a cat", "ü", "a dog", "x" * 200]
    ids = tokenizer(texts, padding="max_length", truncation=True, max_length=77,
                    return_tensors="pt")  # fmt: skip
    pixels = processor(images, return_tensors="pt").pixel_values
    for image, row in zip(images, pixels, strict=True):
        assert torch.allclose(scorer.preprocess(image), row, atol=1e-6)
    with torch.no_grad():
        out = model(input_ids=ids.input_ids, attention_mask=ids.attention_mask, pixel_values=pixels)
    expected = (out.image_embeds * out.text_embeds).sum(-1)
    assert torch.allclose(scorer.text_image(images, texts), expected, atol=1e-5)
    across = (out.image_embeds @ out.image_embeds[:2].T).mean(-1)
    assert torch.allclose(scorer.image_image(images, images[:2]), across, atol=1e-5)
    assert scorer.name == "tiny-clip"


def test_a_picture_is_most_like_itself(folder: Path) -> None:
    scorer = Scorer(str(folder))
    one = pictures()[0]
    assert scorer.image_image([one], [one]).item() == pytest.approx(1, abs=1e-5)


def test_a_missing_judge_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingWeightsError, match="scoring model"):
        Scorer(str(tmp_path / "gone"))


def test_the_interval_covers_the_mean_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    hits = 0
    for trial in range(200):
        interval = bootstrap(rng.normal(0.3, 1, 60).tolist(), seed=trial, draws=500)
        hits += interval.low <= 0.3 <= interval.high
    assert 0.88 <= hits / 200 <= 0.99
    sure = bootstrap([0.5] * 10)
    assert (sure.mean, sure.low, sure.high, sure.n) == (0.5, 0.5, 0.5, 10)
    with pytest.raises(ValueError, match="no values"):
        bootstrap([])


def test_a_reference_is_not_compared_with_itself(folder: Path) -> None:
    scorer, images = Scorer(str(folder)), pictures(3)
    expected = [
        scorer.image_image([images[i]], [image for image in images if image is not images[i]])
        for i in range(3)
    ]
    assert torch.allclose(scorer.likeness_of_references(images), torch.cat(expected), atol=1e-6)
    with pytest.raises(ValueError, match="one reference"):
        scorer.likeness_of_references(images[:1])


def test_texts_beyond_the_limit_are_named(folder: Path) -> None:
    scorer = Scorer(str(folder))
    fits, long = "x" * 75, "x" * 76  # one token a letter, and the two marks at the ends: 77
    assert scorer.too_long(["a dog", fits, long]) == [long]
    same = scorer.embed_texts([long, long + " never read"])
    assert torch.equal(same[0], same[1])


def test_misuse_is_refused(folder: Path) -> None:
    scorer = Scorer(str(folder))
    with pytest.raises(ValueError, match="no images"):
        scorer.image_image([], pictures(1))
    with pytest.raises(ValueError, match="2 images and 1 prompts"):
        scorer.text_image(pictures(2), ["a dog"])
    with pytest.raises(ValueError, match="not finite"):
        bootstrap([0.1, float("nan")])
    with pytest.raises(ValueError, match="not finite"):
        rank([0.1, float("nan")])


def test_a_broken_judge_is_named(folder: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken-clip"
    shutil.copytree(folder, broken)
    weights = load_file(broken / "model.safetensors")
    del weights["visual_projection.weight"]
    save_file(weights, broken / "model.safetensors", {"format": "pt"})
    with pytest.raises(MissingWeightsError, match="missing, such as visual_projection"):
        Scorer(str(broken))
    (broken / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(MissingWeightsError, match="broken-clip"):
        Scorer(str(broken))


def test_pairs_are_told_apart_where_means_are_not() -> None:
    rng = np.random.default_rng(2)
    before = rng.normal(0, 1, 40)
    after = before + rng.normal(0.1, 0.05, 40)
    gain = paired(before.tolist(), after.tolist())
    assert gain.mean == pytest.approx(float((after - before).mean()))
    assert 0 < gain.low < gain.mean < gain.high < 0.2
    assert bootstrap(after.tolist()).low < bootstrap(before.tolist()).high
    standard_error = float((after - before).std() / 40**0.5)
    assert gain.high - gain.low == pytest.approx(2 * 1.96 * standard_error, rel=0.15)
    with pytest.raises(ValueError, match="zip"):
        paired([1.0], [1.0, 2.0])


def test_the_best_comes_first_and_ties_keep_their_order() -> None:
    assert rank([0.1, 0.5, 0.5, -1.0, 0.9]) == [4, 1, 2, 0, 3]
    assert rank([]) == []
