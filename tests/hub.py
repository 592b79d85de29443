"""A hub of our own for the real huggingface_hub client: an HTTP server in this process.

It serves trees of the published repositories' shape with tiny weights, and breaks what it is told
to break. Which requests came stands in `requests`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import socket
import struct
import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest
from hub_writing import LARGE, Writing, Written
from safetensors.numpy import load_file, save

from kaiffin.foundation.tell import SILENT, Tell
from kaiffin.models.files import kept, resolve
from kaiffin.models.files.published import source_of

SD15 = "stable-diffusion-v1-5/stable-diffusion-v1-5"
UNET = "unet/diffusion_pytorch_model.safetensors"
HALF_UNET = "unet/diffusion_pytorch_model.fp16.safetensors"

# The published repositories, as listed in November 2026: names, and sizes of weights in bytes.
_SD_PARTS = ("unet", "text_encoder", "vae", "safety_checker")
_STEM = {"text_encoder": "model", "text_encoder_2": "model", "safety_checker": "model"}
_SMALL = [
    "model_index.json", "README.md", ".gitattributes", "scheduler/scheduler_config.json",
    "tokenizer/vocab.json", "tokenizer/merges.txt", "tokenizer/tokenizer_config.json",
    "tokenizer/special_tokens_map.json",
]  # fmt: skip


def _weights(part: str, full: float, half: float, *, pickled: bool = False) -> dict[str, int]:
    stem = f"{part}/{_STEM.get(part, 'diffusion_pytorch_model')}"
    listed = {f"{stem}.safetensors": full, f"{stem}.fp16.safetensors": half}
    if pickled:
        bare = f"{part}/pytorch_model" if part in _STEM else stem
        listed |= {f"{bare}.bin": full, f"{bare}.fp16.bin": half}
    return {name: round(size * 1e9) for name, size in listed.items() if size} | {
        f"{part}/config.json": 700
    }


_XL = {
    **_weights("unet", 10.27, 5.14), **_weights("text_encoder", 0.49, 0.25),
    **_weights("text_encoder_2", 2.78, 1.39), **_weights("vae", 0.335, 0.167),
    **dict.fromkeys([*_SMALL, "tokenizer_2/vocab.json", "tokenizer_2/merges.txt"], 1000),
}  # fmt: skip
PUBLISHED: dict[str, dict[str, int]] = {
    "stable-diffusion-v1-5/stable-diffusion-v1-5": {
        **_weights("unet", 3.44, 1.72, pickled=True),
        **_weights("text_encoder", 0.492, 0.246, pickled=True),
        **_weights("vae", 0.335, 0.167, pickled=True),
        **_weights("safety_checker", 1.22, 0.61, pickled=True),
        "unet/diffusion_pytorch_model.non_ema.safetensors": 3_440_000_000,
        "unet/diffusion_pytorch_model.non_ema.bin": 3_440_000_000,
        "v1-5-pruned.safetensors": 7_700_000_000, "v1-5-pruned.ckpt": 7_700_000_000,
        "v1-5-pruned-emaonly.safetensors": 4_270_000_000,
        "v1-inference.yaml": 2000, "feature_extractor/preprocessor_config.json": 500,
        **dict.fromkeys(_SMALL, 1000),
    },
    "stabilityai/stable-diffusion-xl-base-1.0": {
        **_XL, **_weights("vae_1_0", 0.335, 0.167),
        "sd_xl_base_1.0.safetensors": 6_940_000_000,
        "sd_xl_base_1.0_0.9vae.safetensors": 6_940_000_000,
        "sd_xl_offset_example-lora_1.0.safetensors": 50_000_000,
        "unet/model.onnx": 7_000_000, "unet/model.onnx_data": 10_270_000_000,
        "unet/openvino_model.xml": 20_000_000, "unet/openvino_model.bin": 10_270_000_000,
        "text_encoder/flax_model.msgpack": 490_000_000, "text_encoder/openvino_model.bin": 1,
    },
    "SG161222/RealVisXL_V5.0": {
        **{name: size for name, size in _XL.items() if name != "unet/diffusion_pytorch_model"
           ".safetensors"},
        "unet/diffusion_pytorch_model-00001-of-00002.safetensors": 9_990_000_000,
        "unet/diffusion_pytorch_model-00002-of-00002.safetensors": 280_000_000,
        "unet/diffusion_pytorch_model.safetensors.index.json": 100_000,
        "RealVisXL_V5.0_fp16.safetensors": 6_940_000_000,
        "RealVisXL_V5.0_fp32.safetensors": 13_900_000_000,
    },
    "RunDiffusion/Juggernaut-XL-v9": {
        name: size for name, size in _XL.items()
        if not name.endswith(".safetensors") or ".fp16." in name
    },
    "cagliostrolab/animagine-xl-4.0": {
        **{name: size // 2 for name, size in _XL.items() if ".fp16." not in name},
        "animagine-xl-4.0.safetensors": 6_940_000_000,
    },
    "OnomaAIResearch/Illustrious-XL-v1.1": {
        "Illustrious-XL-v1.1.safetensors": 6_940_000_000, "README.md": 1000,
    },
}  # fmt: skip


@dataclass
class Repo:
    """A repository at one commit, which is fixed when it is first asked for."""

    files: dict[str, bytes]
    licence: str = "openrail++"
    gated: bool = False
    tags: tuple[str, ...] = ()

    @cached_property
    def commit(self) -> str:
        named = sorted((name, hashlib.sha1(data).hexdigest()) for name, data in self.files.items())
        return hashlib.sha1(repr(named).encode()).hexdigest()

    def entry(self, name: str) -> dict[str, object]:
        data = self.files[name]
        oid = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
        found: dict[str, object] = {
            "type": "file", "path": name, "size": len(data), "oid": oid,
        }  # fmt: skip
        if name.endswith(LARGE):
            sha256 = hashlib.sha256(data).hexdigest()
            found["lfs"] = {"oid": sha256, "size": len(data), "pointerSize": 130}
        return found


@dataclass
class Hub:
    """repos: by their names; moved: from an old name to the present; faults: by the end of a path,
    what is done to the next requests of that, one after the other; requests: `METHOD path range`.
    """

    repos: dict[str, Repo] = field(default_factory=dict)
    datasets: set[str] = field(default_factory=set)
    moved: dict[str, str] = field(default_factory=dict)
    branches: dict[tuple[str, str], str] = field(default_factory=dict)  # (repo, branch): repo at it
    faults: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    requests: list[str] = field(default_factory=list)
    written: dict[str, Written] = field(default_factory=dict)  # repositories that were made here
    url: str = ""

    def bodies(self, ending: str = "") -> list[str]:
        """Files that were sent, in order."""
        found = [r.split()[1] for r in self.requests if r.startswith("GET") and "/resolve/" in r]
        return [
            path.partition("/resolve/")[2].partition("/")[2] for path in found if ending in path
        ]

    def fault(self, path: str) -> str:
        for ending, kinds in self.faults.items():
            if path.endswith(ending) and kinds:
                return kinds.pop(0)
        return ""

    def at(self, name: str, revision: str) -> Repo | None:
        """The repository at a branch or commit."""
        versions = {
            "main": self.repos[name],
            **{branch: self.repos[other] for (of, branch), other in self.branches.items()
               if of == name},
        }  # fmt: skip
        by_commit = {repo.commit: repo for repo in versions.values()}
        return (versions | by_commit).get(revision)


class _Handler(Writing, BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append(f"{self.command} {path} {self.headers.get('Range', '')}".strip())
        kind = self.hub.fault(path)
        new = next((old for old in self.hub.moved if f"/{old}/" in f"{path}/"), None)
        if kind.isdigit():
            self.answer(int(kind))
        elif new:
            self.answer(307, {"Location": self.path.replace(new, self.hub.moved[new])})
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/(.+))?", path):
            self.info(match[1], match[2] or "main")
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/tree/([^/]+)", path):
            repo = self.hub.at(match[1], match[2])
            self.json([repo.entry(name) for name in repo.files] if repo else [])
        elif match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            self.file(match[1], match[2], match[3], kind)
        elif path.removeprefix("/api/datasets/") in self.hub.datasets:
            self.json({"id": path.removeprefix("/api/datasets/")})
        else:
            self.answer(401, {"X-Error-Code": "RepoNotFound"})

    def info(self, name: str, revision: str) -> None:
        repo = self.hub.at(name, revision) if name in self.hub.repos else None
        if repo is None:
            missing = "Revision" if name in self.hub.repos else "Repo"
            self.answer(
                404 if missing == "Revision" else 401, {"X-Error-Code": f"{missing}NotFound"}
            )
            return
        tags = ["diffusers", f"license:{repo.licence}", *repo.tags]
        self.json({
            "id": name, "sha": repo.commit, "private": False, "tags": tags,
            "gated": "auto" if repo.gated else False,
            "siblings": [{"rfilename": one} for one in repo.files],
        })  # fmt: skip

    def file(self, name: str, revision: str, file: str, kind: str) -> None:
        repo = self.hub.at(name, revision) if name in self.hub.repos else None
        if repo is None or file not in repo.files:
            self.answer(404, {"X-Error-Code": "EntryNotFound"})
        elif repo.gated and "Authorization" not in self.headers:
            self.answer(401, {"X-Error-Code": "GatedRepo"})
        else:
            self.contents(repo, file, kind)

    def contents(self, repo: Repo, file: str, kind: str) -> None:
        data, entry = repo.files[file], repo.entry(file)
        first = int(re.findall(r"\d+", self.headers.get("Range", "0"))[0])
        etag = entry["lfs"]["oid"] if "lfs" in entry else entry["oid"]
        headers = {"X-Repo-Commit": repo.commit, "ETag": f'"{etag}"'} if kind != "bare" else {}
        if first:
            headers["Content-Range"] = f"bytes {first}-{len(data) - 1}/{len(data)}"
        if kind == "wrong":
            data = bytes(len(data) - 8) + data[-8:]
        body = data[first:-5] if kind == "short" else data[first:]
        self.answer(206 if first else 200, headers, body, kind)

    def json(self, value: object) -> None:
        self.answer(200, {"Content-Type": "application/json"}, json.dumps(value).encode())

    def answer(
        self, status: int, headers: Mapping[str, str] | None = None, body: bytes = b"",
        kind: str = "",
    ) -> None:  # fmt: skip
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if kind not in ("cut", "reset"):
            self.wfile.write(body)
            return
        self.wfile.write(body[: len(body) // 2])
        self.wfile.flush()
        self.close_connection = True
        if kind == "reset":  # RST instead of FIN: what a dying line looks like
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.connection.shutdown(socket.SHUT_RDWR) if kind == "cut" else self.connection.close()


@contextlib.contextmanager
def serving(patch: pytest.MonkeyPatch, home: Path) -> Iterator[Hub]:
    """A hub for the client in this process, whose cache is in `home` from now on.

    The client reads HF_ENDPOINT and HF_HOME when it is imported; these are what it made of them.
    """
    hub = Hub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    at = "huggingface_hub.constants."
    patch.setattr(f"{at}ENDPOINT", hub.url)
    patch.setattr(
        f"{at}HUGGINGFACE_CO_URL_TEMPLATE", hub.url + "/{repo_id}/resolve/{revision}/{filename}"
    )
    patch.setattr(f"{at}HF_HUB_CACHE", str(home / "hub"))
    patch.setattr(f"{at}HF_HUB_OFFLINE", False)
    patch.setattr(f"{at}HF_HUB_DISABLE_XET", True)  # another protocol, for the same files
    patch.setattr(f"{at}DOWNLOAD_CHUNK_SIZE", 1 << 16)  # so that tiny files come in pieces, too
    patch.setenv("HF_TOKEN_PATH", str(home / "token"))
    patch.setenv("KAIFFIN_HOME", str(home / "kaiffin"))
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


def shaped(repo: str, folder: Path, single: Path | None = None) -> dict[str, bytes]:
    """The tree of a published repository, with the tiny pipeline in `folder` in its place.

    single: the tiny checkpoint that stands for those at its top. What Kaiffin must not take is
    noise of its own.
    """
    found = {}
    for name in PUBLISHED[repo]:
        part, _, file = name.rpartition("/")
        plain = folder / part / re.sub(r"\.fp16|-0000\d-of-0000\d", "", file)
        if (folder / name).is_file():
            found[name] = (folder / name).read_bytes()
        elif name.endswith(".safetensors") and plain.is_file():
            found[name] = _variant(plain, file)
        elif name.endswith(".index.json"):
            found[name] = _index(folder / part)
        elif name.endswith(".safetensors") and not part and single:
            found[name] = single.read_bytes()
        elif name.startswith("tokenizer") and name.endswith(".json"):
            found[name] = b"{}"
        else:
            found[name] = f"noise of {name}".encode()
    return found


def _variant(plain: Path, file: str) -> bytes:
    """Weights in half precision, or a shard of them."""
    tensors = load_file(plain)
    if ".fp16" in file:
        tensors = {name: value.astype(np.float16) for name, value in tensors.items()}
    if match := re.search(r"-(\d+)-of-(\d+)", file):
        tensors = {n: tensors[n] for n in _shard(tensors, int(match[1]), int(match[2]))}
    return save(tensors, {"format": "pt"})


def _shard(names: Mapping[str, object], number: int, count: int) -> list[str]:
    return sorted(names)[number - 1 :: count]


def _index(folder: Path, stem: str = "diffusion_pytorch_model") -> bytes:
    tensors = load_file(folder / f"{stem}.safetensors")
    places = {
        name: f"{stem}-{number:05}-of-00002.safetensors"
        for number in (1, 2)
        for name in _shard(tensors, number, 2)
    }
    size = sum(value.nbytes for value in tensors.values())
    return json.dumps({"metadata": {"total_size": size}, "weight_map": places}).encode()


def noise_file(size: int) -> bytes:
    """A safetensors file of `size` random bytes of weights."""
    return save({"noise": np.random.default_rng(size).integers(0, 255, size, dtype=np.uint8)})


def take(name: str, half: bool | None = False, tell: Tell = SILENT) -> Path:
    """The folder of a base, taken from the hub where it is not here."""
    return resolve.locate(name, half=half, tell=tell).path


def cached(name: str = SD15) -> kept.Kept:
    """What the cache holds of a base that is there."""
    found = kept.find(source_of(name))
    assert found
    return found
