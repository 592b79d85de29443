"""Pictures: equal to diffusers', and independent of the batch."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline, StableDiffusionXLPipeline
from PIL import Image
from torch import Tensor

from kaiffin.foundation.errors import UserError
from kaiffin.foundation.runtime import randn
from kaiffin.foundation.samplers import SAMPLERS
from kaiffin.models.base import ModelFamily
from kaiffin.pictures.batches import TRIES, Batches, kind_of
from kaiffin.pictures.request import Request
from kaiffin.pictures.sample import Draw, generate
from kaiffin.pictures.start import Start

CALL = {"width": 64, "height": 64, "steps": 4}


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image).astype(int)


def test_same_call_same_bytes(family: ModelFamily) -> None:
    requests = [Request("a dog", seed, **CALL) for seed in (1, 2)]
    first, second = (list(generate(family, requests)) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        assert one.tobytes() == other.tobytes()
    assert first[0].tobytes() != first[1].tobytes()


def test_a_picture_does_not_depend_on_the_others(family: ModelFamily) -> None:
    """To within one grey level, whatever the batch, the neighbours' prompts and lengths."""
    wanted = Request("a dog", 3, **CALL)
    alone = pixels(next(generate(family, [wanted])))
    long = Request("word " * 90, 1, **CALL)
    others = [Request("x", i, **CALL) for i in range(3)]
    for requests in ([*others, wanted], [long, wanted], [wanted, long], [others[0], wanted, long]):
        for batch_size in (1, 2, 4):
            made = list(generate(family, requests, batch_size=batch_size))
            got = pixels(made[requests.index(wanted)])
            assert np.abs(got - alone).max() <= 1


def test_batches_are_as_large_as_is_measured_to_be_best(sd: ModelFamily, tmp_path: Path) -> None:
    """The first pictures are tries; each says among how many it was made."""
    requests = [Request("a dog", seed, **CALL) for seed in range(10)]
    batches = Batches(tmp_path / "batches.json")
    made = list(generate(sd, requests, batch_size=batches))
    assert [one.info["batch"] for one in made[:6]] == [1] * 4 + [2, 2]  # the first warms up
    (key,) = batches.known
    assert key == kind_of(sd, (64, 64))
    assert len(batches.known[key]["tries"]["1"]) == TRIES
    for one, request in zip(made, requests, strict=True):
        assert np.abs(pixels(one) - pixels(next(generate(sd, [request])))).max() <= 1


def test_where_memory_is_short_fewer_are_computed_at_once(
    sd: ModelFamily, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a GPU torch says so by its own error; the base here takes that of one picture at a time,
    and decodes one at a time."""
    batches = Batches(tmp_path / "batches.json")
    requests = [Request("a dog", seed, **CALL) for seed in range(9)]
    plain = [pixels(image) for image in generate(sd, requests, batch_size=1)]
    predict, decode = sd.predict, sd.decode

    def alone(real: Callable[..., Tensor], most: int) -> Callable[..., Tensor]:
        def call(x: Tensor, *others: object) -> Tensor:
            if len(x) > most:
                raise torch.OutOfMemoryError
            return real(x, *others)

        return call

    monkeypatch.setattr(sd, "decode", alone(decode, 1))
    together = [pixels(image) for image in generate(sd, requests, batch_size=4)]
    monkeypatch.setattr(sd, "predict", alone(predict, 2))  # guidance has two halves
    with pytest.raises(torch.OutOfMemoryError):
        list(generate(sd, requests, batch_size=4))
    made = [pixels(image) for image in generate(sd, requests, batch_size=batches)]
    assert [one["limit"] for one in batches.known.values()] == [1]
    for one, other, wanted in zip(made, together, plain, strict=True):
        assert np.abs(one - wanted).max() == 0
        assert np.abs(other - wanted).max() <= 1


def test_what_no_memory_could_hold_is_not_begun(sd: ModelFamily) -> None:
    """On a CPU, too, whose system would give what there is not."""
    seen: list[int] = []
    larger = Start.of("", upscale=4.0)
    asked = Request("a dog", 1, 2**14, 2**14, steps=1, start=larger)
    with pytest.raises(UserError, match=r"of 65536x65536 takes .* GB at least"):
        list(generate(sd, [asked], on_step=seen.append))
    assert not seen


def test_a_watcher_sees_each_step_and_may_end_it(sd: ModelFamily) -> None:
    requests = [Request("a dog", seed, **CALL) for seed in (1, 2, 3)]
    seen: list[tuple[list[int], int, bytes]] = []

    def watch(batch: Sequence[Request], step: int, draw: Draw) -> None:
        seen.append(([one.seed for one in batch], step, draw()[0].tobytes()))

    made = list(generate(sd, requests, batch_size=2, watch=watch))
    assert [(seeds, step) for seeds, step, _ in seen] == [
        (seeds, step) for seeds in ([1, 2], [3]) for step in range(1, CALL["steps"] + 1)
    ]
    assert seen[3][2] == made[0].tobytes(), "the last step shows the picture itself"
    assert len({picture for _, _, picture in seen[:4]}) == 4

    def stop(batch: Sequence[Request], step: int, draw: Draw) -> None:
        if step == 2:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        list(generate(sd, requests, watch=stop))


def test_sizes_are_kept(sd: ModelFamily) -> None:
    image = next(generate(sd, [Request("a dog", 1, width=96, height=48, steps=2)]))
    assert image.size == (96, 48)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_gives_a_picture(sd: ModelFamily, sampler: str) -> None:
    requests = [Request("a dog", seed, sampler=sampler, eta=0.5, **CALL) for seed in (1, 2)]
    one, two = generate(sd, requests)
    assert pixels(one).std() > 1
    assert one.tobytes() != two.tobytes()


def test_prompt_guidance_and_negative_matter(sd: ModelFamily) -> None:
    base = Request("a dog", 1, **CALL)
    variants = [
        base,
        Request("a cat", 1, **CALL),
        Request("a dog", 1, guidance=9.0, **CALL),
        Request("a dog", 1, guidance=1.0, **CALL),
        Request("a dog", 1, negative="blue", **CALL),
        Request("a dog", 1, clip_skip=1, **CALL),
    ]
    assert len({image.tobytes() for image in generate(sd, variants)}) == len(variants)


@pytest.mark.parametrize("kind", ["sd", "sd_v", "sdxl"])
def test_equal_to_the_diffusers_pipeline(kind: str, request: pytest.FixtureRequest) -> None:
    """Same weights, prompt, noise and DDIM: the same picture to within one grey level."""
    from conftest import load_tiny

    path = request.getfixturevalue(f"{kind}_path")
    cls = StableDiffusionXLPipeline if kind == "sdxl" else StableDiffusionPipeline
    pipe = cls.from_pretrained(str(path))
    pipe.set_progress_bar_config(disable=True)
    pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config, set_alpha_to_one=True)
    start = randn((4, 8, 8), 5, "picture", "start")[None]
    theirs = pipe(
        "a photo of a dog", negative_prompt="blue", guidance_scale=5.0, num_inference_steps=10,
        latents=start, height=64, width=64,
    ).images[0]  # fmt: skip
    mine = Request("a photo of a dog", 5, 64, 64, "blue", 10, 5.0, "ddim")
    got = next(generate(load_tiny(path), [mine]))
    assert np.abs(pixels(got) - pixels(theirs)).max() <= 1
