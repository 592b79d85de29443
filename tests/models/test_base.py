"""What families are told and tell: conditionings and the facts of a picture's cut."""

import pytest
import torch

from kaiffin.models.base import Conditioning, SizeFacts


def test_conditionings_are_mappings_that_stack_along_the_batch() -> None:
    one = Conditioning({"context": torch.ones(1, 77, 4), "pooled": torch.ones(1, 3)})
    both = Conditioning.cat([one, one.map(lambda tensor: 2 * tensor)])
    assert list(both) == ["context", "pooled"]
    assert both["context"].shape == (2, 77, 4)
    assert both["pooled"].tolist() == [[1, 1, 1], [2, 2, 2]]
    assert dict(**one).keys() == one.keys()


def test_what_differs_in_kind_is_not_stacked() -> None:
    """A conditioning without a part that the others have is an error, never silently dropped."""
    with pytest.raises(KeyError):
        Conditioning.cat([Conditioning({"a": torch.ones(1)}), Conditioning({"b": torch.ones(1)})])


def test_a_conditioning_does_not_change() -> None:
    given = {"context": torch.ones(1, 77, 4)}
    made = Conditioning(given)
    given["pooled"] = torch.ones(1, 3)
    assert list(made) == ["context"]
    with pytest.raises(TypeError):
        made["context"] = torch.zeros(1)  # ty: ignore[invalid-assignment]


def test_a_whole_picture_is_no_crop() -> None:
    assert SizeFacts.whole(48, 64) == SizeFacts((48, 64), (0, 0), (48, 64))
