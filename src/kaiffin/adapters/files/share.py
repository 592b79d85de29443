"""An adapter file as strangers get it: without paths of this machine, with what galleries show."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Mapping
from pathlib import Path

from PIL import Image

from kaiffin.adapters.files import safe
from kaiffin.foundation.errors import AdapterError

# Written by sd-scripts: names of folders, and the words of every caption.
PRIVATE = ("ss_dataset_dirs", "ss_reg_dataset_dirs", "ss_datasets", "ss_tag_frequency",
           "ss_bucket_info", "ss_session_id")  # fmt: skip
LOCAL = re.compile(r"""(?:^|[\s"'=(])(?:/[^\s/"']+/[^\s"']|~/|[A-Za-z]:[\\/]|\\\\)""")
SIDE = 256  # pixels of a thumbnail, as ModelSpec asks


def is_private(name: str, value: str) -> bool:
    """Whether an entry of a header tells of this machine or its photos."""
    return name in PRIVATE or (not value.startswith("data:") and LOCAL.search(value) is not None)


def thumbnail(path: Path) -> str:
    """A picture as a small JPEG in a data URI."""
    with Image.open(path) as image:
        small = image.convert("RGB")
    small.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    small.save(file, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


def save(source: Path, out: Path, extra: Mapping[str, str]) -> list[str]:
    """Writes `source` anew with further entries in its header; answers with what was left out.

    The weights are the same bytes, which is proven, and so are the hashes that galleries know the
    file by; they are computed anew, since they stand in the header. Raises AdapterError where what
    was written does not read back so.
    """
    tensors, before = safe.read(source)
    dropped = [name for name, value in sorted(before.items()) if is_private(name, value)]
    kept = {k: v for k, v in before.items() if k not in dropped and not k.startswith("sshs_")}
    header = kept | dict(extra)
    header["modelspec.hash_sha256"] = "0x" + safe.hashes(tensors, header)["sshs_model_hash"]
    safe.save(out, tensors, header)
    again, after = safe.read(out)
    same = again.keys() == tensors.keys() and all(
        again[name].dtype == value.dtype and again[name].equal(value)
        for name, value in tensors.items()
    )
    if not same or after["modelspec.hash_sha256"] != f"0x{safe.bytes_hash(out)}":
        raise AdapterError(f"{out}: does not read back to what was written.", "Is the disk sound?")
    return dropped
