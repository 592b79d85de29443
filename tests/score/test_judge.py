"""Judges against the models that transformers loads by itself, and what they refuse."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import (
    BitImageProcessorPil,
    CLIPModel,
    CLIPTokenizer,
    Dinov2Config,
    Dinov2Model,
    SiglipConfig,
    SiglipImageProcessorPil,
    SiglipModel,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from kaiffin.foundation.cache import TensorCache
from kaiffin.foundation.errors import MissingWeightsError
from kaiffin.foundation.tell import SILENT
from kaiffin.score.judge import Scorer


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random CLIP with tokenizer, in transformers layout."""
    return tiny.tiny_clip(tmp_path_factory.mktemp("clip") / "tiny-clip")


def pictures(count: int = 5) -> list[Image.Image]:
    rng = np.random.default_rng(0)
    sizes = [(40, 60), (64, 64), (100, 33), (32, 32), (300, 200)]
    return [
        Image.fromarray(rng.integers(0, 255, (h, w, 3), dtype=np.uint8)) for w, h in sizes[:count]
    ]


def test_cosines_equal_those_of_transformers(folder: Path) -> None:
    scorer = Scorer(str(folder), tell=SILENT)
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
    scorer = Scorer(str(folder), tell=SILENT)
    one = pictures()[0]
    assert scorer.image_image([one], [one]).item() == pytest.approx(1, abs=1e-5)


def test_a_missing_judge_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingWeightsError, match="scoring model"):
        Scorer(str(tmp_path / "gone"), tell=SILENT)


def test_a_hub_id_is_looked_up_in_the_cache(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "models--somebody--some-clip"
    shutil.copytree(folder, cache / "snapshots" / "abc")
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text("abc")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    own = Scorer(str(folder), tell=SILENT).embed_texts(["a dog"])
    assert torch.equal(Scorer("somebody/some-clip", tell=SILENT).embed_texts(["a dog"]), own)
    with pytest.raises(MissingWeightsError, match="'nobody/clip' is not on this machine"):
        Scorer("nobody/clip", tell=SILENT)


def test_a_reference_is_not_compared_with_itself(folder: Path) -> None:
    scorer, images = Scorer(str(folder), tell=SILENT), pictures(3)
    expected = [
        scorer.image_image([images[i]], [image for image in images if image is not images[i]])
        for i in range(3)
    ]
    assert torch.allclose(scorer.likeness_of_references(images), torch.cat(expected), atol=1e-6)
    with pytest.raises(ValueError, match="one reference"):
        scorer.likeness_of_references(images[:1])


def test_texts_beyond_the_limit_are_named(folder: Path) -> None:
    scorer = Scorer(str(folder), tell=SILENT)
    fits, long = "x" * 75, "x" * 76  # one token a letter, and the two marks at the ends: 77
    assert scorer.too_long(["a dog", fits, long]) == [long]
    same = scorer.embed_texts([long, long + " never read"])
    assert torch.equal(same[0], same[1])


def test_misuse_is_refused(folder: Path) -> None:
    scorer = Scorer(str(folder), tell=SILENT)
    with pytest.raises(ValueError, match="no images"):
        scorer.image_image([], pictures(1))
    with pytest.raises(ValueError, match="2 images and 1 prompts"):
        scorer.text_image(pictures(2), ["a dog"])


def test_a_broken_judge_is_named(folder: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken-clip"
    shutil.copytree(folder, broken)
    weights = load_file(broken / "model.safetensors")
    del weights["visual_projection.weight"]
    save_file(weights, broken / "model.safetensors", {"format": "pt"})
    with pytest.raises(MissingWeightsError, match="missing, such as visual_projection"):
        Scorer(str(broken), tell=SILENT)
    (broken / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(MissingWeightsError, match="broken-clip"):
        Scorer(str(broken), tell=SILENT)


@pytest.fixture(scope="module")
def siglip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random SigLIP: other preprocessing, no text mask."""
    path = tmp_path_factory.mktemp("siglip") / "tiny-siglip"
    torch.manual_seed(1)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
             "num_attention_heads": 2}  # fmt: skip
    config = SiglipConfig(
        text_config={"vocab_size": 514, "max_position_embeddings": 16, **sizes},
        vision_config={"image_size": 32, "patch_size": 8, **sizes},
    )
    SiglipModel(config).save_pretrained(path)
    SiglipImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(path)
    tiny.write_tokenizer(path)
    return path


@pytest.fixture(scope="module")
def dinov2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random DINOv2, which sees pictures only."""
    path = tmp_path_factory.mktemp("dino") / "tiny-dinov2"
    torch.manual_seed(2)
    config = Dinov2Config(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=28, patch_size=14,
        mlp_ratio=2,
    )  # fmt: skip
    Dinov2Model(config).save_pretrained(path)
    BitImageProcessorPil(
        size={"shortest_edge": 32}, crop_size={"height": 28, "width": 28}
    ).save_pretrained(path)
    return path


def test_siglip_judges_as_transformers_has_it(siglip: Path) -> None:
    scorer, model = Scorer(str(siglip), tell=SILENT), SiglipModel.from_pretrained(siglip).eval()
    tokenizer = CLIPTokenizer.from_pretrained(siglip)
    images, texts = pictures(), ["a dog", "a cat", "ü", "a dog", "x" * 200]
    ids = tokenizer(texts, padding="max_length", truncation=True, max_length=16,
                    return_tensors="pt")  # fmt: skip
    pixels = SiglipImageProcessorPil.from_pretrained(siglip)(images, return_tensors="pt")
    with torch.no_grad():
        out = model(input_ids=ids.input_ids, pixel_values=pixels.pixel_values)
    expected = (out.image_embeds * out.text_embeds).sum(-1)
    assert torch.allclose(scorer.text_image(images, texts), expected, atol=1e-5)
    assert scorer.max_tokens == 16


def test_dinov2_compares_pictures_by_its_class_token(dinov2: Path) -> None:
    scorer, model = Scorer(str(dinov2), tell=SILENT), Dinov2Model.from_pretrained(dinov2).eval()
    images = pictures()
    pixels = BitImageProcessorPil.from_pretrained(dinov2)(images, return_tensors="pt")
    with torch.no_grad():
        tokens = model(pixel_values=pixels.pixel_values).last_hidden_state[:, 0]
    rows = torch.nn.functional.normalize(tokens, dim=-1)
    expected = (rows @ rows[:2].T).mean(-1)
    assert torch.allclose(scorer.image_image(images, images[:2]), expected, atol=1e-5)
    with pytest.raises(MissingWeightsError, match="sees pictures only"):
        scorer.embed_texts(["a dog"])


def test_what_was_seen_once_is_not_computed_again(folder: Path, tmp_path: Path) -> None:
    images, texts = pictures(), ["a dog", "a cat"]
    first = Scorer(str(folder), cache=TensorCache(tmp_path), tell=SILENT)
    rows, words = first.embed_images(images), first.embed_texts(texts)
    second = Scorer(str(folder), cache=TensorCache(tmp_path), tell=SILENT)
    second.model = None  # nothing is left that could compute
    assert torch.equal(second.embed_images([*images, images[0]])[:5], rows)
    assert torch.equal(second.embed_texts(texts), words)
    for damaged in tmp_path.rglob("*.safetensors"):
        damaged.write_bytes(b"cut")
    third = Scorer(str(folder), cache=TensorCache(tmp_path), tell=SILENT)
    assert torch.equal(third.embed_images(images), rows)


def test_another_judge_has_its_own_cache(folder: Path, siglip: Path, tmp_path: Path) -> None:
    one = Scorer(str(folder), cache=TensorCache(tmp_path), tell=SILENT).embed_images(pictures())
    other = Scorer(str(siglip), cache=TensorCache(tmp_path), tell=SILENT).embed_images(pictures())
    assert one.shape != other.shape


def test_a_model_of_another_kind_is_named(sd_path: Path) -> None:
    with pytest.raises(MissingWeightsError, match="clip_text_model"):
        Scorer(str(sd_path / "text_encoder"), tell=SILENT)
