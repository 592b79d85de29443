"""Adapter files that were imported: safetensors of any layout, under names of ours. Torch-free.

What is in one is known from its header; whether a base takes it is said by the job that uses it.
"""

from __future__ import annotations

import builtins
import json
import os
import sqlite3
import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kaiffin.adapters.files.spelling import is_embedding
from kaiffin.foundation.errors import AdapterError, UserError
from kaiffin.foundation.folder import explained, file_sha256
from kaiffin.models.files import header
from kaiffin.serve.database import new_id
from kaiffin.serve.jobs import NotFound
from kaiffin.serve.studio import Studio

HEADER = 16 * 2**20  # bytes; a LoRA of every SDXL layer has a header under 1 MB
# What headers say of an adapter that is worth showing, by the names that trainers write.
SAID = {
    "trigger": "modelspec.trigger_phrase", "title": "modelspec.title",
    "base": "ss_base_model_version", "base_name": "ss_sd_model_name",
    "architecture": "modelspec.architecture", "rank": "ss_network_dim",
}  # fmt: skip


EMBEDDING = "kind"  # a fact of those that are words, and no adapters


@dataclass(frozen=True)
class Adapter:
    """facts: what its header says of it, and how many tensors it has."""

    id: str
    name: str
    bytes: int
    sha256: str
    facts: Mapping[str, str]
    created: float


class Adapters:
    """All owners' imported adapters in a data folder."""

    def __init__(self, studio: Studio) -> None:
        self.studio, self.db = studio, studio.db

    def add(self, owner: str, incoming: Path, name: str) -> Adapter:
        """Out of a file that came in, which is moved; AdapterError for what is no safetensors."""
        facts, id = _facts(incoming), new_id()
        digest, size, place = (
            file_sha256(incoming),
            incoming.stat().st_size,
            self.studio.adapter(id),
        )
        with explained(place):
            os.replace(incoming, place)
        with self.db.transaction() as writer:
            writer.execute(
                "INSERT INTO adapters (id, owner, name, sha256, bytes, facts, created)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                (id, owner, name, digest, size, json.dumps(facts), time.time()),
            )
        return self.get(owner, id)

    def get(self, owner: str, id: str) -> Adapter:
        """Raises NotFound."""
        rows = self.db.rows("SELECT * FROM adapters WHERE owner = ? AND id = ?", (owner, id))
        if not rows:
            raise NotFound(f"there is no adapter {id[:40]}.", "The list of adapters has yours.")
        return _adapter(rows[0])

    def names(self, owner: str) -> builtins.list[Adapter]:
        """All of the owner's, the newest first."""
        query = "SELECT * FROM adapters WHERE owner = ? ORDER BY number DESC"
        return [_adapter(row) for row in self.db.rows(query, (owner,))]

    def list(self, owner: str, limit: int, before: str | None = None) -> builtins.list[Adapter]:
        """The newest first. before: the last one of the page before this."""
        where, values = "owner = ?", [owner]
        if before is not None:
            self.get(owner, before)
            where += " AND number < (SELECT number FROM adapters WHERE id = ?)"
            values.append(before)
        query = f"SELECT * FROM adapters WHERE {where} ORDER BY number DESC LIMIT ?"
        return [_adapter(row) for row in self.db.rows(query, (*values, limit))]

    def delete(self, owner: str, id: str) -> None:
        self.get(owner, id)
        with self.db.transaction() as writer:
            writer.execute("DELETE FROM adapters WHERE id = ?", (id,))
        self.studio.adapter(id).unlink(missing_ok=True)


def _facts(path: Path) -> dict[str, str]:
    with path.open("rb") as file:
        start = file.read(8)
    if len(start) == 8 and HEADER < struct.unpack("<Q", start)[0] < path.stat().st_size:
        raise AdapterError("the file has a header larger than any adapter's.")
    try:
        found = header.read(path)
    except UserError as error:
        message = error.message.replace(f"{path}: ", "the file ", 1)
        raise AdapterError(message, error.fix) from None
    if not found.shapes:
        raise AdapterError("the file holds no tensors.", "Choose the adapter's own file.")
    said = {name: str(found.metadata.get(key, ""))[:200] for name, key in SAID.items()}
    said[EMBEDDING] = "textual inversion" if is_embedding(found.shapes) else ""
    return {"tensors": f"{len(found.shapes)}"} | {k: v for k, v in said.items() if v}


def _adapter(row: sqlite3.Row) -> Adapter:
    facts: dict[str, Any] = json.loads(row["facts"])
    return Adapter(row["id"], row["name"], row["bytes"], row["sha256"], facts, row["created"])
