"""A run's report, shown: a page of its own that is nobody's; and its choice in words. Torch-free.

The report has its scripts inside, which this service's pages may not. The sandbox gives it an
origin of its own: it has no cookie of the service's, and may call nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter
from fastapi.responses import FileResponse

from kaiffin.foundation.run import Run
from kaiffin.foundation.text import counted
from kaiffin.serve.asking import run_job
from kaiffin.serve.jobs import Conflict
from kaiffin.serve.routes.common import ThingId, sends
from kaiffin.serve.service import Reader, Served, Service

if TYPE_CHECKING:
    from kaiffin.score.choice import Choice

router = APIRouter(prefix="/api/v1/runs", tags=["runs"])
ALONE = {
    "content-security-policy": "sandbox allow-scripts; default-src 'none';"
    " script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; base-uri 'none';"
    " form-action 'none'; frame-ancestors 'none'",
}


@router.get("/{id}/report/shown", response_class=FileResponse, responses=sends("text/html"))
def shown(id: ThingId, caller: Reader, service: Served) -> FileResponse:
    """The report, to be looked at in a tab of its own."""
    run = _run(service, caller.owner, id)
    if run is None or not run.report_path.is_file():
        raise Conflict("there is no report yet.", "Ask for a job of kind report.")
    return FileResponse(run.report_path, media_type="text/html", headers=ALONE)


@router.get("/{id}/choice/said")
def said(id: ThingId, caller: Reader, service: Served) -> list[str]:
    """Why this stage was chosen, and how sure that is, in sentences."""
    from kaiffin.experiments.report import evidence  # with NumPy, which nothing else here needs

    run = _run(service, caller.owner, id)
    choice = evidence.read(run).choice if run else None
    if choice is None:
        raise Conflict("nothing has been chosen yet.", "Ask for a job of kind choose.")
    return _said(choice)


def _run(service: Service, owner: str, id: str) -> Run | None:
    path = service.studio.run(run_job(service, owner, id).id)
    return Run.open(path) if Run.is_at(path) else None


def _said(choice: Choice) -> list[str]:
    overall, reason = choice.best.means["overall"], []
    if choice.against:
        apart, other = choice.against.difference, f"step {choice.against.step}"
        sure = f"It is better than {other}" if apart.low > 0 else f"It cannot be told from {other}"
        reason.append(
            f"{sure}: the difference is {apart.mean:.3f}, between {apart.low:.3f} and"
            f" {apart.high:.3f}."
        )
    reason.append(
        f"It reaches {overall.mean:.2f} of 1 for subject and prompt together; with other prompts it"
        f" would be between {overall.low:.2f} and {overall.high:.2f}."
    )
    prompts, seeds = counted(len(choice.prompts), "prompt"), counted(len(choice.seeds), "seed")
    measured = f"Measured on {prompts}, {seeds} each, as 95 % intervals. Look at the pictures too."
    return [" ".join(reason), *choice.findings, measured]
