"""The service beside what it serves: throughput, latency, health and memory, as ratios of one run.

    python benchmarks/serve.py [--clients 32] [--rounds 3] [--steps 10] [--requests 10000]
                               [--train 300] [--yields 3] [--filled] [--keep FILE]

- offline: kaiffin.pictures.make in this process, with the batch that is best here
- service: `kaiffin serve` with so many clients, each asking for one picture at a time
- one offline, one service: a single picture, alone; the difference is what the service adds
- health: its answers while a training runs and pictures are asked for (milliseconds)
- memory: of the server, before and after so many requests
- a training that makes room for a picture so many times beside the same one undisturbed
- --filled: instead of all that, a service with 10,000 finished jobs and 100,000 pictures in its
  table beside an empty one, in turns: every figure as filled / empty
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import functools
import io
import json
import os
import re
import secrets
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import httpx
import kept
import psutil

from kaiffin.foundation.config import BaseConfig
from kaiffin.foundation.runtime import Runtime
from kaiffin.foundation.tell import SILENT
from kaiffin.miniature.world import world
from kaiffin.models.base import ModelFamily
from kaiffin.models.files.load import load_base
from kaiffin.pictures.make import Task, make
from kaiffin.pictures.request import Request
from kaiffin.serve.database import new_id

PROMPT = "a photo of a penguin on the beach"
BATCHES = (1, 2, 4, 8, 16, 32)
ALONE, PROBES = 20, 400
JOBS, PICTURES = 10_000, 100_000


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--train", type=int, default=300, help="steps of a training")
    parser.add_argument("--yields", type=int, default=3)
    parser.add_argument("--filled", action="store_true")
    kept.add_to(parser)
    flags = parser.parse_args()
    found = {}
    for name, value in beside(flags) if flags.filled else measured(flags):
        print(f"| {name} | {round(value, 3)} |", flush=True)
        found[name] = value
    kept.keep(flags.keep, {"clients": flags.clients, "steps": flags.steps, **found})


def measured(flags: argparse.Namespace) -> Iterator[tuple[str, float]]:
    """Names and values, as they are found."""
    with tempfile.TemporaryDirectory() as data, served(Path(data)) as (client, process):
        yield from _measured(flags, client, process)


def _measured(
    flags: argparse.Namespace, client: httpx.Client, process: psutil.Process
) -> Iterator[tuple[str, float]]:
    base = BaseConfig()
    family = load_base(base, Runtime.from_config(base), SILENT)
    batch = best_batch(family, flags.steps)
    yield "best batch offline", batch
    burst = 4 * flags.clients  # begin and end, where few wait, count little
    for _ in range(3):  # the painter finds its own batch meanwhile
        crowd(client, flags.clients, burst, flags.steps)
    ratios, rates = [], []
    for _ in range(flags.rounds):
        offline = burst / seconds(lambda: paint(family, burst, batch, flags.steps))
        rates.append(burst / seconds(lambda: crowd(client, flags.clients, burst, flags.steps)))
        ratios.append(rates[-1] / offline)
    yield "pictures a second, service", statistics.median(rates)
    yield "throughput, service / offline", statistics.median(ratios)
    yield "throughput, service / offline, lowest", min(ratios)
    yield "throughput, service / offline, highest", max(ratios)
    alone, asked = [], []
    for _ in range(ALONE):
        alone.append(seconds(lambda: paint(family, 1, 1, flags.steps)))
        asked.append(seconds(lambda: ask(client, flags.steps)))
    yield "one picture offline, p50 ms", 1e3 * statistics.median(alone)
    yield "one picture by the service, p50 ms", 1e3 * statistics.median(asked)
    added = statistics.median(b - a for a, b in zip(alone, asked, strict=True))
    yield "added at p50, ms", 1e3 * added
    yield from memory(client, process, flags.requests).items()
    photos = dataset(client)
    yield from health(client, flags, photos).items()
    yield from yields(client, flags, photos).items()


# --- offline ------------------------------------------------------------------------------------


def paint(family: ModelFamily, count: int, batch: int, steps: int) -> None:
    side = family.native_size
    wanted = [Task(Request(PROMPT, seed, side, side, steps=steps)) for seed in range(count)]
    for _, image in make(family, wanted, batch):
        image.save(io.BytesIO(), format="PNG")


def best_batch(family: ModelFamily, steps: int) -> int:
    paint(family, 2, 2, steps)
    costs = {n: seconds(lambda n=n: paint(family, 32, n, steps)) for n in BATCHES}
    return min(costs, key=lambda n: costs[n])


def seconds(call: Callable[[], object]) -> float:
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


# --- the service --------------------------------------------------------------------------------


@contextlib.contextmanager
def served(data: Path) -> Iterator[tuple[httpx.Client, psutil.Process]]:
    key = secrets.token_hex(32)
    command = [sys.executable, "-m", "kaiffin", "serve", "--data", str(data), "--port", "0"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "KAIFFIN_API_KEY": key}
    )
    assert process.stdout is not None
    try:
        at = re.search(r"http://\S+", process.stdout.readline())
        assert at
        limits = httpx.Limits(max_connections=64, max_keepalive_connections=64)
        with httpx.Client(
            base_url=at[0], headers={"authorization": f"Bearer {key}"}, timeout=600, limits=limits
        ) as client:
            yield client, psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait()


def ask(client: httpx.Client, steps: int) -> None:
    body = {"base": "miniature", "prompts": [PROMPT], "sample": {"steps": steps}}
    got = client.post("api/v1/generate?wait=300", json=body).json()
    assert got["state"] == "done", got
    client.get(f"api/v1/images/{got['result']['images'][0]}/file").raise_for_status()


def crowd(client: httpx.Client, clients: int, count: int, steps: int) -> None:
    with concurrent.futures.ThreadPoolExecutor(clients) as pool:
        list(pool.map(lambda _: ask(client, steps), range(count)))


def dataset(client: httpx.Client) -> str:
    """Four photos to train on; their dataset's id."""
    id = client.post("api/v1/datasets", json={}).json()["id"]
    for i, (image, _) in enumerate(world.subject_photos("kaiffin", 4)):
        file = io.BytesIO()
        image.save(file, format="PNG")
        files = {"file": (f"{i}.png", file.getvalue())}
        client.post(f"api/v1/datasets/{id}/photos", files=files).raise_for_status()
    return id


def train(client: httpx.Client, photos: str, steps: int) -> str:
    """A training's id."""
    config = {"train": {"steps": steps}, "subject": {"noun": "puffin"}}
    return client.post("api/v1/train", json={"dataset": photos, "config": config}).json()["id"]


def reach(client: httpx.Client, job: str, step: int) -> None:
    """Waits until the training is so far."""
    while True:
        found = client.get(f"api/v1/jobs/{job}").json()
        if found["progress"]["done"] >= step or found["state"] == "done":
            return
        assert found["state"] in ("queued", "running"), found
        time.sleep(0.1)


def health(client: httpx.Client, flags: argparse.Namespace, photos: str) -> dict[str, float]:
    """While a training runs, and pictures are asked for that want its place."""
    job = train(client, photos, 2000)
    reach(client, job, 1)
    times = []
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(ask, client, flags.steps) for _ in range(4 * flags.clients)]
        while len(times) < PROBES or not all(one.done() for one in asked):
            times.append(seconds(lambda: client.get("api/v1/health").raise_for_status()))
            time.sleep(0.02)
    client.post(f"api/v1/jobs/{job}/cancel")
    times.sort()
    return {"health p50, ms": 1e3 * _at(times, 0.5), "health p99, ms": 1e3 * _at(times, 0.99)}


def yields(client: httpx.Client, flags: argparse.Namespace, photos: str) -> dict[str, float]:
    """What it costs a training to make room: it saves, a painter begins, paints and waits for more,
    and the training begins again."""
    took = []
    for times in (0, flags.yields):
        job = train(client, photos, flags.train)
        for number in range(times):
            reach(client, job, (number + 1) * flags.train // (times + 1))
            ask(client, flags.steps)
        found = client.get(f"api/v1/jobs/{job}?wait=300").json()
        assert found["state"] == "done", found
        took.append(found["ended"] - found["begun"])
    each = (took[1] - took[0]) / flags.yields
    return {
        "a training, s": took[0],
        f"with {flags.yields} yields / without": took[1] / took[0],
        "a yield, s": each,
        "a yield, in steps": each / (took[0] / flags.train),
    }


def _at(values: Sequence[float], share: float) -> float:
    return values[min(len(values) - 1, int(share * len(values)))]


def memory(client: httpx.Client, process: psutil.Process, requests: int) -> dict[str, float]:
    """Of the server, after it has warmed up."""
    paths = ("jobs?limit=10", "images?limit=10", "session", "health", "events/page?limit=5")

    def some(count: int) -> None:
        for number in range(count):
            client.get(f"api/v1/{paths[number % len(paths)]}").raise_for_status()

    some(min(1000, requests))
    before = process.memory_info().rss
    took = seconds(lambda: some(requests))
    after = process.memory_info().rss
    return {
        "memory of the server, MB": before / 1e6,
        f"after {requests} requests, MB": after / 1e6,
        "requests a second, one client": requests / took,
    }


# --- after years --------------------------------------------------------------------------------


def beside(flags: argparse.Namespace) -> Iterator[tuple[str, float]]:
    """What a full table costs: each figure of a filled service by that of an empty one."""
    with (
        tempfile.TemporaryDirectory() as folder,
        served(Path(folder) / "empty") as (empty, _),
        served(Path(folder) / "filled") as (filled, _),
    ):
        fill(Path(folder) / "filled")
        clients = (empty, filled)
        for name, call, calls in _asked(flags):
            for client in clients:
                call(client)  # warm
            times = [
                [seconds(functools.partial(call, one)) for one in clients] for _ in range(calls)
            ]
            yield f"{name}, ms, empty", 1e3 * statistics.median(first for first, _ in times)
            ratios = sorted(second / first for first, second in times)
            yield f"{name}, filled / empty", statistics.median(ratios)
            yield f"{name}, a quarter is below", _at(ratios, 0.25)
            yield f"{name}, a quarter is above", _at(ratios, 0.75)


def _asked(
    flags: argparse.Namespace,
) -> Iterator[tuple[str, Callable[[httpx.Client], object], int]]:
    """What is asked of both: its name, how, and how often."""

    def gets(path: str) -> Callable[[httpx.Client], object]:
        return lambda client: [client.get(f"api/v1/{path}").raise_for_status() for _ in range(20)]

    burst = 2 * flags.clients
    yield "a picture", lambda client: ask(client, flags.steps), 5 * ALONE
    yield (
        f"{burst} pictures for {flags.clients} clients",
        lambda client: crowd(client, flags.clients, burst, flags.steps), 2 * flags.rounds,
    )  # fmt: skip
    for path in (
        "health",
        "jobs?limit=10",
        "images?limit=10",
        "images?limit=60",
        "events/page?limit=5",
    ):
        yield f"20 times {path}", gets(path), 5 * ALONE


def fill(data: Path, jobs: int = JOBS, pictures: int = PICTURES) -> None:
    """A service that has been there for long: half of all are the caller's."""
    db, now = sqlite3.connect(data / "studio.sqlite", timeout=60), time.time()
    (caller,) = db.execute("SELECT owner FROM keys").fetchone()
    owners = [caller if i % 2 else f"owner-{i % 50}" for i in range(50)]
    request = json.dumps({"base": "miniature", "prompts": [PROMPT], "count": 10})
    with db:
        db.executemany(
            "INSERT INTO jobs (id, owner, kind, lane, request, state, result, created, ended)"
            " VALUES (?, ?, 'generate', 'paint', ?, 'done', '{}', ?, ?)",
            ((new_id(), owners[i % 50], request, now, now) for i in range(jobs)),
        )
        db.executemany(
            "INSERT INTO images (id, owner, job, prompt, seed, width, height, created)"
            " VALUES (?, ?, ?, ?, ?, 64, 64, ?)",
            ((new_id(), owners[i % 50], new_id(), PROMPT, i, now) for i in range(pictures)),
        )
    db.close()


if __name__ == "__main__":
    main()
