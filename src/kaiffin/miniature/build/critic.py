"""A critic that tells drawn patches from true ones, which is what makes a decoder draw sharply.

L1 and L2 are smallest at the mean of what a picture might be, and the mean of an edge that may lie
here or there is a blur. The critic knows blur when it sees it (Isola et al. 2017, arXiv 1611.07004,
with the hinge of Lim and Ye 2017, arXiv 1705.02894, and the weight of Esser et al. 2021, arXiv
2012.09841).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call


class Critic(nn.Sequential):
    """(B, 3, H, W) in -1..1 to one number for each patch of 8 x 8: high where it looks true. Each
    sees 38 pixels a side."""

    def __init__(self, width: int = 32) -> None:
        super().__init__(
            nn.Conv2d(3, width, 4, 2, 1), nn.LeakyReLU(0.2),
            nn.Conv2d(width, 2 * width, 4, 2, 1), nn.LeakyReLU(0.2),
            nn.Conv2d(2 * width, 2 * width, 4, 2, 1), nn.LeakyReLU(0.2),
            nn.Conv2d(2 * width, 1, 3, 1, 1),
        )  # fmt: skip


def hinge(critic: nn.Module, true: Tensor, made: Tensor) -> Tensor:
    """What the critic learns by: at least 1 for what is true, at most -1 for what is made."""
    return F.relu(1 - critic(true)).mean() + F.relu(1 + critic(made)).mean()


def pull(critic: nn.Module, made: Tensor) -> Tensor:
    """What draws `made` towards what the critic takes for true; the critic learns nothing by it."""
    fixed = {name: weight.detach() for name, weight in critic.named_parameters()}
    return -functional_call(critic, fixed, (made,)).mean()


def weighed(main: Tensor, other: Tensor, made: Tensor, share: float) -> Tensor:
    """`main` + w `other`, with the w at which `other`'s gradient at the picture `made` is `share`
    of `main`'s."""
    sizes = [torch.autograd.grad(loss, made, retain_graph=True)[0].norm() for loss in (main, other)]
    return main + share * sizes[0] / (sizes[1] + 1e-12) * other
