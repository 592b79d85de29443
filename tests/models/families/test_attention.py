"""What words are heard where: shares of a UNet's cross-attention."""

import torch
from PIL import Image

from kaiffin.models.base import ModelFamily, SizeFacts
from kaiffin.pictures import closer
from kaiffin.pictures.request import Request


def test_attention_is_a_share_of_all_that_is_heard(family: ModelFamily) -> None:
    """Over all places of the context it adds up to 1, in each cell."""
    image = Image.effect_noise((64, 48), 60).convert("RGB")
    one = closer.look(family, Request("a dog", 1, 64, 48, steps=4), image, "dog")
    assert one.shape == (6, 8)
    assert (one > 0).all()
    x, t = torch.randn(1, 4, 6, 8), torch.tensor([500])
    told = family.encode_text(["a dog"], [SizeFacts.whole(48, 64)])
    with torch.no_grad():
        heard = family.heard(x, t, told, range(77))
    assert torch.allclose(heard * 77, torch.ones(1, 6, 8), atol=1e-4)


def test_a_denoiser_without_such_attention_says_nothing(flow: ModelFamily) -> None:
    told = flow.encode_text(["a dog"], [SizeFacts.whole(64, 64)])
    x, t = torch.randn(1, flow.latent_channels, 8, 8), torch.tensor([0.5])
    assert not flow.heard(x, t, told, flow.places("a dog", "dog")).any()
