"""Does the service lose nothing? It is killed at random moments, and afterwards all is counted.

    python benchmarks/crash.py --kills 1000 --out crash

Several users hand in scans, trainings and pictures, and hand in again, under the same key, what was
not answered. Meanwhile the server or a worker dies by SIGKILL, at times the disk is full for a
moment (a limit on the size of files) or the clock jumps by days. Then everything is done to its
end, and the same work once more by a server that nobody disturbs. Of every job there must be one;
each done once; each training with the bytes, and each picture with the pixels (to one grey level),
of its undisturbed twin; and a database that SQLite finds whole.

Stands on the tests' tiny base and the warm parent of their processes, so that it is the kills that
take the time.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

REPO = Path(__file__).parents[1]
sys.path[:0] = [str(REPO / "tests"), str(REPO / "tests" / "serve")]

import asked  # noqa: E402
import kept  # noqa: E402
import numpy as np  # noqa: E402
import psutil  # noqa: E402
from fresh import _CONTEXT  # noqa: E402
from PIL import Image  # noqa: E402

from kaiffin.foundation.run import Run  # noqa: E402
from kaiffin.serve.studio import Studio  # noqa: E402
from kaiffin.serve.supervisor import Supervisor  # noqa: E402
from kaiffin.serve.work import picture_id  # noqa: E402

OWNERS = ("ann", "bob", "eve")
AT_ONCE = 6  # jobs that are not over, while there are kills to come
SLOTS = 2
DAY_S = 86_400.0
ENDS = ("done", "failed", "held")

# --- the server, in a process of its own ----------------------------------------------------------


def serve(pipe: Any, folder: str) -> None:
    """Answers (name of a call, its values) with ("ok", ...) or ("error", why)."""
    os.setsid()
    # Born warm itself, it takes its own parent for that of its workers: no other has to be started.
    forkserver._forkserver.ensure_running = lambda: None  # ty: ignore[invalid-assignment]
    studio = asked.open_studio(Path(folder))
    overseer = Supervisor(studio, on=f"processes:{SLOTS}")
    overseer.start()
    clock, offset = time.time, [0.0]
    time.time = lambda: clock() + offset[0]

    def submit(owner: str, kind: str, request: dict[str, Any], key: str) -> str:
        return studio.jobs.submit(owner, kind, request, key=key).id

    def states() -> dict[str, tuple[str, str]]:
        found = studio.jobs.in_state("queued", "running", *ENDS, "cancelled", "paused", "pausing")
        return {job.id: (job.state, job.problem) for job in found}

    def retry(owner: str, id: str) -> None:
        studio.jobs.retry(owner, id)

    def jump(seconds: float) -> None:
        offset[0] += seconds

    calls = {"submit": submit, "states": states, "retry": retry, "jump": jump}
    with contextlib.suppress(EOFError):
        while True:
            name, *values = pipe.recv()
            try:
                pipe.send(("ok", calls[name](*values)))
            except Exception as error:
                pipe.send(("error", f"{type(error).__name__}: {error}"))
    overseer.stop()
    studio.close()


class Server:
    """The process, started again whenever it is found dead."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.starts = folder, 0
        self.start()

    def start(self) -> None:
        self.pipe, theirs = _CONTEXT.Pipe()
        self.process = _CONTEXT.Process(target=serve, args=(theirs, str(self.folder)))
        self.process.start()
        theirs.close()
        self.starts += 1

    def ask(self, *call: Any) -> Any:
        """The answer; None where the server died of something, or could not."""
        try:
            self.pipe.send(call)
            said, value = self.pipe.recv()
        except (EOFError, OSError):
            self.process.join()
            self.pipe.close()
            self.start()
            return None
        return value if said == "ok" else None

    def kill(self) -> None:
        os.kill(self.process.pid or 0, signal.SIGKILL)

    def workers(self) -> list[psutil.Process]:
        """Those that live; siblings of the server, born by the same parent."""
        found = []
        parent = psutil.Process(self.process.pid).ppid()
        for path in (self.folder / "work" / "jobs").glob("*.worker.json"):
            with contextlib.suppress(OSError, ValueError, psutil.Error):
                process = psutil.Process(json.loads(path.read_text())["process"])
                if process.ppid() == parent and process.pid != self.process.pid:
                    found.append(process)
        return found

    def stop(self) -> None:
        self.pipe.close()
        self.process.join()


# --- the users --------------------------------------------------------------------------------


def order(number: int, base: Path, steps: int) -> tuple[str, str, dict[str, Any], str]:
    """The job that is handed in as the `number`-th: owner, kind, request and key."""
    chance = random.Random(number)
    kind = chance.choice(["generate"] * 5 + ["scan"] * 2 + ["train"] * 3)
    if kind == "generate":
        request = asked.pictures(base, count=chance.randint(1, 4), seed=number,
                                 sample={"steps": chance.choice([2, 8])})  # fmt: skip
    else:
        request = asked.training(base, steps=steps, train__seed=number % 7)
    return chance.choice(OWNERS), kind, request, f"key-{number}"


@dataclass
class Users:
    """What was handed in. ids: by number, of what was answered."""

    server: Server
    base: Path
    steps: int
    ids: dict[int, str] = field(default_factory=dict)
    sent: int = 0
    retried: Counter[str] = field(default_factory=Counter)

    def work(self, live: int) -> dict[str, tuple[str, str]]:
        """Hands in what is missing, up to `live` at a time, and asks again for what has failed."""
        for number in [n for n in range(self.sent) if n not in self.ids]:
            self.hand_in(number)
        states = self.server.ask("states") or {}
        for number, id in self.ids.items():
            state, problem = states.get(id, ("", ""))
            if state in ("failed", "held"):
                self.retried[problem.split("(")[-1][:40]] += 1
                self.server.ask("retry", order(number, self.base, self.steps)[0], id)
        busy = sum(state not in ENDS for state, _ in states.values())
        for _ in range(live - busy if states or not self.ids else 0):
            self.sent += 1
            self.hand_in(self.sent - 1)
        return states

    def hand_in(self, number: int) -> None:
        if id := self.server.ask("submit", *order(number, self.base, self.steps)):
            assert self.ids.setdefault(number, id) == id, "another job for the same key"

    def finish(self) -> None:
        """Until all is done."""
        while True:
            states = self.work(0)
            if len(self.ids) == self.sent and all(
                states.get(id, ("",))[0] == "done" for id in self.ids.values()
            ):
                return
            time.sleep(0.1)


# --- the storm --------------------------------------------------------------------------------


def storm(users: Users, kills: int, chance: random.Random, most: float) -> Counter[str]:
    """So many deaths at random moments, at most `most` seconds apart; how many of each sort."""
    done: Counter[str] = Counter()
    while done["server"] + done["worker"] < kills:
        until = time.monotonic() + chance.uniform(0.0, most)
        while time.monotonic() < until:
            users.work(AT_ONCE)
            time.sleep(0.02)
        what = chance.choice(["server"] * 5 + ["worker"] * 5 + ["disk", "clock"])
        workers = users.server.workers()
        if what == "server":
            users.server.kill()
        elif what == "worker":
            if not killed(chance.choice(workers) if workers else None):
                continue
        elif what == "disk":
            pid = chance.choice([users.server.process.pid, *(one.pid for one in workers)])
            fill_disk(pid or 0, users, chance.uniform(0.1, 1.0))
        elif what == "clock":
            users.server.ask("jump", chance.uniform(-30, 30) * DAY_S)
        done[what] += 1
        if (dead := done["server"] + done["worker"]) % 50 == 0:
            print(f"{dead} of {kills} deaths", file=sys.stderr, flush=True)
    return done


def killed(worker: psutil.Process | None) -> bool:
    """Whether there was one, which had not ended by itself meanwhile."""
    try:
        return worker is not None and worker.kill() is None
    except psutil.NoSuchProcess:
        return False


def fill_disk(pid: int, users: Users, seconds: float) -> None:
    """No file of that process can grow meanwhile."""
    with contextlib.suppress(psutil.Error, ProcessLookupError):
        process = psutil.Process(pid)
        process.rlimit(psutil.RLIMIT_FSIZE, (4096, psutil.RLIM_INFINITY))
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            users.work(AT_ONCE)
            time.sleep(0.02)
        process.rlimit(psutil.RLIMIT_FSIZE, (psutil.RLIM_INFINITY, psutil.RLIM_INFINITY))


# --- what is left of it ---------------------------------------------------------------------------


def problems(users: Users, twin: Users) -> Iterator[str]:
    """Everything that is not as it must be."""
    database = sqlite3.connect(users.server.folder / "studio.sqlite")
    if (found := database.execute("PRAGMA integrity_check").fetchone()[0]) != "ok":
        yield f"the database is damaged: {found}"
    count = database.execute("SELECT COUNT(*) FROM jobs").fetchone()[0]
    if count != users.sent:
        yield f"{users.sent} jobs were handed in, and there are {count}"
    for number, id in users.ids.items():
        owner, kind, request, _ = order(number, users.base, users.steps)
        row = database.execute("SELECT owner, kind, state FROM jobs WHERE id = ?", (id,)).fetchone()
        if row != (owner, kind, "done"):
            yield f"job {number} is {row}"
        ends = "SELECT COUNT(*) FROM events WHERE about = ? AND what = 'job' AND data LIKE ?"
        times = database.execute(ends, (id, '%"state": "done"%')).fetchone()[0]
        if times != 1:
            yield f"job {number} was done {times} times"
        if kind == "train":
            yield from _training(users, twin, number)
        if kind == "generate":
            rows = database.execute("SELECT id FROM images WHERE job = ? ORDER BY id", (id,))
            yield from _pictures(users, twin, number, request["count"], [r for (r,) in rows])
    database.close()


def _training(users: Users, twin: Users, number: int) -> Iterator[str]:
    one, other = (
        Run.open(Studio(each.server.folder).run(each.ids[number])) for each in (users, twin)
    )
    files = [one.adapter_path, *(path for _, path in one.candidates())]
    for path in files:
        same = other.path / path.relative_to(one.path)
        if not same.is_file() or path.read_bytes() != same.read_bytes():
            yield f"training {number}: {path.name} is not that of its twin"


def _pictures(
    users: Users, twin: Users, number: int, count: int, found: list[str]
) -> Iterator[str]:
    wanted = [picture_id(users.ids[number], i) for i in range(count)]
    if found != sorted(wanted):
        yield f"job {number} has {len(found)} pictures of {count}"
    for i in range(count):
        one, other = (
            _pixels(Studio(each.server.folder).image(picture_id(each.ids[number], i)))
            for each in (users, twin)
        )
        if one is None or other is None or np.abs(one - other).max() > 1:
            yield f"picture {i} of job {number} is not that of its twin"


def _pixels(path: Path) -> np.ndarray | None:
    try:
        with Image.open(path) as image:
            return np.asarray(image).astype(int)
    except OSError:
        return None


# --- the whole --------------------------------------------------------------------------------


def main() -> int:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--kills", type=int, default=20)
    options.add_argument("--out", type=Path, default=Path("crash"))
    options.add_argument("--base", type=Path, help="default: a tiny one, made in --out")
    options.add_argument("--steps", type=int, default=40, help="of each training")
    options.add_argument("--most", type=float, default=2.0, help="seconds between two deaths")
    options.add_argument("--seed", type=int, default=0)
    kept.add_to(options)
    given = options.parse_args()
    base, begun = given.base or _made(given.out / "base"), time.monotonic()
    users = Users(Server(given.out / "storm"), base.absolute(), given.steps)
    done = storm(users, given.kills, random.Random(given.seed), given.most)
    stormy = time.monotonic() - begun
    users.finish()
    users.server.stop()
    twin = Users(Server(given.out / "calm"), base.absolute(), given.steps)
    twin.work(users.sent)
    twin.finish()
    twin.server.stop()
    wrong = list(problems(users, twin))
    kinds = Counter(order(number, base, given.steps)[1] for number in users.ids)
    facts = {
        "deaths": dict(done), "jobs": dict(kinds), "starts": users.server.starts,
        "retried": dict(users.retried), "storm_s": round(stormy, 1),
        "seconds": round(time.monotonic() - begun, 1), "problems": wrong,
    }  # fmt: skip
    print(json.dumps(facts, indent=1))
    kept.keep(given.keep, facts)
    return 1 if wrong else 0


def _made(folder: Path) -> Path:
    if not folder.is_dir():
        import tiny

        tiny.tiny_sd(folder)
    return folder


if __name__ == "__main__":
    sys.exit(main())
