"""The few-step adapter: what it is taught, by hand, and the file that it becomes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from kaiffin.adapters.load import load_adapter, was_trained_on
from kaiffin.miniature import WEIGHTS
from kaiffin.miniature.build import fast, stages
from kaiffin.miniature.build.fast import Levels, Student, consistency, stepped
from kaiffin.miniature.build.marathon import Every, Marathon, load_average
from kaiffin.miniature.build.recipe import BuildConfig
from kaiffin.miniature.world import world
from kaiffin.models.base import Conditioning, SizeFacts
from kaiffin.models.diffusion.samplers import guided, sample_euler

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def student() -> Iterator[Student]:
    made = fast.new_student(WEIGHTS, "fast", 1, CPU)
    yield made
    made.lora.eject()


def draws(count: int) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(0)
    return torch.randn(count, 16, 8, 8, generator=rng), torch.randn(count, 16, 8, 8, generator=rng)


def told(student: Student, *texts: str) -> Conditioning:
    return student.family.encode_text(list(texts), [SizeFacts.whole(64, 64)] * len(texts))


def grid(student: Student) -> list[float]:
    return student.family.schedule.sigmas(fast.GRID, "trailing")


def test_every_level_leads_to_the_end_of_its_segment(student: Student) -> None:
    levels = Levels.of(grid(student), range(fast.GRID))
    steps = student.family.schedule.sigmas(fast.SEGMENTS, "trailing")
    assert sorted(set(levels.end), reverse=True) == pytest.approx(steps[1:])
    rows = zip(levels.here, levels.after, levels.end, strict=True)
    assert all(here > after >= end for here, after, end in rows)


def test_a_step_goes_where_the_sampler_goes() -> None:
    x0, x = draws(2)
    end = sample_euler(lambda x, sigma: x0, x, [3.0, 1.0], lambda i: x)
    assert torch.allclose(stepped(x, x0, [3.0, 3.0], [1.0, 1.0]), end, atol=1e-6)


class Oracle:
    """A teacher who knows the picture, and a student who sees it with an error."""

    def __init__(self, x0: Tensor, error: float = 0.0, later: float = 0.0) -> None:
        self.x0, self.error, self.later, self.asked = x0, error, later, 0

    def teach(self, x: Tensor, levels: list[float], *told: object) -> Tensor:
        return self.x0

    def __call__(self, x: Tensor, levels: list[float], told: object) -> Tensor:
        self.asked += 1
        return self.x0[: len(x)] + (self.later if self.asked == 1 else self.error)


def test_who_sees_what_the_teacher_sees_has_nothing_to_learn(student: Student) -> None:
    """And an error counts by the noise, as one of v; what is seen one step on, by how much of the
    way is left from there."""
    x0, eps = draws(1)
    levels = Levels.of(grid(student), [12])
    (here, after, end) = levels.here[0], levels.after[0], levels.end[0]
    x = x0 + here * eps
    nothing = Conditioning({})

    def loss(**errors: float) -> float:
        oracle: Any = Oracle(x0, **errors)
        return float(consistency(oracle, x, levels, nothing, nothing))

    weight = min(1 + here**-2, fast.MOST_WEIGHT)
    assert loss() == pytest.approx(0, abs=1e-9)
    assert loss(error=0.1) == pytest.approx(weight * 0.1**2, rel=1e-3)
    left = (1 - end / after) / (1 - end / here)
    assert loss(later=0.1) == pytest.approx(weight * (left * 0.1) ** 2, rel=1e-3)


def test_at_the_end_of_a_segment_the_picture_is_what_it_is(student: Student) -> None:
    """There the student is asked once: where it began."""
    x0, eps = draws(1)
    levels = Levels.of(grid(student), [9])
    assert levels.after == levels.end
    oracle: Any = Oracle(x0)
    found = consistency(
        oracle, x0 + levels.here[0] * eps, levels, Conditioning({}), Conditioning({})
    )
    assert (float(found), oracle.asked) == (pytest.approx(0, abs=1e-9), 1)


def test_the_teacher_is_the_base_with_guidance_and_the_student_begins_as_the_base(
    student: Student,
) -> None:
    family, schedule = student.family, student.family.schedule
    x, sigma = draws(1)[0], grid(student)[20]
    words, nothing = told(student, "a red dog"), told(student, "")
    x_t, t = schedule.model_input(x, sigma)
    student.lora.scale = 0.0
    outputs = [family.predict(x_t, torch.tensor([t]), one) for one in (words, nothing)]
    expected = schedule.to_x0(guided(*outputs, fast.GUIDANCE), x, sigma)
    assert torch.allclose(student.teach(x, [sigma], words, nothing), expected, atol=1e-5)
    expected = schedule.to_x0(outputs[0], x, sigma)
    assert torch.allclose(student(x, [sigma], words), expected, atol=1e-5)


def test_a_student_learns_on_from_a_file(student: Student) -> None:
    on = fast.new_student(WEIGHTS, "fast", 1, CPU, WEIGHTS / "fast.safetensors")
    words, x, sigma = told(on, "a red dog"), draws(1)[0], grid(on)[20]
    fresh = student(x, [sigma], words)
    family = on.family
    shipped = load_adapter(WEIGHTS / "fast.safetensors", family)
    seen = on(x, [sigma], words)
    assert not torch.allclose(seen, fresh, atol=1e-2)
    on.lora.eject()
    shipped.inject(family)
    assert torch.allclose(seen, on(x, [sigma], words), atol=1e-5)
    shipped.eject()


def test_latents_of_small_pictures_are_as_large_as_the_base_draws(student: Student) -> None:
    assert fast.latents_of(student.family, pool().pixels).shape == (4, 16, 8, 8)


def pool() -> stages.Pool:
    specs = [world.training_spec(1, index) for index in range(4)]
    return stages.Pool(np.stack([np.asarray(world.render(spec, 64)) for spec in specs]), 1)


def trained(folder: Path, samples: int, dies_at: int | None = None) -> bytes:
    """The file that a training of the stage ends in."""
    made = fast.new_student(WEIGHTS, "fast", 1, CPU)
    step_loss = fast.fast_stage(made, pool(), 2)

    def loss(step: int, part: slice) -> Tensor:
        if step == dies_at:
            raise InterruptedError
        return step_loss(step, part)

    plan = BuildConfig(fast_batch=2, fast_samples=samples).plan("fast")
    Marathon(folder, made, plan, loss, every=Every(save_s=0)).run()
    made.lora.eject()
    kept = load_average(fast.new_student(WEIGHTS, "fast", 1, CPU), folder)
    kept.lora.eject()
    fast.write(kept, folder / "fast.safetensors", samples, "miniature")
    return (folder / "fast.safetensors").read_bytes()


def test_the_stage_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    """Killed in the middle of a step, with a checkpoint of the one before."""
    whole = trained(tmp_path / "whole", 10)
    with pytest.raises(InterruptedError):
        trained(tmp_path / "killed", 10, dies_at=3)
    assert (tmp_path / "killed" / "checkpoint.safetensors").is_file()
    assert trained(tmp_path / "killed", 10) == whole
    assert trained(tmp_path / "other", 8) != whole


def test_a_few_steps_teach_it_and_it_becomes_a_file(tmp_path: Path) -> None:
    made = fast.new_student(WEIGHTS, "fast", 1, CPU)
    loss = fast.fast_stage(made, pool(), 4)
    optimizer = torch.optim.Adam(made.parameters(), 1e-3)
    seen = []
    for _ in range(6):
        found = loss(0, slice(0, 4))
        optimizer.zero_grad()
        found.backward()
        optimizer.step()
        seen.append(float(found.detach()))
    assert seen[-1] < 0.9 * seen[0]
    path = tmp_path / "fast.safetensors"
    fast.write(made, path, 24, "miniature")
    assert path.stat().st_size <= 2_000_000
    made.lora.eject()
    read = load_adapter(path, made.family).adapters[""]
    assert was_trained_on(path, made.family)
    ours = made.lora.state()
    assert all(
        torch.equal(value, ours[name].half().float()) for name, value in read.state().items()
    )
