"""The half of our own hub that takes: repositories made, files stored, commits, as its client sends
them (LFS, not Xet)."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

LARGE = (".safetensors", ".bin", ".onnx", ".msgpack", ".ckpt", ".pt", ".xml", ".onnx_data")


@dataclass
class Written:
    """A repository that a client made. files: at its last commit; stored: large files by hash."""

    private: bool
    files: dict[str, bytes] = field(default_factory=dict)
    stored: dict[str, bytes] = field(default_factory=dict)
    message: str = ""


class Writing:
    """For a handler with `answer` and `json`. hub: what it serves."""

    hub: Any
    path: str
    headers: Any
    rfile: Any
    answer: Any
    json: Any

    def do_POST(self) -> None:
        path, body = unquote(urlsplit(self.path).path), self._body()
        self.hub.requests.append(f"POST {path}")
        repo = next((n for n in self.hub.written if f"/{n}/" in path or f"/{n}.git" in path), "")
        if kind := self.hub.fault(path):
            self.answer(int(kind))
        elif self.headers.get("Authorization") != "Bearer hf_secret":
            self.answer(401)
        elif path == "/api/validate-yaml":
            self.json({"errors": [], "warnings": []})
        elif path == "/api/repos/create":
            asked = json.loads(body)
            name = "/".join((asked.get("organization") or "me", asked["name"]))
            private = asked.get("private") or asked.get("visibility") == "private"
            self.hub.written.setdefault(name, Written(bool(private)))
            self.json({"url": f"{self.hub.url}/{name}"})
        elif path.endswith("/preupload/main"):
            large = {f["path"]: f["path"].endswith(LARGE) for f in json.loads(body)["files"]}
            self.json({"files": [{"path": p, "uploadMode": "lfs" if big else "regular",
                                  "shouldIgnore": False} for p, big in large.items()]})  # fmt: skip
        elif path.endswith("/objects/batch"):
            self.json({"transfer": "basic", "objects": [
                one | {"actions": {"upload": {"href": f"{self.hub.url}/put/{repo}/{one['oid']}"}}}
                for one in json.loads(body)["objects"]
            ]})  # fmt: skip
        elif path.endswith("/commit/main"):
            self.commit(self.hub.written[repo], [json.loads(line) for line in body.splitlines()])
            self.json({"commitUrl": f"{self.hub.url}/{repo}/commit/{'a' * 40}",
                       "commitOid": "a" * 40, "success": True})  # fmt: skip
        else:
            self.answer(404)

    def do_PUT(self) -> None:
        _, _, repo = unquote(urlsplit(self.path).path).partition("/put/")
        name, _, oid = repo.rpartition("/")
        data = self._body()
        assert hashlib.sha256(data).hexdigest() == oid
        self.hub.written[name].stored[oid] = data
        self.answer(200)

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def commit(self, repo: Written, lines: list[dict]) -> None:
        """One commit from the lines of the client: a header, then files or hashes of large ones."""
        for line in lines:
            value = line["value"]
            if line["key"] == "header":
                repo.message = value["summary"]
            elif line["key"] == "lfsFile":
                repo.files[value["path"]] = repo.stored[value["oid"]]
            else:
                repo.files[value["path"]] = base64.b64decode(value["content"])
