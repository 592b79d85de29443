"""Who is next: owners take turns, trainings and pictures share a device. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest

from kaiffin.serve.jobs import Job

FULL_S = 60.0  # seconds of painting that can be saved up
LEAST_S = 10.0  # below, a training is not stopped for pictures: it would only start and stop


def in_turn(jobs: Sequence[Job], served: Mapping[str, int]) -> list[Job]:
    """One job of each owner after the other, each owner's oldest first.

    served: when each owner was served last, as a number that grows; who waits longest begins.
    """
    queues: dict[str, list[Job]] = {}
    for job in sorted(jobs, key=lambda one: one.number):
        queues.setdefault(job.owner, []).append(job)
    order = sorted(queues.values(), key=lambda own: (served.get(own[0].owner, 0), own[0].number))
    return [job for round in zip_longest(*order) for job in round if job is not None]


class Budget:
    """The time that pictures may take from trainings that want the same device.

    share: how much of all time, at most. While a training runs it earns painting, in proportion;
    while one has to wait, painting spends it. So over any long time the share holds, and a short
    burst of pictures after a quiet time is served at once.
    """

    def __init__(self, share: float) -> None:
        self.share = share
        self.seconds = FULL_S if share else 0.0

    def pass_time(self, seconds: float, *, taken: bool) -> None:
        """taken: whether a training had to wait for pictures meanwhile."""
        if self.share >= 1:
            return
        if taken:
            self.seconds -= seconds
        else:
            self.seconds = min(FULL_S, self.seconds + seconds * self.share / (1 - self.share))

    @property
    def suffices(self) -> bool:
        """Whether a training may be stopped now."""
        return self.share > 0 and self.seconds >= LEAST_S

    @property
    def is_spent(self) -> bool:
        """Whether painting has to end now, where a training waits."""
        return self.seconds <= 0
