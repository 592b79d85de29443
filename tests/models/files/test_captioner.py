"""A captioner of any kind says what it sees, or why that is no caption."""

import contextlib
from pathlib import Path

import captioners
import pytest
import torch
from PIL import Image

from kaiffin.foundation.errors import MissingWeightsError
from kaiffin.foundation.tell import SILENT
from kaiffin.models.files.captioner import Captioner, NoAnswer

GREY = Image.new("RGB", (48, 40), "grey")


@pytest.fixture(scope="module")
def random(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("captioner")
    captioners.captioner(folder, ["one", "two", "three"])
    return folder


def test_random_weights_are_read_and_say_no_caption(random: Path) -> None:
    model = Captioner(str(random), tell=SILENT)
    assert not model.chats
    with pytest.raises(NoAnswer, match=r"says the same over and over|says nothing"):
        model.describe(GREY, "")


def test_numbers_that_are_none_are_no_caption(random: Path) -> None:
    model = Captioner(str(random), tell=SILENT)
    with torch.no_grad():
        next(model.model.text_decoder.parameters()).fill_(float("nan"))
    with pytest.raises(NoAnswer, match="numbers that are none"):
        model.describe(GREY, "")


@pytest.mark.parametrize(
    ("said", "reason"),
    [("", "nothing"), (" . , ! ", "nothing"), ("sea sea sea sea", "over and over"),
     ("a sea, a sea, a sea, a sea", "over and over")],
)  # fmt: skip
def test_what_is_no_caption(
    random: Path, said: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Captioner(str(random), tell=SILENT)
    monkeypatch.setattr(model.processor.tokenizer, "decode", lambda *_, **__: said)
    with pytest.raises(NoAnswer, match=reason):
        model.describe(GREY, "")
    monkeypatch.setattr(model.processor.tokenizer, "decode", lambda *_, **__: " by\nthe sea ")
    assert model.describe(GREY, "") == "by the sea"


def test_a_text_is_gone_on_with(random: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What begins with the input is cut off."""
    model = Captioner(str(random), tell=SILENT)
    word = model.processor.tokenizer("two").input_ids[1]
    monkeypatch.setattr(
        model.model, "generate",
        lambda **inputs: torch.cat([inputs["input_ids"], torch.tensor([[word]])], dim=1),
    )  # fmt: skip
    assert model.describe(GREY, "one three") == "two"


def test_a_chat_is_asked_about_the_picture(tmp_path: Path) -> None:
    captioners.chatting(tmp_path, ["what", "is", "there", "?", "sea"])
    model = Captioner(str(tmp_path), tell=SILENT)
    assert model.chats
    asked: list[list[int]] = []
    looked: list[tuple[int, ...]] = []
    model.model.register_forward_pre_hook(
        lambda _, __, inputs: asked.append(inputs["input_ids"][0].tolist()), with_kwargs=True
    )
    model.model.model.vision_tower.register_forward_pre_hook(
        lambda _, inputs: looked.append(tuple(inputs[0].shape))
    )
    with contextlib.suppress(NoAnswer):  # its weights are random
        assert not model.describe(GREY, "what is there ?").startswith("what is there ?")
    words = model.processor.tokenizer.decode(asked[0], skip_special_tokens=True)
    assert words == "what is there ?"
    assert asked[0].count(model.model.config.image_token_index) == 16
    assert looked == [(1, 3, captioners.SIDE, captioners.SIDE)]


def test_what_cannot_be_loaded(random: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingWeightsError, match=r"captioner .* cannot be loaded"):
        Captioner(str(tmp_path), tell=SILENT)
    captioners.captioner(tmp_path, ["one"])
    from safetensors.torch import load_file, save_file

    weights = load_file(tmp_path / "model.safetensors")
    weights.pop(next(name for name in weights if "vision" in name))
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(MissingWeightsError, match="weights are missing, such as"):
        Captioner(str(tmp_path), tell=SILENT)
