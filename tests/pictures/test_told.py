"""What the model is told: prompts that change on the way, and where guidance acts."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from made_adapters import made as adapted
from made_adapters import randomise
from PIL import Image
from torch import Tensor

from kaiffin.adapters.stack import full_modules
from kaiffin.foundation.errors import ConfigError
from kaiffin.foundation.prompts import Spoken
from kaiffin.foundation.runtime import randn
from kaiffin.models.base import ModelFamily, SizeFacts
from kaiffin.models.diffusion.samplers import guided
from kaiffin.pictures.request import Request
from kaiffin.pictures.sample import Draw, generate

CALL = {"width": 64, "height": 64, "steps": 4}


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image).astype(int)


# --- prompts in A1111's syntax ------------------------------------------------------------------


def asked(prompt: str, syntax: str = "a1111", **more: object) -> Request:
    return Request(prompt, 1, **{**CALL, **more}, prompt_syntax=syntax)


def made(family: ModelFamily, *requests: Request) -> list[bytes]:
    return [image.tobytes() for image in generate(family, list(requests))]


def test_what_is_typed_changes_the_picture_and_plain_text_does_not(family: ModelFamily) -> None:
    plain, weighted, leaning, one = (
        made(family, request)
        for request in (
            asked("a dog"), asked("a (dog:1.4)"), asked("a (dog:1.4)", "comfyui"),
            asked("a (dog:1.0)"),
        )
    )  # fmt: skip
    assert plain not in (weighted, leaning)
    assert weighted != leaning
    assert one == plain
    assert made(family, asked("a dog", "plain")) == plain
    assert made(family, asked("a (dog:1.4)", "plain")) != weighted


def test_a_prompt_changes_on_the_way(sd: ModelFamily) -> None:
    """From its step on it is the other: as two samplings that are joined there."""

    def steps(prompt: str) -> list[bytes]:
        seen: list[bytes] = []

        def watch(batch: Sequence[Request], step: int, draw: Draw) -> None:
            seen.append(draw()[0].tobytes())

        list(generate(sd, [asked(prompt)], watch=watch))
        return seen

    dog, cat = steps("a dog"), steps("a cat")
    changed, turns = steps("a [dog:cat:2]"), steps("a [dog|cat]")
    assert changed[:2] == dog[:2]
    assert changed[2] not in (dog[2], cat[2])
    assert turns[0] == dog[0]
    assert turns[1] not in (dog[1], cat[1])


def test_prompts_of_one_batch_change_each_for_itself(sd: ModelFamily) -> None:
    requests = [
        asked("a [dog:cat:2]"),
        asked("a cat"),
        asked("a dog BREAK in snow"),
        asked("[a|b]"),
    ]
    together = list(generate(sd, requests, batch_size=4))
    for request, image in zip(requests, together, strict=True):
        alone = next(generate(sd, [request]))
        assert np.abs(pixels(alone) - pixels(image)).max() <= 1


def test_an_adapter_in_a_prompt_is_not_left_out_in_silence(sd: ModelFamily) -> None:
    with pytest.raises(ConfigError, match="<lora:x>: an adapter cannot be named in this prompt"):
        next(generate(sd, [asked("a dog <lora:x:1>")]))


# --- where guidance acts, and how strongly adapters do in its other half ------------------------


def halves(family: ModelFamily, request: Request, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many pictures' worth the denoiser is asked at each step."""
    seen: list[int] = []
    real = family.predict
    with monkeypatch.context() as patch:
        patch.setattr(family, "predict", lambda x, t, told: seen.append(len(x)) or real(x, t, told))
        next(generate(family, [request]))
    return seen


def test_outside_its_interval_guidance_costs_nothing(
    sd: ModelFamily, monkeypatch: pytest.MonkeyPatch
) -> None:
    levels = sd.schedule.sigmas(CALL["steps"])
    between = Request("a dog", 1, guidance_interval=(levels[2], levels[1]), **CALL)
    assert halves(sd, between, monkeypatch) == [1, 2, 1, 1]  # up to the upper, above the lower
    everywhere, nowhere = (
        Request("a dog", 1, guidance_interval=one, **CALL) for one in ((0.0, 1e3), (900.0, 1e3))
    )
    plain, alone = Request("a dog", 1, **CALL), Request("a dog", 1, guidance=1.0, **CALL)
    assert halves(sd, everywhere, monkeypatch) == halves(sd, plain, monkeypatch) == [2] * 4
    assert made(sd, everywhere) == made(sd, plain)
    assert made(sd, nowhere) == made(sd, alone)
    assert made(sd, between) not in (made(sd, plain), made(sd, alone))


def test_adapters_are_as_strong_in_the_negative_half_as_they_are_told(sd: ModelFamily) -> None:
    """One step of DDIM by hand: the prompt with the adapter, the other half with a part of it, also
    in the text encoder."""
    adapter = adapted(sd)
    randomise(adapter)
    adapter.inject(full_modules(sd))
    noise = randn((sd.latent_channels, 8, 8), 1, "picture", "start")[None]
    (sigma, _) = sd.schedule.sigmas(1)
    x = sd.schedule.first_noise(noise, sigma)
    x_t, t = sd.schedule.model_input(x, sigma)

    @torch.no_grad()
    def alone(prompt: str, strength: float) -> Tensor:
        adapter.shares = (strength,)
        told = sd.encode_text([prompt], [SizeFacts.whole(64, 64)])
        return sd.predict(x_t, torch.tensor([int(t)]), told)

    def share(*shares: float) -> None:
        adapter.shares = shares

    for strength in (0.0, 0.5, 1.0):
        asked = Request("a dog", 1, 64, 64, "blue", 1, 5.0, "ddim", negative_strength=strength)
        output = guided(alone("a dog", 1.0), alone("blue", strength), 5.0)
        by_hand = sd.decode(sd.schedule.to_x0(output, x, sigma))[0].permute(1, 2, 0)
        picture = pixels(*generate(sd, [asked], share=share))
        assert np.abs(picture - ((by_hand + 1) * 127.5).numpy()).max() <= 1
        assert adapter.shares == (1.0,), "afterwards it is as it was"
        if strength == 1.0:
            assert (picture == pixels(next(generate(sd, [asked])))).all()
    adapter.eject()


def test_a_text_is_encoded_once_in_a_call(sd: ModelFamily, monkeypatch: pytest.MonkeyPatch) -> None:
    """And small pictures are decoded together."""
    encoded: list[str] = []
    decoded: list[int] = []
    encode, decode = sd.encode_text, sd.decode

    def seen(prompts: Sequence[Spoken], *others: object, **more: object) -> object:
        encoded.extend(one.pieces[0].text or "" for one in prompts)
        return encode(prompts, *others, **more)  # ty: ignore[invalid-argument-type]

    monkeypatch.setattr(sd, "encode_text", seen)
    monkeypatch.setattr(sd, "decode", lambda x: decoded.append(len(x)) or decode(x))
    requests = [Request(prompt, seed, **CALL) for prompt in ("a dog", "a cat") for seed in (1, 2)]
    list(generate(sd, requests, batch_size=2))
    assert encoded == ["a dog", "", "a cat"]
    assert decoded == [2, 2]
