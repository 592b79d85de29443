"""The frozen base as an anchor: exactly its own predictions, on the photos' own noise."""

from pathlib import Path

import pytest
import torch
from test_trainer import losses, trainer

from kaiffin.foundation.subject import without_token
from kaiffin.models.base import ModelFamily
from kaiffin.train.state import TrainState
from kaiffin.train.trainer import Trainer

HELD = {"train.objective.keep": 0.5, "train.objective.keep_share": 1.0}


@torch.no_grad()
def moved(made: Trainer) -> Trainer:
    """With an adapter that acts."""
    for parameter in made.stack.parameters():
        parameter.add_(0.02 * torch.randn(parameter.shape, generator=torch.Generator()))
    return made


@torch.no_grad()
def predicted(made: Trainer, captions: list[str], number: int, *, on: bool) -> torch.Tensor:
    """What the family says of the photos of batch `number`, by hand; the adapter on or ejected."""
    instance = made.inputs.batches(number)[0]
    noised = made._noised(instance, number)
    if not on:
        made.stack.eject()
    told = made.family.encode_text(captions, instance.sizes)
    output = made.family.predict(noised.x_t, noised.t, told)
    if not on:
        made.stack.inject(made.family)
    return output


def test_the_class_is_held_to_the_base_on_the_photos_own_noise(
    sd: ModelFamily, folder: Path
) -> None:
    made = trainer(sd, folder, **HELD)
    batches = made.inputs.batches(3)
    assert [batch.role for batch in batches] == ["instance", "keep"]
    assert batches[1].names == batches[0].names
    assert not any("kaiffin" in caption for caption in batches[1].captions)
    fresh = made.losses(batches, 3)
    assert fresh[1].item() < 1e-10, "a fresh adapter is the base"
    moved(made)
    got = made.losses(batches, 3)
    mine, base = (predicted(made, batches[1].captions, 3, on=on) for on in (True, False))
    assert got[1].item() == pytest.approx((mine - base).square().mean().item(), rel=1e-4)
    assert got[1].item() > 1e-6
    alone = made.losses(batches[:1], 3)
    assert got[0].item() == pytest.approx(alone[0].item(), rel=1e-5), "the photos' loss is as ever"
    got[1].backward()
    assert any(p.grad is not None and p.grad.any() for p in made.stack.parameters())
    made.stack.eject()


def test_dco_is_told_of_the_noun_alone(sd: ModelFamily, folder: Path) -> None:
    """The formula of the paper, with the base's error under the noun."""
    made = trainer(sd, folder, **{"train.objective.dco_beta": 1000.0})
    batch = made.inputs.batches(2)[0]
    moved(made)
    got = made.losses([batch], 2)[0].item()
    target = made._noised(batch, 2).target
    nouns = [without_token(caption, made.config.subject) for caption in batch.captions]
    assert nouns[0] != batch.captions[0]
    errors = [
        (predicted(made, captions, 2, on=on) - target).square().mean((1, 2, 3)).double()
        for captions, on in ((batch.captions, True), (nouns, False))
    ]
    paper = -torch.sigmoid(-1000 * (errors[0] - errors[1])).log()
    assert got == pytest.approx(paper.mean().item() / 1000, rel=1e-3)
    made.stack.eject()


def test_the_share_of_steps_is_drawn_and_pieces_are_one_step(sd: ModelFamily, folder: Path) -> None:
    few = {"train.objective.keep": 1.0, "train.objective.keep_share": 0.25}
    made = trainer(sd, folder, **few, **{"train.accumulate": 2})
    roles = [len(made.inputs.batches(number)) == 2 for number in range(400)]
    assert roles[::2] == roles[1::2], "both halves of a step keep the class, or neither"
    assert 0.15 < sum(roles) / 400 < 0.35
    made.stack.eject()


def test_a_step_in_pieces_holds_to_the_same(sd: ModelFamily, folder: Path) -> None:
    found = []
    for size, pieces in ((4, 1), (2, 2)):
        made = trainer(sd, folder, **HELD, **{"train.batch_size": size, "train.accumulate": pieces,
                                              "train.steps": 2})  # fmt: skip
        made.fit()
        made.stack.eject()
        found.append([(r.loss, r.keep_loss) for r in made.listeners[0].results])
    for whole, split in zip(*found, strict=True):
        assert split == pytest.approx(whole, rel=1e-4, abs=1e-9)


def test_stop_and_go_on_is_exact(sd: ModelFamily, folder: Path, tmp_path: Path) -> None:
    changes = {
        "train.objective.keep": 0.5, "train.objective.keep_share": 0.5,
        "train.objective.dco_beta": 500.0, "train.noises": 2,
        "train.objective.timesteps": "falling", "train.objective.antithetic": True,
        "train.steps": 8,
    }  # fmt: skip
    whole = trainer(sd, folder, **changes)
    whole.fit()
    whole.stack.eject()
    first = trainer(sd, folder, **changes)
    first.fit(until=5)
    for name, data in first.state().files().items():
        (tmp_path / name).write_bytes(data)
    first.stack.eject()
    second = trainer(sd, folder, **changes)
    second.restore(TrainState.read(tmp_path))
    second.fit()
    second.stack.eject()
    assert losses(first) + losses(second) == losses(whole)
    assert second.state().files() == whole.state().files()


def test_where_the_text_learns_the_base_reads_with_its_own(sd: ModelFamily, folder: Path) -> None:
    made = trainer(sd, folder, **HELD, **{"adapter.text_encoder": True, "train.text_lr": 1e-2})
    batches = made.inputs.batches(0)
    noised = [made._noised(batch, 0) for batch in batches]
    x_t, t = ([getattr(n, name) for n in noised] for name in ("x_t", "t"))
    before = made.anchor.said(batches, x_t, t)[1]
    moved(made)
    after = made.anchor.said(batches, x_t, t)[1]
    assert before is not None
    assert after is not None
    assert torch.equal(before, after), "whatever the adapters have learnt"
    assert all(adapter.scale == 1 for adapter in made.stack.adapters.values())
    made.stack.eject()
