"""The VAE at twice the pixels: one more stage at the pixel end of each half, the latents unchanged.

As the latents stay what they were, so do the UNet, its cost, its knowledge and every adapter. What
is grown begins by doing what it was grown from (Chen et al. 2016, arXiv 1511.05641): the decoder's
picture, averaged over 2 x 2, is the old picture; the encoder's latents of a picture enlarged
twofold are the old latents. Then the decoder learns to draw at the new size, and the encoder's new
stage to read it.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kaiffin.foundation.errors import UserError
from kaiffin.miniature.build import nets, stages
from kaiffin.miniature.build.critic import Critic, hinge, pull, weighed

SHARPNESS = 0.4  # the critic's gradient at the picture, as a share of the other losses'
RAMP = 4_000  # samples over which it comes in, while the critic learns its part


@torch.no_grad()
def grow(vae: Any) -> Any:
    """A VAE of twice the pixels a side that does what `vae` does; new layers are as wide as the
    first. UserError where that is too narrow to hold what they pass on."""
    channels = vae.config["block_out_channels"]
    if channels[0] < len(NEAR) ** 2 * 3:
        raise UserError(f"a VAE whose first level has {channels[0]} channels cannot be grown",
                        f"Give it {len(NEAR) ** 2 * 3}: --vae-channels.")  # fmt: skip
    grown: Any = nets.make_vae((channels[0], *channels), 2 * vae.config["sample_size"])
    grown.load_state_dict(_moved(vae.state_dict()), strict=False)
    encoder, decoder = grown.encoder, grown.decoder
    for block in (encoder.down_blocks[0], decoder.up_blocks[-1]):
        for residual in block.resnets:  # silent: a residual branch that adds nothing
            residual.conv2.weight.zero_()
            residual.conv2.bias.zero_()
    _stem(vae.encoder.conv_in, encoder.conv_in, encoder.down_blocks[0].downsamplers[0].conv)
    passed = decoder.up_blocks[-2].upsamplers[0].conv
    nn.init.dirac_(passed.weight)
    passed.bias.zero_()
    last = torch.einsum("au,bv,oiuv->oiab", APART, APART, vae.decoder.conv_out.weight)
    decoder.conv_out.weight.copy_(last)
    decoder.conv_out.bias.copy_(vae.decoder.conv_out.bias)
    return grown


# Three taps on pixels, from three taps w on pixels of twice the size: what the pair of pixels that
# make a large one see of each neighbour is on average w of it.
APART = torch.tensor([[2.0, 0.0, 0.0], [-1.0, 1.0, -1.0], [0.0, 0.0, 2.0]])

# What the stem's first layer reads at pixel p, as three taps: the mean of p and p + 1, or p - 1.
NEAR = {"pair": (0.0, 0.5, 0.5), "before": (1.0, 0.0, 0.0)}
# Of these, a large pixel and its neighbours are made: (what is read, at which tap).
READ = (("before", 0), ("pair", 0), ("pair", 2))


def _stem(old: Any, first: Any, second: Any) -> None:
    """Sets two convolutions, the second with stride 2, to `old` behind a mean over 2 x 2 pixels; of
    the large pixels before (above and to the left), only the nearest row is in reach."""
    names = list(NEAR)
    for layer in (first, second):
        layer.weight.zero_()
        layer.bias.zero_()
    for colour in range(3):
        for a, down in enumerate(NEAR.values()):
            for b, across in enumerate(NEAR.values()):
                taps = torch.outer(torch.tensor(down), torch.tensor(across))
                first.weight[4 * colour + 2 * a + b, colour] = taps
        for u, (down, row) in enumerate(READ):
            for v, (across, column) in enumerate(READ):
                channel = 4 * colour + 2 * names.index(down) + names.index(across)
                second.weight[:, channel, row, column] += old.weight[:, colour, u, v]
    second.bias.copy_(old.bias)


def _moved(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The old weights under their new names: every stage of the encoder is one further in."""
    kept = {}
    for name, weight in state.items():
        parts = name.split(".")
        if name.startswith("encoder.down_blocks."):
            parts[2] = str(int(parts[2]) + 1)
        if parts[:2] not in (["encoder", "conv_in"], ["decoder", "conv_out"]):
            kept[".".join(parts)] = weight
    return kept


class Growing(nn.Module):
    """A grown VAE and the critic of its pictures; what may learn is the decoder, the encoder's new
    stage and the critic."""

    def __init__(self, vae: Any) -> None:
        super().__init__()
        self.vae, self.critic = vae, Critic()
        vae.requires_grad_(False)
        for part in (vae.decoder, vae.encoder.conv_in, vae.encoder.down_blocks[0]):
            part.requires_grad_(True)


def grow_stage(
    growing: Growing, old: Any, pool: stages.Pool, batch: int, sharp_from: int
) -> Callable[[int, slice], Tensor]:
    """The loss of one step. The decoder draws large pictures from the latents that `old` has of
    their 2 x 2 means, as everything that the UNet knows is such latents; the new stage of the
    encoder learns to give them. After `sharp_from` samples the critic has a say."""
    vae, device = growing.vae, old.device

    def loss(step: int, part: slice) -> Tensor:
        images = stages.doodled(pool, step, pool.draw(8, step, batch, part)).to(device)
        with torch.no_grad():
            told = old.encode(F.avg_pool2d(images, 2)).latent_dist
            latents = told.sample(stages.noise_of(pool, step, part))
        with torch.autocast(device.type, torch.bfloat16):  # on a CPU 1.8 times as fast
            made = vae.decode(latents).sample.float()
            few = -(-len(images) // 8)  # the stem has little to learn
            read = vae.encode(images[:few]).latent_dist.parameters.float()
        total = stages.likeness(made, images)
        total = total + F.mse_loss(read, told.parameters[:few])
        if (since := step * batch - sharp_from) < 0:
            return total
        share = SHARPNESS * min(1.0, since / RAMP)
        return weighed(total, pull(growing.critic, made), made, share) + hinge(
            growing.critic, images, made.detach()
        )

    return loss
