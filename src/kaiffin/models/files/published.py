"""Published bases by their short names, and how a repository of the hub is written. Torch-free.

`ORG/NAME` is a repository, `ORG/NAME@REVISION` a branch, tag or commit of it, `ORG/NAME:FILE` one
checkpoint file in it; a short name may stand for `ORG/NAME`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

LISTED = "November 2026"  # when the table below was read from the hub's pages


@dataclass(frozen=True)
class Published:
    """A repository as it was listed.

    full, half: bytes of the weights that Kaiffin takes, in full precision and as half-precision
    twins; 0 where there are none. note: what is worth knowing before it is taken.
    """

    repo: str
    licence: str
    full: int = 0
    half: int = 0
    note: str = ""


PUBLISHED = {
    "sd14": Published("CompVis/stable-diffusion-v1-4", "openrail-m", 4_270_000_000, 2_130_000_000),
    "sd15": Published(
        "stable-diffusion-v1-5/stable-diffusion-v1-5", "openrail-m", 4_270_000_000, 2_130_000_000
    ),
    "realistic-vision-5.1": Published(
        "SG161222/Realistic_Vision_V5.1_noVAE", "openrail-m", 4_270_000_000, note="wants a VAE:"
        " --base.vae stabilityai/sd-vae-ft-mse",
    ),
    "sdxl": Published(
        "stabilityai/stable-diffusion-xl-base-1.0", "openrail++", 13_880_000_000, 6_940_000_000
    ),
    "animagine-xl-3.1": Published(
        "cagliostrolab/animagine-xl-3.1", "faipl-1.0-sd", 13_880_000_000, 6_940_000_000
    ),
    "animagine-xl-4.0": Published(
        "cagliostrolab/animagine-xl-4.0", "openrail++", 6_940_000_000,
        note="half precision under plain names",
    ),
    "realvisxl-5.0": Published(
        "SG161222/RealVisXL_V5.0", "openrail++", 13_880_000_000, 6_940_000_000
    ),
    "illustrious-xl-1.1": Published(
        "OnomaAIResearch/Illustrious-XL-v1.1", "sdxl-license", half=6_940_000_000,
        note="one checkpoint file",
    ),
    "juggernaut-xl-9": Published(
        "RunDiffusion/Juggernaut-XL-v9", "", half=6_940_000_000, note="half precision only"
    ),
    "pony-6": Published(
        "AstraliteHeart/pony-diffusion-v6", "openrail-m", half=6_940_000_000,
        note="one checkpoint file",
    ),
}  # fmt: skip
ALIASES = {name: one.repo for name, one in PUBLISHED.items()}

# Repositories that are gone, and where their weights are published now.
MOVED = {
    "runwayml/stable-diffusion-v1-5": "stable-diffusion-v1-5/stable-diffusion-v1-5",
    "runwayml/stable-diffusion-inpainting": "stable-diffusion-v1-5/stable-diffusion-inpainting",
}

_PART = r"[A-Za-z0-9_][\w.-]*"
_NAME = re.compile(rf"(?P<repo>{_PART}(?:/{_PART})?)(?:@(?P<revision>[^:@]+))?(?::(?P<file>.+))?")


@dataclass(frozen=True)
class Source:
    """A repository of the hub, as the user named it.

    name: the user's own words; revision: a branch, tag or commit, "" for what is published now;
    file: one checkpoint file in it, "" for what the repository itself says.
    """

    name: str
    repo: str
    revision: str = ""
    file: str = ""

    @property
    def is_commit(self) -> bool:
        """Whether the revision is a whole commit, which never changes."""
        return re.fullmatch(r"[0-9a-f]{40}", self.revision) is not None

    def at(self, commit: str) -> str:
        """The user's words with a commit in them: `sd15` is `sd15@451f4fe...`."""
        match = _NAME.fullmatch(self.name)
        plain = match["repo"] if match else self.repo
        return f"{plain}@{commit}" + (f":{self.file}" if self.file else "")


def source_of(name: str) -> Source | None:
    """What `name` says of the hub; None where it is no repository's name and no short one."""
    match = _NAME.fullmatch(name)
    if not match:
        return None
    repo = ALIASES.get(match["repo"], match["repo"])
    if repo.count("/") != 1 or ".." in repo or "--" in repo:
        return None
    return Source(name, repo, match["revision"] or "", match["file"] or "")


def plain_name(name: str) -> str:
    """`name` as others know it: the repository behind a short name, without a revision."""
    source = source_of(name)
    return source.repo if source else name
