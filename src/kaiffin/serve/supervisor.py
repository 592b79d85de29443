"""The overseer: a thread of the server that brings jobs to workers and their results to the table.
Torch-free.

Workers see files and no database; whatever becomes of one, what it left there counts. Where a
place for workers is lost (a cluster's head died), all that ran there waits again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import shutil
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from kaiffin.experiments.work import places
from kaiffin.experiments.work.jobs import Ended
from kaiffin.experiments.work.jobs import Job as Work
from kaiffin.experiments.work.places import Place
from kaiffin.foundation.errors import UserError
from kaiffin.serve import work
from kaiffin.serve.jobs import Job
from kaiffin.serve.roster import Roster, Worker
from kaiffin.serve.spool import Spool
from kaiffin.serve.studio import Studio
from kaiffin.serve.work import House

log = logging.getLogger(__name__)
BUSY_S, WATCH_S, REST_S = 0.005, 0.05, 0.5  # between looks: pictures, other jobs, none
SPEAK_S = 0.5  # between words about progress
AGAIN_S = 2.0  # until a place is tried again, or a full disk
PATIENCE_S = 60.0  # for a worker that was told to stop; then it is ended
TRIM_S = 600.0  # between clearings of the log of events
IDLE_S = 300.0  # until a painter gives its memory back
STOPPED = ("exit code 143", "exit code 130", "it was stopped", "TaskCancelledError")


class Supervisor:
    """on: where workers are, as `--on` has it; share: of the time of a device, how much at most
    pictures take from trainings; house: what the operator decides."""

    def __init__(
        self, studio: Studio, on: str = "processes:1", share: float = 0.5,
        house: House | None = None, *, idle: float = IDLE_S,
    ) -> None:  # fmt: skip
        self.studio, self.jobs, self.on, self.idle = studio, studio.jobs, on, idle
        self.house = house or House()
        self.roster = Roster(share)
        self.through: list[Ended] = []
        self._bases: dict[str, str] = {}  # of jobs that wait
        self._wake, self._stopping = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)
        self._spoken = self._watched = self._trimmed = 0.0
        self._in_doubt = False  # whether something was begun and not brought to its end

    def start(self) -> None:
        """Puts in order what the last server left, and begins."""
        self._reconcile()
        self.studio.events.heard.append(self._wake.set)
        self._thread.start()

    def stop(self) -> None:
        """Lets every worker save and stop, for `PATIENCE_S` at most; what is not done waits in the
        table."""
        self._stopping.set()
        self._wake.set()
        self._thread.join()
        with contextlib.suppress(ValueError):
            self.studio.events.heard.remove(self._wake.set)

    def devices(self) -> list[dict[str, Any]]:
        """Each worker and what it does, and what pictures may take from trainings."""
        return self.roster.facts(self.on)

    # --- the thread -----------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                with places.place(self.on, self.studio.work) as place:
                    self._attend(place)
            except Exception as error:  # of a place that is gone, or cannot be reached
                log.warning("%s: %s; trying again", self.on, _said(error))
                self._lose_all()
                self._stopping.wait(AGAIN_S)

    def _attend(self, place: Place) -> None:
        while not self._stopping.is_set():
            try:
                self._glance(place)
            except ConnectionError:
                raise  # the place is gone
            except (OSError, UserError, sqlite3.Error) as error:  # the disk is full
                log.warning("%s; trying again", _said(error))
                self._in_doubt = True
                self._stopping.wait(AGAIN_S)
            self._wake.wait(self._patience())
        self._dismiss(place)
        self._lose_all()

    def _dismiss(self, place: Place) -> None:
        """Lets every worker save and stop; whoever has not in `PATIENCE_S` is ended, and what it
        did since it last saved is done again."""
        now = time.monotonic()
        try:
            for worker in self.roster.all:
                if worker.interrupted is None:
                    self._interrupt(place, worker, now)
            while self.roster.workers and time.monotonic() - now < PATIENCE_S:
                self._collect(place)
                time.sleep(BUSY_S)
            for worker in self.roster.all:
                self._interrupt(place, worker, now)
        finally:
            place.stop()
        self._collect(place)

    def _patience(self) -> float:
        if any(worker.given for worker in self.roster.painters):
            return BUSY_S
        return WATCH_S if self.roster.workers else REST_S

    def _glance(self, place: Place) -> None:
        """One look at everything; at the table only where something has changed, or at times."""
        now, has_changed = time.monotonic(), self._wake.is_set()
        self._wake.clear()
        for worker in self.roster.painters:
            self._gather(worker)
        if now - self._watched >= WATCH_S:
            self._watched, has_changed = now, True
            self._collect(place)
        if now - self._spoken >= SPEAK_S:
            self._spoken = now
            self._speak()
        if now - self._trimmed >= TRIM_S:
            self._trimmed = now
            self.studio.events.trim()
        if self._in_doubt:
            self._reclaim()
        if has_changed:
            self._heed(place, now)
            self._distribute(place, now)

    def _reclaim(self) -> None:
        """What counts as running and is at no worker waits again."""
        for job in self.jobs.in_state("running", "pausing"):
            if job.id not in self.roster.ids:
                self.jobs.put_back(job.id)
        self._in_doubt = False

    # --- what comes back ------------------------------------------------------------------------

    def _collect(self, place: Place) -> None:
        """Workers that have ended; those that could not be written down before come first."""
        if self.roster.workers and not self.through:
            self.through = place.ended(0)
        while self.through:
            end = self.through[0]
            if end.name in self.roster.workers:
                self._settle(self.roster.workers[end.name], end)
                self.roster.leave(end.name)
            self.through.pop(0)

    def _settle(self, worker: Worker, end: Ended) -> None:
        stopped = worker.interrupted is not None or end.how in STOPPED
        if worker.paints:
            self._gather(worker)
            fatal = [] if stopped or end.result is not None else worker.blamed()
            for id in list(worker.given):
                self.jobs.died(id, end.how) if id in fatal else self.jobs.put_back(id)
            shutil.rmtree(worker.spool.into.parent, ignore_errors=True)
            self._clear(worker.name)
        elif end.result is not None:
            self._finish(self.jobs.find(end.name), end.result)
            self._clear(end.name)
        elif stopped:
            self.jobs.put_back(end.name)
        else:
            self.jobs.died(end.name, end.how)

    def _clear(self, id: str) -> None:
        """Files of a worker that has ended; its log stays."""
        for what in (".json", ".result.json", ".progress.json", ".worker.json", ".lock.json"):
            (self.studio.work / "jobs" / f"{id}{what}").unlink(missing_ok=True)
        for path in (self.studio.work / "jobs").glob(f".{id}.*.part"):
            path.unlink(missing_ok=True)

    def _finish(self, job: Job, result: Mapping[str, Any]) -> None:
        """What a worker of a long job answered; `failed` is of one that met a bug."""
        failed = result.get("failed", {}).get(job.id) if job.kind != "sweep" else None
        if problem := result.get("problem") or failed:
            self.jobs.fail(job.id, problem, result.get("way_out", ""))
            return
        with self.studio.db.transaction():
            for facts in result.get("images", ()):
                self._keep(job, facts)
            ids = {"images": [one["id"] for one in result["images"]]} if "images" in result else {}
            self.jobs.finish(job.id, {**result, **ids})

    def _gather(self, worker: Worker) -> None:
        """What a painter has made since."""
        news = list(worker.spool.news())
        if not news:
            return
        ends = []
        with self.studio.db.transaction():
            for _, id, which, facts in news:
                if self._heard(worker, id, which, facts):
                    ends.append(id)
        for path, *_ in news:
            path.unlink(missing_ok=True)
        for id in ends:
            worker.drop(id)

    def _heard(self, worker: Worker, id: str, which: str, facts: Mapping[str, Any]) -> bool:
        """One piece of news; whether it is a job's end."""
        job = self.jobs.find(id)
        if which == "end":
            for image in work.picture_ids(job):
                self.studio.partial(image).unlink(missing_ok=True)
            if facts.get("problem"):
                self.jobs.fail(id, facts["problem"], facts["way_out"])
            else:
                self.jobs.finish(id, {"images": work.picture_ids(job)})
            return True
        if which.endswith(".note"):
            about = {"job": id, "text": facts["text"]}
            self.studio.events.add(job.owner, "note", about, about=id)
            return False
        if job.state not in ("running", "pausing"):
            return False
        if which.endswith(".partial"):
            about = {"job": id, "image": facts["id"], "number": facts["number"],
                     "step": facts["step"]}  # fmt: skip
            self.studio.events.add(job.owner, "partial", about, about=id)
        elif self._keep(job, facts):
            count = job.progress["done"] + 1
            self.jobs.advance(id, count, work.pictures(job), "pictures")
        return False

    def _keep(self, job: Job, facts: Mapping[str, Any]) -> bool:
        """A picture into its table; False where it is there already."""
        with self.studio.db.transaction() as writer:
            cursor = writer.execute(
                "INSERT OR IGNORE INTO images"
                " (id, owner, job, prompt, seed, width, height, created)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (facts["id"], job.owner, job.id, facts["prompt"], facts["seed"], facts["width"],
                 facts["height"], time.time()),
            )  # fmt: skip
            if cursor.rowcount:
                about = {"job": job.id, "image": facts["id"], "number": facts["number"]}
                self.studio.events.add(job.owner, "picture", about, about=job.id)
            return bool(cursor.rowcount)

    def _speak(self) -> None:
        """How far long jobs are, and what their workers said."""
        for worker in self.roster.long:
            found = worker.work.left("progress")
            if not found or found == worker.said:
                continue
            job = self.jobs.find(worker.name)
            before = worker.said.get("notes", []) if found["who"] == worker.said.get("who") else []
            with self.studio.db.transaction():
                for text in found["notes"][len(before) :]:
                    about = {"job": job.id, "text": text}
                    self.studio.events.add(job.owner, "note", about, about=job.id)
                self.jobs.advance(job.id, found["done"], found["total"], found["what"])
            worker.hear(found)

    # --- what goes out --------------------------------------------------------------------------

    def _heed(self, place: Place, now: float) -> None:
        """Stops what its owner no longer wants, or not now; again, where it was not heard."""
        ids = self.roster.ids
        states = {job.id: job.state for job in self.jobs.of_ids(ids)} if ids else {}
        for worker in self.roster.all:
            if worker.paints:
                for id in [id for id in worker.given if states.get(id) != "running"]:
                    worker.spool.cancel(id)
                    self.jobs.put_back(id)
                    worker.drop(id)
            elif states.get(worker.name) != "running" and worker.interrupted is None:
                self._interrupt(place, worker, now)
            if worker.interrupted is not None and now - worker.interrupted > PATIENCE_S:
                self._interrupt(place, worker, now)

    def _interrupt(self, place: Place, worker: Worker, now: float) -> None:
        worker.interrupted = now
        place.interrupt(worker.name)

    def _distribute(self, place: Place, now: float) -> None:
        pictures, long = (self.roster.in_turn(self.jobs.first(lane)) for lane in ("paint", "long"))
        self.roster.room = max(1, place.slots - self.on.startswith("ray"))  # Ray asks for one more
        self.roster.pass_time(now, bool(long))
        with_base = [(job, self._base(job)) for job in pictures]
        for job, worker in self.roster.hand_over(with_base, bool(long)):
            self._give(worker, job)
        left = [(job, base) for job, base in with_base if job.id not in self.roster.ids]
        plan = self.roster.plan(left, long, now)
        if plan.stop:
            self._interrupt(place, plan.stop, now)
        if plan.paint is not None:
            self._start_painter(place, plan.paint)
        if plan.begin is not None:
            self._start(place, plan.begin)

    def _give(self, worker: Worker, job: Job) -> None:
        if self.jobs.begin([job.id], self._me(worker.name)):
            self.roster.give(worker, job, work.pictures(job))
            self._bases.pop(job.id, None)
            arguments = {"kind": job.kind, "request": dict(job.request)}
            with self._or_not(lambda: worker.drop(job.id)):
                worker.spool.give(job.number, job.id, arguments)

    def _start_painter(self, place: Place, base: str) -> None:
        name = f"painter-{self.roster.next_number()}"
        arguments = {"house": dataclasses.asdict(self.house), "idle": self.idle}
        made = Work(self.studio.work, name, "kaiffin.serve.painter:paint", arguments, (name,))
        spool = Spool(self.studio.work / "paint" / name)
        spool.make()
        self._place(place, Worker(made, base, spool))

    def _start(self, place: Place, job: Job) -> None:
        if self.jobs.begin([job.id], self._me(job.id)):
            made = work.work(self.studio, job, self.house)
            made.file("progress").unlink(missing_ok=True)
            self._place(place, Worker(made, kind=job.kind), job.owner)

    def _place(self, place: Place, worker: Worker, owner: str = "") -> None:
        self.roster.join(worker, owner)
        with self._or_not(lambda: self.roster.leave(worker.name)):
            worker.work.write()
            place.start(worker.work)

    @contextlib.contextmanager
    def _or_not(self, undo: Callable[[], None]) -> Iterator[None]:
        """Undoes what the block did not bring to its end."""
        try:
            yield
        except BaseException:
            undo()
            raise

    def _me(self, name: str) -> str:
        return f"{name} on {socket.gethostname()}"

    def _base(self, job: Job) -> str:
        """What a painter has to have loaded for it, as a word."""
        if job.id not in self._bases:
            self._bases[job.id] = work.base_of(self.studio, self.house, job)
        return self._bases[job.id]

    # --- after a fall ---------------------------------------------------------------------------

    def _lose_all(self) -> None:
        """Nothing runs any more: what did, waits."""
        for worker in self.roster.all:
            if worker.paints:
                self._gather(worker)
            for id in [worker.name] if not worker.paints else list(worker.given):
                self.jobs.put_back(id)
            self.roster.leave(worker.name)

    def _reconcile(self) -> None:
        """After another server: what lies there is collected, the rest waits again."""
        folder = self.studio.work / "paint"
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            made = Work(self.studio.work, path.name, "", {}, ())
            self._gather(Worker(made, "", Spool(path)))
            shutil.rmtree(path, ignore_errors=True)
        for job in self.jobs.in_state("running", "pausing"):
            result = work.work(self.studio, job, self.house).left("result")
            self._finish(job, result) if result else self.jobs.put_back(job.id)
        for path in (self.studio.work / "jobs").glob("*.result.json"):
            id = path.name.partition(".")[0]
            if all(job.is_over for job in self.jobs.of_ids([id])):
                self._clear(id)
        for path in (self.studio.path / "images").glob("*/.*.part"):
            path.unlink(missing_ok=True)


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__
