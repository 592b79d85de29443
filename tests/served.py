"""A service for tests: a data folder, the application behind its gate, and callers with keys."""

from __future__ import annotations

import contextlib
import io
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn
from PIL import Image
from safetensors.numpy import save_file
from starlette.testclient import TestClient

from kaiffin.pictures.recipe import save_png
from kaiffin.serve.app import application, gate
from kaiffin.serve.database import new_id
from kaiffin.serve.keys import Quotas, Scope
from kaiffin.serve.security import Gate, Rules, hosts_of
from kaiffin.serve.service import Service
from kaiffin.serve.studio import Studio

PORT = 7870
AT = f"http://127.0.0.1:{PORT}"


class World:
    """A service and who calls it."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.studio = Studio.open(folder)
        self.service = Service(self.studio, cookie="kaiffin_7870", **options)
        self.app = application(self.service, a1111=True)
        self.door = self.behind(Rules(hosts_of("127.0.0.1", PORT), "kaiffin_7870"))
        self.secrets: list[str] = []

    def behind(self, rules: Rules) -> Gate:
        return gate(self.app, rules, self.service)

    def key(self, user: str, *scopes: Scope, quotas: Quotas | None = None) -> str:
        """The secret of a new key of the user's; with all scopes where none is named."""
        _, secret = self.service.keys.add(
            f"{user} {new_id()}", user=user, quotas=quotas, **({"scopes": scopes} if scopes else {})
        )
        self.secrets.append(secret)
        return secret

    def stranger(self) -> TestClient:
        return TestClient(self.door, base_url=AT, raise_server_exceptions=False)

    def caller(self, user: str, *scopes: Scope, quotas: Quotas | None = None) -> TestClient:
        """Whoever calls with a new key of the user's."""
        client = self.stranger()
        client.headers["authorization"] = f"Bearer {self.key(user, *scopes, quotas=quotas)}"
        return client

    def owner(self, client: TestClient) -> str:
        """The id of the user who calls."""
        caller = self.service.keys.caller(client.headers["authorization"].partition(" ")[2])
        assert caller is not None
        return caller.owner

    def finish(self, job: str, **made: Any) -> None:
        """As a worker would: done, with what it made."""
        self.studio.jobs.begin([job], "test")
        self.studio.jobs.finish(job, made)

    def paint(self, owner: str, job: str, count: int = 1, seed: int = 0) -> list[str]:
        """Pictures of a job on the disk and in the table, with a recipe that names a path."""
        ids = []
        for number in range(count):
            id = new_id()
            recipe = {
                "kaiffin": "0", "base": {"name": "miniature", "revision": "x" * 40},
                "adapters": [{"path": f"{self.studio.path}/adapters/a.safetensors", "name": "a",
                              "sha256": "0", "weight": 1.0}],
                "request": {"prompt": "a dog", "seed": seed + number, "width": 64, "height": 64,
                            "negative": "", "steps": 2, "guidance": 5.0, "sampler": "dpm++2m",
                            "eta": 0.0, "clip_skip": 0},
            }  # fmt: skip
            save_png(
                Image.new("RGB", (64, 64), (seed % 255, number, 9)), self.studio.image(id), recipe
            )
            with self.studio.db.transaction() as writer:
                writer.execute(
                    "INSERT INTO images (id, owner, job, prompt, seed, width, height, created)"
                    " VALUES (?, ?, ?, 'a dog', ?, 64, 64, ?)",
                    (id, owner, job, seed + number, time.time()),
                )
            ids.append(id)
        return ids


class Hand(threading.Thread):
    """Paints what is queued, as a worker would, until it is told to stop."""

    def __init__(self, world: World) -> None:
        super().__init__(daemon=True)
        self.world, self.over = world, threading.Event()

    def run(self) -> None:
        jobs = self.world.studio.jobs
        while not self.over.wait(0.01):
            for job in jobs.in_state("queued"):
                asked = job.request
                if job.kind != "generate":
                    continue
                jobs.begin([job.id], "hand")
                made = self.world.paint(job.owner, job.id, asked["count"], asked["seed"])
                jobs.finish(job.id, {"images": made})

    def __enter__(self) -> Hand:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.join()


@contextlib.contextmanager
def listening(world: World, rules: Rules | None = None) -> Iterator[str]:
    """A real server at a port of its own; its address. rules: default, those for that address."""
    config = uvicorn.Config(world.app, port=0, log_level="error", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    config.load()
    with socket.socket() as bound:  # the gate wants to know the port
        bound.bind(("127.0.0.1", 0))
        bound.listen()
        port = bound.getsockname()[1]
        config.loaded_app = world.behind(
            rules or Rules(hosts_of("127.0.0.1", port), "kaiffin_7870")
        )
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            server.should_exit = True
            thread.join()


def jpeg(colour: tuple[int, int, int] = (90, 120, 200), side: int = 64, **more: Any) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (side, side), colour).save(file, format="JPEG", **more)
    return file.getvalue()


def lora(path: Path) -> None:
    """An adapter file of one layer."""
    weights = {"lora_unet_x.lora_down.weight": np.zeros((4, 8), dtype=np.float32)}
    save_file(
        weights, path, {"ss_sd_model_name": "miniature", "modelspec.trigger_phrase": "kaiffin"}
    )
