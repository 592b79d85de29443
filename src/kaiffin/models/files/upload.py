"""A folder to the Hugging Face hub, when somebody has asked for it: the one door out. Torch-free.

The token is the one that `hf auth login` or HF_TOKEN left; it is never shown.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from kaiffin.foundation.errors import UserError
from kaiffin.foundation.tell import Tell
from kaiffin.models.files import hub

LOGIN = "Log in with `hf auth login` or set HF_TOKEN, with a token that may write."


def push(folder: Path, name: str, *, private: bool, message: str, tell: Tell) -> str:
    """Uploads every file below `folder` as one commit; answers with the address of the page.

    name: ORG/NAME, or NAME in the account of the token; made where it is not there yet. Large
    files go first, so that nothing is seen of a commit that is not whole. Raises UserError with
    the way out for everything that the hub answers.
    """
    from huggingface_hub import CommitOperationAdd, HfApi, get_token

    if hub.is_offline():
        raise UserError(
            f"hub:{name}: HF_HUB_OFFLINE is set.", "Unset it, or give a folder to --to."
        )
    if not get_token():
        raise UserError(f"hub:{name}: there is no token.", LOGIN)
    api = HfApi()
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    with _explained(name), hub.quiet(), _without_bars():
        repo = api.create_repo(name, private=private, exist_ok=True).repo_id
        total = sum(path.stat().st_size for path in files)
        added = []
        with tell.progress("uploaded", total) as progress:
            for path in files:
                where = path.relative_to(folder).as_posix()
                one = CommitOperationAdd(path_in_repo=where, path_or_fileobj=path)
                api.preupload_lfs_files(repo, [one], free_memory=False)
                added.append(one)
                progress.advance(path.stat().st_size)
        api.create_commit(repo, added, commit_message=message)
    return f"{hub.endpoint()}/{repo}"


@contextlib.contextmanager
def _without_bars() -> Iterator[None]:
    """The client's own bars are left out: there is one for all files."""
    from huggingface_hub.utils import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    before = are_progress_bars_disabled()
    disable_progress_bars()
    try:
        yield
    finally:
        if not before:
            enable_progress_bars()


@contextlib.contextmanager
def _explained(name: str) -> Iterator[None]:
    """What the client raises, in one line with the way out."""
    from huggingface_hub import errors

    try:
        yield
    except errors.HFValidationError as error:
        raise UserError(
            f"hub:{name}: is no name of a repository: {error}", "Write hub:ORG/NAME."
        ) from None
    except errors.HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        if status in (401, 403):
            raise UserError(f"hub:{name}: the hub refuses the token ({status}).", LOGIN) from None
        raise UserError(
            f"hub:{name}: {hub.endpoint()} answers {status or 'nothing'}.",
            "Try it later; the folder can be uploaded by hand as well: --to FOLDER.",
        ) from None
    except (errors.HTTPError, OSError, ValueError) as error:
        raise UserError(
            f"hub:{name}: {hub.endpoint()} cannot be reached ({type(error).__name__}).",
            "Try it later; nothing of it is seen before all of it is there.",
        ) from None
