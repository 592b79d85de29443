"""The one door to huggingface_hub: what it is asked, and what its errors mean. Torch-free.

The client's errors are of many classes, and a connection that is cut in a body raises one of the
HTTP library's own. Here each becomes a sentence with the way out.
"""

from __future__ import annotations

import contextlib
import difflib
import errno
from collections.abc import Iterator
from dataclasses import dataclass
from glob import escape
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from kaiffin.foundation.errors import MissingWeightsError
from kaiffin.models.files.kept import Entry, Listing
from kaiffin.models.files.published import ALIASES, MOVED, Source

SECONDS = 10.0  # that the hub may take to answer


class UnreachableError(MissingWeightsError):
    """The hub cannot be asked now: what is on this machine is all there is."""


class NoRevisionError(MissingWeightsError):
    """The repository has no such branch, tag or commit."""


@dataclass(frozen=True)
class Remote:
    """A commit of a repository as the hub lists it. name: what it is called now; gated: whether
    terms have to be accepted on its page; lora: whether it says that it is an adapter."""

    name: str
    commit: str
    listing: Listing
    licence: str
    gated: bool
    lora: bool


def is_offline() -> bool:
    """Whether the user has forbidden every request: HF_HUB_OFFLINE."""
    from huggingface_hub import constants

    return constants.is_offline_mode()


def endpoint() -> str:
    """The hub, or its mirror that HF_ENDPOINT names."""
    from huggingface_hub import constants

    return constants.ENDPOINT


def ask(source: Source, revision: str) -> Remote:
    """What `source` holds at `revision` ("" is what is published now).

    Raises MissingWeightsError with a sentence for each reason; UnreachableError without a network.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile

    refuse_offline(source)
    api = HfApi()
    with explained(source), quiet():
        info = api.model_info(source.repo, revision=revision or None, timeout=SECONDS)
        files = api.list_repo_tree(source.repo, recursive=True, revision=info.sha)
        listing = {
            file.path: Entry(file.lfs.size, file.lfs.sha256) if file.lfs else Entry(file.size)
            for file in files
            if isinstance(file, RepoFile) and _is_plain(file.path)
        }
    tags = info.tags or []
    licence = next((tag.removeprefix("license:") for tag in tags if tag.startswith("license:")), "")
    is_lora = "lora" in tags or any(tag.startswith("base_model:adapter:") for tag in tags)
    return Remote(info.id, info.sha or "", listing, licence, bool(info.gated), is_lora)


def take_small(source: Source, commit: str, names: tuple[str, ...]) -> None:
    """Brings small files into the cache, and with them the hub's list of all files."""
    from huggingface_hub import snapshot_download

    with explained(source), quiet():
        snapshot_download(
            source.repo, revision=commit, allow_patterns=[escape(name) for name in names],
            etag_timeout=SECONDS, tqdm_class=bar(),
        )  # fmt: skip


def url(source: Source, commit: str, name: str) -> str:
    """Where a file is served."""
    from huggingface_hub import hf_hub_url

    return hf_hub_url(source.repo, name, revision=commit)


def bar(step: Any = lambda amount: None) -> Any:
    """A class of progress bars for the client that shows nothing and calls `step(bytes)`."""
    from huggingface_hub.utils import tqdm

    class Silent(tqdm):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **{**options, "disable": True})

        def update(self, n: float | None = 1) -> None:
            step(int(n or 0))

    return Silent


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """The client's own warnings are left out: what they mean is said here."""
    from huggingface_hub.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def refuse_offline(source: Source) -> None:
    """UnreachableError where HF_HUB_OFFLINE forbids to ask."""
    if is_offline():
        raise UnreachableError(
            f"{source.repo} cannot be taken: HF_HUB_OFFLINE is set.", elsewhere(source)
        )


def elsewhere(source: Source) -> str:
    """How files come to a machine without a network."""
    return (
        f"Run `kaiffin bases get {source.name}` where there is a network and copy the cache of the"
        " hub (HF_HOME), or pass a diffusers folder (model_index.json, unet/, vae/ and so on) or a"
        " .safetensors checkpoint."
    )


# --- what its errors mean -----------------------------------------------------------------------


@contextlib.contextmanager
def explained(source: Source) -> Iterator[None]:
    """Turns what the client raises into one line with the way out."""
    from huggingface_hub.errors import HTTPError

    try:
        yield
    except (HTTPError, OSError, ValueError) as error:
        raise _explanation(source, _cause(error)) from None


def _cause(error: BaseException) -> BaseException:
    """Behind "not in the cache" the client hides why it could not ask."""
    from huggingface_hub.errors import LocalEntryNotFoundError

    while isinstance(error, LocalEntryNotFoundError) and error.__cause__:
        error = error.__cause__
    return error


def _explanation(source: Source, error: BaseException) -> MissingWeightsError:
    from huggingface_hub import errors

    if isinstance(error, errors.HfHubHTTPError):
        return _refused(source, error)
    if isinstance(error, OSError) and error.errno is not None:
        return _unwritten(source, error)
    if isinstance(error, errors.HFValidationError):
        return MissingWeightsError(f"{source.repo!r} is no name of a repository: {error}")
    if isinstance(error, errors.HTTPError):
        return _unreachable(source, error)
    return MissingWeightsError(
        f"{source.repo}: {endpoint()} answers what cannot be used: {error}.",
        "Is HF_ENDPOINT a mirror that knows this repository? Unset it to ask the hub itself.",
    )


def _unwritten(source: Source, error: OSError) -> MissingWeightsError:
    """What this machine's disk says."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return MissingWeightsError(
            f"{source.repo}: the disk is full.",
            "Free some space, or set HF_HOME to a folder on another disk; what is whole is kept.",
        )
    if error.errno == errno.EFBIG:
        return MissingWeightsError(
            f"{source.repo}: the disk takes no files so large, as FAT32 none above 4 GB.",
            "Set HF_HOME to a folder on another disk.",
        )
    return MissingWeightsError(
        f"{source.repo}: {error.filename or 'the cache of the hub'} cannot be written"
        f" ({error.strerror}).",
        "Set HF_HOME to a folder of your own.",
    )


def _unreachable(source: Source, error: BaseException) -> MissingWeightsError:
    """What the HTTP library says of a connection: never made, or cut."""
    kind, proxy = type(error).__name__, _proxy()
    if kind == "ProxyError" or (proxy and kind.startswith("Connect")):
        return UnreachableError(
            f"{source.repo}: {endpoint()} cannot be reached by the proxy {proxy} ({error}).",
            "Look at HTTPS_PROXY, HTTP_PROXY and NO_PROXY.",
        )
    if kind.startswith("Connect"):
        return UnreachableError(
            f"{source.repo} cannot be taken: {endpoint()} cannot be reached ({error}).",
            elsewhere(source),
        )
    return UnreachableError(
        f"{source.repo}: the connection to {endpoint()} was cut ({kind}).",
        "Run the same command again: it goes on with what is here.",
    )


def _proxy() -> str:
    """Host and port of what is asked in the hub's place, without the password that may be in its
    address; "" where the hub itself is."""
    asked = urlsplit(endpoint())
    given = urlsplit(getproxies().get(asked.scheme) or getproxies().get("all") or "")
    return "" if proxy_bypass(asked.hostname or "") else given.netloc.rpartition("@")[2]


def _refused(source: Source, error: Any) -> MissingWeightsError:
    """What the hub answers instead of a file."""
    from huggingface_hub import errors, get_token

    status, page = error.response.status_code, f"{endpoint()}/{source.repo}"
    if isinstance(error, errors.GatedRepoError):
        way = "then run `hf auth login`" if get_token() is None else "then wait until it is granted"
        return MissingWeightsError(
            f"{source.repo} is gated: its owners ask for consent to their terms.",
            f"Accept them on {page}, {way}.",
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return NoRevisionError(
            f"{source.repo} has no revision {source.revision or 'main'!r}.",
            f"Name a branch, tag or commit of {page}, or leave @{source.revision} out.",
        )
    if isinstance(error, errors.DisabledRepoError):
        return MissingWeightsError(f"{source.repo} was disabled by the hub.", "Choose another.")
    if isinstance(error, errors.RepositoryNotFoundError):
        return _unknown(source)
    ways = {
        401: "Your token is not valid, or none is set: run `hf auth login`.",
        403: f"Your token may not read it: ask for access on {page}, or run `hf auth login`.",
        404: "Is HF_ENDPOINT a mirror that lacks it?",
        429: "Too many requests: wait some minutes, or run `hf auth login` for a higher limit.",
    }
    if status >= 500:
        return UnreachableError(f"{source.repo}: {endpoint()} answers {status}.", "Try it later.")
    return MissingWeightsError(
        f"{source.repo}: {endpoint()} answers {status}.", ways.get(status, "Try it later.")
    )


def _unknown(source: Source) -> MissingWeightsError:
    """A name that is no model's: a slip, moved, of another kind, or private."""
    if source.repo in MOVED:
        return MissingWeightsError(
            f"{source.repo} is gone.", f"Its weights are published as {MOVED[source.repo]}."
        )
    from huggingface_hub import get_token

    other = _other_kind(source)
    if other:
        return MissingWeightsError(
            f"{source.repo} is a {other}, not a model.", "Name the repository of a base model."
        )
    near = difflib.get_close_matches(source.repo, [*ALIASES.values()], n=1, cutoff=0.8)
    hint = f'Did you mean "{near[0]}"? ' if near else ""
    login = "" if get_token() else " For a private one run `hf auth login`."
    return MissingWeightsError(
        f"{endpoint()} has no model {source.repo}, or hides it.", f"{hint}Check the name.{login}"
    )


def _other_kind(source: Source) -> str:
    """`dataset` or `space` where a repository of that kind has the name."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HTTPError

    with contextlib.suppress(HTTPError, OSError, ValueError):
        for kind in ("dataset", "space"):
            if HfApi().repo_exists(source.repo, repo_type=kind):
                return kind
    return ""


def _is_plain(name: str) -> bool:
    """Whether a name in a listing stays below the folder that it is for, on any system."""
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and not set(name) & set("\\:")


def write_ref(store: Path, source: Source, commit: str) -> None:
    """Remembers which commit a branch or tag is now, as the client does."""
    if source.is_commit:
        return
    path = store / "refs" / (source.revision or "main")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(commit, encoding="utf-8")
